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
from tee.normal import PLUGIN_DATA_MAX, PluginAnswer
from tee.params import BaseMemref, Kind, Value
from tee.pta.system import SystemPta
from tests.fakes import FixedRoot
from tests.tee.pta_kit import FakeCaller, Memory, memref, value

if TYPE_CHECKING:
    from collections.abc import Callable


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


def run(caller: FakeCaller | None, command: int, *params: Value | BaseMemref | None) -> results.Result:
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


def make(kind: Kind) -> Value | BaseMemref | None:
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
def params_of(draw: Callable[..., object], command: SystemCommand) -> list[Value | BaseMemref | None]:
    out: list[Value | BaseMemref | None] = []
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


class FakePlugins:
    """`tee.normal.Plugins` that answers what it is told to, and remembers what it was asked."""

    def __init__(self, result: int = results.SUCCESS, length: int = 0, writes: bytes = b"") -> None:
        self.answer = PluginAnswer(result, length)
        self.writes = writes
        self.asked: list[tuple[object, ...]] = []
        self.stopped = False

    def invoke(
        self, uuid: UUID, command: int, sub_command: int, data: bytearray, stop: Callable[[], bool]
    ) -> PluginAnswer:
        self.asked.append((uuid, command, sub_command, bytes(data)))
        self.stopped = stop()
        data[: len(self.writes)] = self.writes
        return self.answer


class FakeNormal:
    files = rpmb = sockets = None

    def __init__(self, plugins: FakePlugins | None) -> None:
        self.plugins = plugins


PLUGIN = UUID("96bcf744-4f72-4866-bf1d-8634fd9c65e5")


def ask(
    plugins: FakePlugins | None, data: BaseMemref, length: Value, caller: FakeCaller | None = None
) -> results.Result:
    pta = SystemPta(FixedRoot(HUK), normal=FakeNormal(plugins))
    try:
        pta.invoke(None, 13, (memref(IN, PLUGIN.bytes_le), value(VIN, 3, 4), data, length), caller or FakeCaller(TA))
    except TeeError as error:
        return error.result
    return results.SUCCESS


@pytest.mark.parametrize(
    ("length", "result", "expected", "data"),
    [
        (4, 0, results.SUCCESS, b"DATA"),
        # optee_os 4.5 core/tee/tee_supp_plugin_rpc.c: any length but 0 brings the whole buffer back.
        (1, 0, results.SUCCESS, b"DATA"),
        (99, 0, results.SUCCESS, b"DATA"),
        (0, 0, results.SUCCESS, b"data"),
        (0, results.BAD_STATE, results.BAD_STATE, b"data"),
        # ... and what became of that is the call's result.
        (4, results.BAD_STATE, results.SUCCESS, b"DATA"),
    ],
)
def test_a_plugins_answer(length: int, result: int, expected: int, data: bytes) -> None:
    plugins, buffer, out = FakePlugins(result, length, b"DATA"), Memory(b"data"), value(VOUT, 77)
    assert ask(plugins, buffer.memref(INOUT, secure=False), out) == expected
    assert plugins.asked == [(PLUGIN, 3, 4, b"data")]
    assert (out.a, bytes(buffer.data)) == (length, data)
    assert not plugins.stopped


@pytest.mark.parametrize("null", [False, True])
def test_a_plugin_without_data(null: bool) -> None:
    """core/tee/tee_supp_plugin_rpc.c: no bytes, no memory; the length is told all the same."""
    plugins, out = FakePlugins(results.SUCCESS, 5), value(VOUT)
    assert ask(plugins, memref(INOUT, null=null), out) == results.SUCCESS
    assert plugins.asked == [(PLUGIN, 3, 4, b"")]
    assert out.a == 5
    assert ask(FakePlugins(results.NO_DATA, 5), memref(INOUT, null=null), out) == results.NO_DATA


def test_a_plugins_length_is_cut_to_a_word() -> None:
    out = value(VOUT)
    assert ask(FakePlugins(0, (7 << 32) + 3), memref(INOUT, b"data"), out) == results.SUCCESS
    assert out.a == 3


def test_plugins_that_are_not_asked() -> None:
    plugins, out = FakePlugins(), value(VOUT, 77)
    assert ask(plugins, Memory().memref(INOUT, null=True, size=4), out) == results.BAD_PARAMETERS
    huge = Memory().memref(INOUT, size=PLUGIN_DATA_MAX + 1)
    assert ask(plugins, huge, out) == results.OUT_OF_MEMORY
    assert ask(None, memref(INOUT, b"data"), out) == results.NOT_SUPPORTED
    assert not plugins.asked
    assert out.a == 0


def test_a_plugins_call_is_told_of_a_cancellation() -> None:
    class Cancelled(FakeCaller):
        def wait(self, seconds: float) -> bool:
            return True

    plugins = FakePlugins()
    ask(plugins, memref(INOUT), value(VOUT), Cancelled(TA))
    assert plugins.stopped
