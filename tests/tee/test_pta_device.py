"""Device PTA and the registry."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tee.abi import results
from tee.abi.ta_head import TA_FLAG_CONCURRENT, TA_FLAG_DEVICE_ENUM
from tee.errors import TeeError
from tee.params import Kind
from tee.pta.device import DevicePta
from tee.pta.registry import PTA_DEFAULT_FLAGS, Registry
from tee.pta.system import SystemPta
from tests.fakes import FixedRoot
from tests.tee.pta_kit import Memory, memref, value

ENUM, SUPP, STORAGE = 1 << 9, 1 << 10, 1 << 12
A = UUID("00010203-0405-0607-0809-0a0b0c0d0e0f")
B = UUID("bc50d971-d4c9-42c4-82cb-343fb7f37896")
C = UUID("7011a688-ddde-4053-a5a9-7b3c4ddf13b8")
D = UUID("11111111-2222-3333-4444-555555555555")


def pta() -> DevicePta:
    return DevicePta(lambda: [(A, ENUM | 4), (B, SUPP), (C, STORAGE), (D, ENUM | SUPP), (UUID(int=1), 0)])


def listed(command: int) -> bytes:
    memory = Memory(bytes(160))
    out = memory.memref(Kind.MEMREF_OUTPUT, secure=False)
    pta().invoke(None, command, (out, None, None, None), None)
    return bytes(memory.data[: out.size])


def test_stages() -> None:
    assert listed(0) == bytes(range(16))  # octets in the order of the text
    assert listed(1) == B.bytes + C.bytes
    assert listed(2) == b""


def result(command: int, *params: object) -> results.Result:
    try:
        pta().invoke(None, command, params, None)  # type: ignore[arg-type]
    except TeeError as error:
        return error.result
    return results.SUCCESS


def test_the_size_is_asked_for_first_with_null() -> None:
    out = memref(Kind.MEMREF_OUTPUT, null=True)
    assert result(1, out) == results.SHORT_BUFFER
    assert out.size == 32
    nothing = memref(Kind.MEMREF_OUTPUT, null=True)
    assert result(2, nothing) == results.SUCCESS
    assert nothing.size == 0


def test_refusals() -> None:
    assert result(0, Memory().memref(Kind.MEMREF_OUTPUT, null=True, size=16)) == results.BAD_PARAMETERS
    assert result(0) == results.BAD_PARAMETERS
    assert result(0, memref(Kind.MEMREF_INOUT, bytes(64))) == results.BAD_PARAMETERS
    assert result(0, memref(Kind.MEMREF_OUTPUT, bytes(64)), value(Kind.VALUE_INPUT)) == results.BAD_PARAMETERS
    assert result(3, memref(Kind.MEMREF_OUTPUT, bytes(64))) == results.NOT_IMPLEMENTED


@given(
    st.lists(st.tuples(st.uuids(), st.sampled_from([0, ENUM, SUPP, STORAGE, ENUM | STORAGE])), max_size=20),
    st.integers(0, 400),
)
def test_never_more_than_fits(devices: list[tuple[UUID, int]], room: int) -> None:
    memory = Memory(bytes(room))
    out = memory.memref(Kind.MEMREF_OUTPUT)
    want = [uuid for uuid, flags in devices if flags == ENUM]
    pta = DevicePta(lambda: devices)
    if len(want) * 16 > room:
        with pytest.raises(TeeError, match="SHORT_BUFFER"):
            pta.invoke(None, 0, (out,), None)
    else:
        pta.invoke(None, 0, (out,), None)
        assert bytes(memory.data[: out.size]) == b"".join(uuid.bytes for uuid in want)
    assert out.size == len(want) * 16


class Minimal:
    """A PTA of somebody else's, with nothing but what the protocol asks for."""

    uuid = A

    def open(self, caller: object, params: object) -> object:
        return None

    def invoke(self, session: object, command: int, params: object, caller: object) -> None:
        pass

    def close(self, session: object) -> None:
        pass


class Odd(Minimal):
    uuid = B
    flags = TA_FLAG_DEVICE_ENUM


def test_registry() -> None:
    registry = Registry()
    device, system, minimal = DevicePta(registry.devices), SystemPta(FixedRoot()), Minimal()
    for one in (device, system, minimal):
        registry.add(one)
    assert registry.find(device.uuid) is device
    assert registry.find(UUID(int=5)) is None
    assert list(registry) == [device, system, minimal]
    assert len(registry) == 3
    assert dict(registry.devices())[system.uuid] == PTA_DEFAULT_FLAGS | TA_FLAG_CONCURRENT
    assert dict(registry.devices())[A] == PTA_DEFAULT_FLAGS
    with pytest.raises(ValueError, match="already"):
        registry.add(Minimal())
    with pytest.raises(ValueError, match="flags"):
        registry.add(Odd())
