"""The test PTA's self tests: they pass on this core, and fail on a broken one, whichever part of it is broken."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from north.memory import AddressSpace, Arena
from tee import activity
from tee.abi import results
from tee.abi.results import Result
from tee.errors import TeeError
from tee.instances import Instances
from tee.params import BaseMemref, Kind, Value
from tee.pta.invoke_tests import InvokeTestsPta
from tee.pta.selftest import aes, kit, lockdep, mutex
from tests.fakes import Lines
from tests.tee.pta_kit import Memory, host_platform, memref, value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tee.params import BaseMemref as Ref

SELF_TESTS, FS_HTREE, MUTEX, LOCKDEP, AES_PERF, DT_DRIVER, TRANSFER_LIST = 2, 6, 7, 8, 9, 11, 12
WRITER, READER = 0, 1


class Pta:
    """htree: as `InvokeTestsPta`'s."""

    def __init__(self, htree: Callable[[], None] | None = None) -> None:
        self.console = Lines()
        self.pta = InvokeTestsPta(host_platform(self.console), htree)

    def call(self, command: int, *params: Value | Ref | None) -> Result:
        try:
            self.pta.invoke(None, command, (*params, *[None] * (4 - len(params))), None)
        except TeeError as error:
            return error.result
        return results.SUCCESS


@pytest.mark.parametrize("command", [SELF_TESTS, LOCKDEP, DT_DRIVER])
def test_this_core_passes(command: int) -> None:
    pta = Pta()
    assert pta.call(command) == results.SUCCESS
    # OP-TEE looks at no parameters of these three.
    assert pta.call(command, value(Kind.VALUE_INPUT)) == results.SUCCESS
    assert pta.console.text == ""


# --- a broken core fails


def _ignore(*_: Any, **__: Any) -> None:
    pass


def _take_dirty(self: Arena, size: int) -> int:
    self._free = [(offset, room, False) for offset, room, _ in self._free]
    return TAKE(self, size)


def _take_beyond(self: Arena, size: int) -> int:
    self.limit = self.pages.size
    return TAKE(self, size)


def _overrun(self: BaseMemref, data: bytes) -> None:
    self.size = len(data)
    self._write(data[: self.capacity])


def _big_endian(uuid: UUID) -> bytes:
    return uuid.bytes


def _unguarded(self: AddressSpace, size: int) -> int:
    hole = self._first_hole(size, self.low)
    assert hole is not None
    return hole


def _trusting(*_: object) -> bytes:
    return bytes(16)


def _one_step(mine: activity.Activity, held: activity.Held) -> bool:
    """Finds circles of two, not of three."""
    holder = held.busy_with
    waits_for = holder.waiting_for if holder else None
    return holder is mine or (waits_for is not None and waits_for.busy_with is mine)


TAKE = Arena.take
BROKEN: list[tuple[int, str, str, object]] = [
    (SELF_TESTS, "words", "tee.pta.kinds.set_pair", _ignore),
    (SELF_TESTS, "words", "tee.pta.selftest.core.page_up", lambda size: size),
    (SELF_TESTS, "parameters", "tee.pta.selftest.core.kinds", lambda types: (types & 15,) * 4),
    (SELF_TESTS, "parameters", "tee.params.BaseMemref.put", _overrun),
    (SELF_TESTS, "parameters", "tee.pta.kinds.expect", _ignore),
    (SELF_TESTS, "formatting", "tee.pta.selftest.core.tee_uuid_bytes", _big_endian),
    (SELF_TESTS, "formatting", "tee.pta.selftest.core.crash_lines", lambda _: ()),
    (SELF_TESTS, "formatting", "tee.abi.results.Result.__str__", int.__repr__),
    (SELF_TESTS, "times", "tee.services.time.TaTimes.set_persistent", _ignore),
    (SELF_TESTS, "times", "tee.services.time.TIME_RANGE", 1),
    (SELF_TESTS, "cryptography", "tee.crypto.oneshot.digest", lambda *_: bytes(32)),
    (SELF_TESTS, "cryptography", "tee.crypto.oneshot.gcm_decrypt", _trusting),
    (SELF_TESTS, "cryptography", "tee.pta.selftest.core.huk_subkey", lambda *_: bytes(32)),
    (SELF_TESTS, "quota", "north.memory.Arena.take", _take_beyond),
    (SELF_TESTS, "zeroing", "north.memory.Arena.take", _take_dirty),
    (SELF_TESTS, "allocator", "north.memory.Arena.give", _ignore),
    (SELF_TESTS, "placement", "north.memory.AddressSpace._is_free", lambda *_: True),
    (SELF_TESTS, "placement", "north.memory.AddressSpace.reserve", _unguarded),
    (SELF_TESTS, "placement", "north.memory.AddressSpace.protect", _ignore),
    (SELF_TESTS, "cutting", "north.memory.AddressSpace._cut", _ignore),
    (SELF_TESTS, "passing", "tee.mapping.MappedParams.unmap", _ignore),
    (SELF_TESTS, "passing", "tee.mapping.MappedParams.update", _ignore),
    (LOCKDEP, "one call", "tee.pta.selftest.lockdep.closes_circle", lambda *_: False),
    (LOCKDEP, "three calls", "tee.pta.selftest.lockdep.closes_circle", lambda *_: True),
    (LOCKDEP, "three calls", "tee.pta.selftest.lockdep.closes_circle", _one_step),
    (DT_DRIVER, "clock", "south.linux_host.host.HostClock.sleep", _ignore),
    (DT_DRIVER, "clock", "south.linux_host.host.HostClock.wall", lambda _: 0.0),
    (DT_DRIVER, "entropy", "south.linux_host.host.HostEntropy.fill", lambda _, size: bytes(size)),
    (DT_DRIVER, "pages", "south.linux_host.memory.HostPages.shared", lambda self, size: self.arena(2 * size)),
    (DT_DRIVER, "engine", "north.memory.AddressSpace.write", _ignore),
]
"""Command, the test of it that must fail, and what is replaced by what."""


@pytest.mark.parametrize(("command", "test", "target", "broken"), BROKEN, ids=[f"{b[1]}-{b[2]}" for b in BROKEN])
def test_a_broken_core_fails(
    monkeypatch: pytest.MonkeyPatch, command: int, test: str, target: str, broken: object
) -> None:
    pta = Pta()
    with monkeypatch.context() as patch:
        patch.setattr(target, broken)
        assert pta.call(command) == results.GENERIC
        assert f"self test {test} failed" in pta.console.text
    assert pta.call(command) == results.SUCCESS


def test_all_self_tests_run_whichever_fail() -> None:
    console, ran = Lines(), []

    def fails() -> None:
        raise ZeroDivisionError

    with pytest.raises(TeeError, match="one, three"):
        kit.run(console, [("one", fails), ("two", lambda: ran.append(2)), ("three", lambda: kit.check(False, "x"))])
    assert ran == [2]
    assert "ZeroDivisionError" in console.text


def test_instances_ask_what_is_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    instances: Any = Instances(lambda uuid: pytest.fail("no TA is loaded here"))
    held = lockdep._Instance()
    assert instances.acquire(held, activity.Activity())
    monkeypatch.setattr("tee.instances.closes_circle", lambda *_: True)
    assert not instances.acquire(held, activity.Activity())


# --- readers and writers


def lock_test(pta: Pta, kind: int, rounds: int) -> tuple[int, int]:
    counts = value(Kind.VALUE_OUTPUT)
    assert pta.call(MUTEX, value(Kind.VALUE_INPUT, kind, rounds), counts) == results.SUCCESS
    return counts.a, counts.b


def test_readers_share_and_writers_do_not() -> None:
    """As xtest 1003: four readers and two writers at the same time."""
    pta = Pta()
    with ThreadPoolExecutor(6) as pool:
        kinds = [WRITER if n % 3 == 0 else READER for n in range(6)] * 8
        counts = list(pool.map(lambda kind: (kind, lock_test(pta, kind, 20000)), kinds))
    assert {during for kind, (_, during) in counts if kind == WRITER} == {1}
    assert max(during for kind, (_, during) in counts if kind == READER) > 1
    assert pta.pta._mutex._double == 2 * pta.pta._mutex._single == 2 * 20000 * kinds.count(WRITER)


class NoLock:
    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        yield

    writing = reading


def test_a_lock_that_does_not_lock_is_noticed() -> None:
    pta = Pta()
    pta.pta._mutex.lock = NoLock()  # type: ignore[assignment]

    def call(kind: int) -> tuple[Result, int]:
        counts = value(Kind.VALUE_OUTPUT)
        return pta.call(MUTEX, value(Kind.VALUE_INPUT, kind, 50000), counts), counts.b if kind == WRITER else 1

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(call, [WRITER, READER, WRITER, READER] * 10))
    assert any(outcome != (results.SUCCESS, 1) for outcome in outcomes)


def test_a_reader_who_sees_a_writer_at_work_says_so() -> None:
    pta = Pta()
    pta.pta._mutex._single = 7
    assert pta.call(MUTEX, value(Kind.VALUE_INPUT, READER, 1), value(Kind.VALUE_OUTPUT)) == results.BAD_STATE


def test_no_client_holds_the_lock_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutex, "MOST_ROUNDS", 10)
    pta = Pta()
    lock_test(pta, WRITER, 0xFFFFFFFF)
    assert pta.pta._mutex._single == 10


def test_mutex_refusals() -> None:
    pta = Pta()
    assert pta.call(MUTEX, value(Kind.VALUE_INPUT, 2, 1), value(Kind.VALUE_OUTPUT)) == results.BAD_PARAMETERS
    assert pta.call(MUTEX, value(Kind.VALUE_INPUT, 0, 1)) == results.BAD_PARAMETERS
    assert pta.call(MUTEX, value(Kind.VALUE_INPUT, 0, 1), value(Kind.VALUE_INOUT)) == results.BAD_PARAMETERS


# --- hash tree, transfer list


def test_without_storage_there_is_no_hash_tree_test() -> None:
    assert Pta().call(FS_HTREE) == results.BAD_PARAMETERS


def test_the_hash_tree_test_is_plugged_in() -> None:
    ran: list[int] = []
    pta = Pta(lambda: ran.append(1))
    assert pta.call(FS_HTREE) == results.SUCCESS
    assert ran == [1]
    assert pta.call(FS_HTREE, value(Kind.VALUE_INPUT)) == results.BAD_PARAMETERS


def test_a_hash_tree_that_fails_is_told() -> None:
    def broken() -> None:
        raise ValueError("corruption went unnoticed")

    pta = Pta(broken)
    assert pta.call(FS_HTREE) == results.GENERIC
    assert "corruption went unnoticed" in pta.console.text


def test_no_transfer_list() -> None:
    assert Pta().call(TRANSFER_LIST) == results.NOT_SUPPORTED


# --- AES


def aes_call(mode: int, bits: int, data: bytes, *, decrypt: int = 0, repetitions: int = 1, unit: int = 16,
             room: int | None = None) -> tuple[Result, bytes]:  # fmt: skip
    out = Memory(bytes(len(data) if room is None else room))
    result = Pta().call(AES_PERF, value(Kind.VALUE_INPUT, decrypt << 16 | bits, mode),
                        value(Kind.VALUE_INPUT, repetitions, unit), memref(Kind.MEMREF_INOUT, data),
                        out.memref(Kind.MEMREF_INOUT))  # fmt: skip
    return result, bytes(out.data)


@pytest.mark.parametrize("bits", [128, 192, 256])
@pytest.mark.parametrize("unit", [16, 48, 4096])
def test_aes_is_what_another_library_computes(bits: int, unit: int) -> None:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    data = bytes(range(256)) * 3
    key, iv = bytes(range(bits // 8)), bytes(range(0xA0, 0xB0))
    cipher_modes: list[Any] = [modes.ECB(), modes.CBC(iv), modes.CTR(iv)]
    for number, mode in enumerate(cipher_modes):
        encryptor = Cipher(algorithms.AES(key), mode).encryptor()
        want = encryptor.update(data) + encryptor.finalize()
        assert aes_call(number, bits, data, unit=unit) == (results.SUCCESS, want)
        assert aes_call(number, bits, want, decrypt=1, unit=unit) == (results.SUCCESS, data)


def test_aes_xts_and_gcm() -> None:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    data, iv = bytes(64), bytes(range(0xA0, 0xB0))
    xts = Cipher(algorithms.AES(bytes(range(16)) + bytes(range(32, 48))), modes.XTS(iv)).encryptor().update(data)
    assert aes_call(3, 128, data, unit=64) == (results.SUCCESS, xts)
    mode: Any = modes.GCM(iv)
    gcm = Cipher(algorithms.AES(bytes(range(32))), mode).encryptor().update(data)
    assert aes_call(4, 256, data) == (results.SUCCESS, gcm)


def test_aes_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytes(32)
    assert aes_call(5, 128, data)[0] == results.BAD_PARAMETERS
    assert aes_call(0, 129, data)[0] == results.BAD_PARAMETERS
    assert aes_call(0, 264, data)[0] == results.BAD_PARAMETERS
    assert aes_call(0, 128, data, unit=0)[0] == results.BAD_PARAMETERS
    assert aes_call(0, 128, data, room=31)[0] == results.BAD_PARAMETERS
    assert aes_call(0, 128, data, repetitions=0) == (results.SUCCESS, bytes(32))
    assert Pta().call(AES_PERF, value(Kind.VALUE_INPUT, 128)) == results.BAD_PARAMETERS
    monkeypatch.setattr(aes, "MOST_UPDATES", 7)
    assert aes_call(0, 128, data, repetitions=4)[0] == results.BAD_PARAMETERS
    assert aes_call(0, 128, data, repetitions=3)[0] == results.SUCCESS
    monkeypatch.setattr(aes, "MOST_BYTES", 63)
    assert aes_call(0, 128, data, repetitions=2)[0] == results.BAD_PARAMETERS
    assert aes_call(0, 128, data, repetitions=1)[0] == results.SUCCESS
