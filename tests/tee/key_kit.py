"""Asymmetric system calls of a TA without a CPU: an operation a call, with a copy of the key it is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee.abi import results
from tee.abi.algorithms import Mode
from tee.abi.attributes import Attr
from tee.abi.objects import HandleFlag, ObjectType
from tests.tee.fake_ta import FakeTask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tee.abi.results import Result

AttrValue = tuple[int, bytes | int]


def key_ta() -> Iterator[FakeTask]:
    """What a fixture yields."""
    from tee.crypto.task import Task

    native = Task()
    yield FakeTask(native)
    native.close()


def octets(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def populated(ta: FakeTask, type_: int, bits: int, *attrs: AttrValue) -> int:
    key = ta.alloc(type_, bits)
    with ta.memory.scratch():
        assert ta.populate(key, *attrs) == results.SUCCESS
    return key


def derive(
    ta: FakeTask, algo: int, key: int, *attrs: AttrValue, key2: int = 0, into: tuple[int, int] | None = None
) -> tuple[Result, bytes]:
    """(result, secret) in a new object of (type, bits): a generic secret of 4096 bits."""
    state = fresh_state(ta, algo, Mode.DERIVE, key, key2)
    target = ta.alloc(*(into or (ObjectType.GENERIC_SECRET, 4096)))
    with ta.memory.scratch():
        result = ta.call("cryp_derive_key", state, *ta.attributes(*attrs), target)
        secret = ta.get(target, Attr.SECRET_VALUE)[1] if result == results.SUCCESS else b""
    assert ta.call("cryp_state_free", state) == results.SUCCESS
    assert ta.call("cryp_obj_close", target) == results.SUCCESS
    return result, secret


def _copy(ta: FakeTask, key: int) -> int:
    type_, _, max_bits, _, _, _, flags = ta.info(key)
    own = ta.alloc(type_, max_bits)
    if flags & HandleFlag.INITIALIZED:
        assert ta.call("cryp_obj_copy", own, key) == results.SUCCESS
    return own


def fresh_state(ta: FakeTask, algo: int, mode: Mode, key: int, key2: int = 0) -> int:
    """A state with keys of its own, as libutee makes them: the same key serves many operations."""
    result, state = ta.state(algo, mode, _copy(ta, key), _copy(ta, key2) if key2 else 0)
    assert result == results.SUCCESS
    return state


def operate(
    ta: FakeTask,
    algo: int,
    mode: Mode,
    key: int,
    data: bytes,
    *attrs: AttrValue,
    room: int = 512,
) -> tuple[Result, bytes, int]:
    """(result, output, reported length)."""
    state = fresh_state(ta, algo, mode, key)
    with ta.memory.scratch():
        out, length = ta.memory.place(bytes(room)), ta.cell(room, 8)
        words = (*ta.attributes(*attrs), ta.memory.place(data), len(data))
        result = ta.call("asymm_operate", state, *words, out, length)
        reported = ta.memory.word_at(length, 8)
        output = ta.memory.copy_in(out, min(reported, room))
    assert ta.call("cryp_state_free", state) == results.SUCCESS
    return result, output, reported


def verify(ta: FakeTask, algo: int, key: int, data: bytes, signature: bytes, *attrs: AttrValue) -> Result:
    state = fresh_state(ta, algo, Mode.VERIFY, key)
    place = ta.memory.place
    with ta.memory.scratch():
        words = (place(data), len(data), place(signature), len(signature))
        result = ta.call("asymm_verify", state, *ta.attributes(*attrs), *words)
    assert ta.call("cryp_state_free", state) == results.SUCCESS
    return result
