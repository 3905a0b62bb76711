"""System PTA: parameter types, checks and keys."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tee.abi import results
from tee.abi.pta_system import PTA_SYSTEM_UUID, SystemCommand
from tee.abi.ta_head import TA_FLAG_CONCURRENT
from tee.errors import TeeError
from tee.params import Kind, Value
from tee.pta.system import SystemPta
from tests.tee.pta_kit import FakeCaller, FixedRoot, Memory, memref, value

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tee.pta.base import PtaMemref

    Params = Sequence[Value | PtaMemref | None]

TA = UUID("8aaaf200-2450-11e4-abe2-0002a5d5c51b")
HUK = bytes(range(16))

IN, OUT, INOUT = Kind.MEMREF_INPUT, Kind.MEMREF_OUTPUT, Kind.MEMREF_INOUT
VIN, VOUT, VINOUT = Kind.VALUE_INPUT, Kind.VALUE_OUTPUT, Kind.VALUE_INOUT

TYPES = {
    SystemCommand.ADD_RNG_ENTROPY: (IN,),
    SystemCommand.DERIVE_TA_UNIQUE_KEY: (IN, OUT),
    SystemCommand.MAP_ZI: (VIN, VINOUT, VIN),
    SystemCommand.UNMAP: (VIN, VIN),
    SystemCommand.DLOPEN: (IN, VIN),
    SystemCommand.DLSYM: (IN, IN, VOUT),
    SystemCommand.GET_TPM_EVENT_LOG: (OUT,),
    SystemCommand.SUPP_PLUGIN_INVOKE: (IN, VIN, INOUT, VOUT),
}


@pytest.fixture
def caller() -> FakeCaller:
    return FakeCaller(TA)


def run(caller: FakeCaller | None, command: int, *params: Value | PtaMemref | None) -> results.Result:
    pta = SystemPta(FixedRoot(HUK))
    try:
        pta.invoke(None, command, params, caller)
    except TeeError as error:
        return error.result
    return results.SUCCESS


def test_identity() -> None:
    assert SystemPta.uuid == PTA_SYSTEM_UUID == UUID("3a2f8978-5dc0-11e8-9c2d-fa7ae01bbebc")
    assert SystemPta.flags & TA_FLAG_CONCURRENT


def test_sessions_are_for_tas(caller: FakeCaller) -> None:
    pta = SystemPta(FixedRoot())
    pta.close(pta.open(caller, ()))
    with pytest.raises(TeeError) as caught:
        pta.open(None, ())
    assert caught.value.result == results.ACCESS_DENIED
    assert run(None, 0, memref(IN, b"x")) == results.ACCESS_DENIED


@given(st.integers(0, (1 << 32) - 1).filter(lambda n: n not in set(SystemCommand)))
def test_other_commands_are_not_implemented(command: int) -> None:
    assert run(FakeCaller(TA), command) == results.NOT_IMPLEMENTED


# --- parameter types ---

KINDS = st.lists(st.sampled_from(list(Kind)), max_size=4)


def make(kind: Kind) -> Value | PtaMemref | None:
    if kind is Kind.NONE:
        return None
    return memref(kind, bytes(16)) if kind in (IN, OUT, INOUT) else value(kind, 4096, 0)


@given(st.sampled_from(list(SystemCommand)), KINDS)
def test_wrong_types_are_refused_before_anything_happens(command: SystemCommand, kinds: list[Kind]) -> None:
    given_types = tuple(kinds) + (Kind.NONE,) * (4 - len(kinds))
    right = TYPES[command] + (Kind.NONE,) * (4 - len(TYPES[command]))
    caller = FakeCaller(TA)
    result = run(caller, command, *(make(kind) for kind in kinds))
    if given_types != right:
        assert result == results.BAD_PARAMETERS
        assert not caller.calls


WORDS = st.one_of(
    st.sampled_from([0, 1, 16, 4095, 4096, 0x7FFFFFFF, 0xFFFFF000, 0xFFFFF001, 0xFFFFFFFF]),
    st.integers(0, (1 << 32) - 1),
)


@st.composite
def params_of(draw: Callable[..., object], command: SystemCommand) -> list[Value | PtaMemref | None]:
    out: list[Value | PtaMemref | None] = []
    for kind in TYPES[command]:
        if kind in (IN, OUT, INOUT):
            data = draw(
                st.one_of(st.just(bytes(16)), st.binary(max_size=64), st.just(bytes(1025)), st.just(b"a" * 5000))
            )
            assert isinstance(data, bytes)
            out.append(memref(kind, data, secure=bool(draw(st.booleans())), null=bool(draw(st.booleans()))))
        else:
            a, b = draw(WORDS), draw(WORDS)
            assert isinstance(a, int)
            assert isinstance(b, int)
            out.append(value(kind, a, b))
    return out


@given(st.data())
def test_any_parameters_end_in_a_defined_result(data: st.DataObject) -> None:
    command = data.draw(st.sampled_from(list(SystemCommand)))
    params = data.draw(params_of(command))
    caller = FakeCaller(TA)
    result = run(caller, command, *params)
    assert result.name.startswith("TEE_")
    for call in caller.calls:
        assert result == results.SUCCESS
        if call[0] == "unmap":
            _, va, size = call
            assert isinstance(va, int)
            assert isinstance(size, int)
            assert va % 4096 == 0
            assert size > 0
            assert size % 4096 == 0
            assert va + size <= 1 << 64


# --- entropy ---


def test_entropy_reaches_the_generator(caller: FakeCaller) -> None:
    taken: list[bytes] = []
    pta = SystemPta(FixedRoot(), reseed=taken.append)
    pta.invoke(None, SystemCommand.ADD_RNG_ENTROPY, (memref(IN, b"noise", secure=False),), caller)
    assert taken == [b"noise"]


def test_entropy_sizes(caller: FakeCaller) -> None:
    assert run(caller, 0, memref(IN, b"a" * 4096)) == results.SUCCESS
    assert run(caller, 0, memref(IN, b"a" * 4097)) == results.OUT_OF_MEMORY
    assert run(caller, 0, memref(IN)) == results.BAD_PARAMETERS
    assert run(caller, 0, memref(IN, null=True)) == results.BAD_PARAMETERS


# --- unique keys ---


@pytest.mark.parametrize("size", [16, 17, 32])
@pytest.mark.parametrize("extra", [b"", b"context", bytes(1024)])
def test_unique_key(caller: FakeCaller, size: int, extra: bytes) -> None:
    key = Memory(bytes(size))
    out = key.memref(OUT)
    assert run(caller, 1, memref(IN, extra, secure=False), out) == results.SUCCESS
    message = b"\3\0\0\0" + TA.bytes_le + extra
    assert bytes(key.data) == hmac.digest(HUK, message, hashlib.sha256)[:size]
    assert out.size == size


@pytest.mark.parametrize(
    ("extra", "size", "secure", "expected"),
    [
        (1025, 16, True, results.BAD_PARAMETERS),
        (0, 15, True, results.BAD_PARAMETERS),
        (0, 33, True, results.BAD_PARAMETERS),
        (0, 0, True, results.BAD_PARAMETERS),
        (0, 32, False, results.SECURITY),
        (1025, 32, False, results.BAD_PARAMETERS),
    ],
)
def test_unique_key_refused(caller: FakeCaller, extra: int, size: int, secure: bool, expected: int) -> None:
    key = Memory(bytes(size))
    assert run(caller, 1, memref(IN, bytes(extra)), key.memref(OUT, secure=secure)) == expected
    assert key.data == bytes(size)


def test_unique_key_into_null_is_refused(caller: FakeCaller) -> None:
    assert run(caller, 1, memref(IN), Memory().memref(OUT, null=True, size=32)) == results.SECURITY


# --- memory ---


def test_map(caller: FakeCaller) -> None:
    caller.answer = 0x12_3456_7000
    where = value(VINOUT)
    assert run(caller, 2, value(VIN, 100, 1), where, value(VIN, 4096, 8192)) == results.SUCCESS
    assert caller.calls == [("map", 100, 4096, 8192, 0, 1)]
    assert (where.a, where.b) == (0x12, 0x3456_7000)


@pytest.mark.parametrize(
    ("size", "flags", "at", "pads", "expected"),
    [
        (4096, 2, 0, (0, 0), results.BAD_PARAMETERS),
        (4096, 4, 0, (0, 0), results.BAD_PARAMETERS),
        (0, 0, 0, (0, 0), results.OUT_OF_MEMORY),
        (4096, 0, 1, (0, 0), results.ACCESS_CONFLICT),
        (4096, 0, 0, (1, 0), results.ACCESS_CONFLICT),
        (4096, 0, 0, (0, 2048), results.ACCESS_CONFLICT),
    ],
)
def test_map_refused(caller: FakeCaller, size: int, flags: int, at: int, pads: tuple[int, int], expected: int) -> None:
    assert run(caller, 2, value(VIN, size, flags), value(VINOUT, 0, at), value(VIN, *pads)) == expected
    assert not caller.calls


def test_unmap(caller: FakeCaller) -> None:
    assert run(caller, 3, value(VIN, 4097, 0), value(VIN, 0x12, 0x3456_7000)) == results.SUCCESS
    assert caller.calls == [("unmap", 0x12_3456_7000, 8192)]


@pytest.mark.parametrize(
    ("size", "reserved", "va"),
    [
        (4096, 1, 0x1000),
        (0, 0, 0x1000),
        (4096, 0, 0x1001),
        (0xFFFFF001, 0, 0x1000),
        (0x2000, 0, (1 << 64) - 0x1000),
        (0x1000, 0, (1 << 64) - 0x1000),
    ],
)
def test_unmap_refused(caller: FakeCaller, size: int, reserved: int, va: int) -> None:
    assert run(caller, 3, value(VIN, size, reserved), value(VIN, va >> 32, va & 0xFFFFFFFF)) == results.BAD_PARAMETERS
    assert not caller.calls


# --- libraries ---


def test_dlopen(caller: FakeCaller) -> None:
    library = UUID("ffd2bded-ab7d-4988-95ee-e4962fff7154")
    assert run(caller, 10, memref(IN, library.bytes_le), value(VIN, 0x1102)) == results.SUCCESS
    assert caller.calls == [("dlopen", library, 0x1102)]
    for bad in (b"", library.bytes_le[:15], library.bytes_le + b"\0"):
        assert run(caller, 10, memref(IN, bad), value(VIN, 0x1102)) == results.BAD_PARAMETERS


@pytest.mark.parametrize("name", [b"add", b"add\0", b"add\0more"])
def test_dlsym(caller: FakeCaller, name: bytes) -> None:
    caller.answer = 0x1_0000_0004
    nil = UUID(int=0)
    address = value(VOUT)
    assert run(caller, 11, memref(IN, nil.bytes_le), memref(IN, name), address) == results.SUCCESS
    assert caller.calls == [("dlsym", nil, "add")]
    assert (address.a, address.b) == (1, 4)


def test_dlsym_names(caller: FakeCaller) -> None:
    def result(name: bytes) -> results.Result:
        return run(caller, 11, memref(IN, bytes(16)), memref(IN, name), value(VOUT))

    assert result(b"") == results.BAD_PARAMETERS
    assert result(b"\xff\xfe") == results.ITEM_NOT_FOUND
    assert result(b"a" * 4095) == results.SUCCESS
    assert result(b"a" * 4096) == results.OUT_OF_MEMORY


# --- what needs more than a secure world ---


def test_tpm_event_log(caller: FakeCaller) -> None:
    assert run(caller, 12, memref(OUT, bytes(16))) == results.NOT_SUPPORTED


def test_plugins_without_a_supplicant(caller: FakeCaller) -> None:
    def result(uuid: bytes, data: bytes) -> results.Result:
        return run(caller, 13, memref(IN, uuid), value(VIN, 1, 2), memref(INOUT, data), value(VOUT))

    assert result(bytes(16), b"") == results.COMMUNICATION
    assert result(bytes(16), b"data") == results.OUT_OF_MEMORY
    assert result(bytes(15), b"") == results.BAD_PARAMETERS
