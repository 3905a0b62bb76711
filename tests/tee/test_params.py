"""Parameters on their way to a pseudo TA: what it sees of them, and what the caller finds afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from north.errors import BadRange
from north.memory import AddressSpace
from south.platform import Arch
from tee import pta_call
from tee.abi import results
from tee.abi.results import Origin
from tee.activity import Activity
from tee.call import ENTRY_INVOKE, Call
from tee.errors import TeeError
from tee.mapping import MappedParams, Places
from tee.params import BaseMemref, Kind, Memref, Value
from tee.pta.base import Sessionless
from tee.session import PUBLIC, Session
from tests.tee.pta_kit import Memory, host_platform

if TYPE_CHECKING:
    from collections.abc import Callable

    from tee.pta.base import Caller, Params

INPUT, OUTPUT, INOUT = Kind.MEMREF_INPUT, Kind.MEMREF_OUTPUT, Kind.MEMREF_INOUT


class Pta(Sessionless):
    """Does what a test wants with its parameters."""

    uuid = UUID(int=1)

    def __init__(self, do: Callable[[Params], None]) -> None:
        self.do = do

    def invoke(self, session: object, command: int, params: Params, caller: Caller | None) -> None:
        self.do(params)


def ask(do: Callable[[Params], None], *params: Value | BaseMemref | None) -> tuple[results.Result, Origin]:
    session = Session(1, PUBLIC, None, 1)
    return pta_call.invoke(Pta(do), Call(ENTRY_INVOKE, session, 0, params, Activity()), pytest.fail)


def put(data: bytes) -> Callable[[Params], None]:
    def do(params: Params) -> None:
        assert isinstance(params[0], BaseMemref)
        params[0].put(data)

    return do


def test_there_are_always_four() -> None:
    seen: list[Params] = []
    value = Value(Kind.VALUE_INPUT, 1)
    assert ask(seen.append, None, value) == (results.SUCCESS, Origin.TRUSTED_APP)
    assert list(seen[0]) == [None, value, None, None]


def clients(data: bytes, kind: Kind) -> Memref:
    pages = host_platform().pages.shared(4096)
    pages.view(8, len(data))[:] = data
    return Memref(kind, pages, len(data), 8)


def tas(data: bytes, kind: Kind) -> BaseMemref:
    return Memory(data).memref(kind)


@pytest.mark.parametrize("make", [clients, tas])
class TestBothKindsOfMemory:
    def test_it_is_read_and_written_in_place(self, make: Callable[[bytes, Kind], BaseMemref]) -> None:
        memref = make(b"12345", INOUT)
        read: list[bytes] = []

        def do(params: Params) -> None:
            read.append(memref.read())
            memref.put(b"ab")
            read.append(memref.read())

        assert ask(do, memref) == (results.SUCCESS, Origin.TRUSTED_APP)
        assert read == [b"12345", b"ab345"]
        assert memref.size == 2

    def test_what_does_not_fit_leaves_it_alone(self, make: Callable[[bytes, Kind], BaseMemref]) -> None:
        memref = make(b"12345", OUTPUT)
        assert ask(put(b"123456"), memref) == (results.SHORT_BUFFER, Origin.TRUSTED_APP)
        assert memref.size == 6
        assert memref.read() == b"12345"

    def test_a_call_offers_the_size_it_has_by_then(self, make: Callable[[bytes, Kind], BaseMemref]) -> None:
        memref = make(b"12345", INOUT)
        assert ask(put(b"12"), memref)[0] == results.SUCCESS
        assert ask(put(b"123"), memref)[0] == results.SHORT_BUFFER
        memref.size = 5
        assert ask(put(b"54321"), memref)[0] == results.SUCCESS

    def test_the_size_of_an_input_stays(self, make: Callable[[bytes, Kind], BaseMemref]) -> None:
        memref = make(b"12345", INPUT)

        def do(params: Params) -> None:
            memref.size = 77

        ask(do, memref)
        assert memref.size == 5


@pytest.mark.parametrize(("kind", "after"), [(INPUT, 9), (OUTPUT, 0), (INOUT, 0)])
def test_null_has_no_bytes_whatever_its_size(kind: Kind, after: int) -> None:
    memref = Memref(kind, None, 9)

    def do(params: Params) -> None:
        assert (memref.null, memref.size, memref.capacity, memref.read()) == (True, 0, 0, b"")

    assert ask(do, memref) == (results.SUCCESS, Origin.TRUSTED_APP)
    assert memref.size == after
    assert ask(put(b""), memref) == (results.SHORT_BUFFER, Origin.TRUSTED_APP)


@pytest.mark.parametrize(("offset", "size"), [(4090, 7), (-1, 1), (0, 4097), (1 << 63, 1)])
def test_memory_that_is_not_there_never_comes_to_the_pta(offset: int, size: int) -> None:
    null = Memref(OUTPUT, None, 9)
    wrong = Memref(INOUT, host_platform().pages.shared(4096), size, offset)
    assert ask(lambda _: pytest.fail("it was called"), null, wrong) == (results.BAD_PARAMETERS, Origin.TEE)
    assert (null.size, wrong.size) == (9, size)


def test_what_a_pta_borrows_is_never_mapped_into_a_ta() -> None:
    platform = host_platform()
    arena = platform.pages.arena(1 << 20)
    space = AddressSpace(platform.engine.space(Arch.AARCH64, arena), arena, platform.entropy, 1 << 20)
    with pytest.raises(BadRange):
        MappedParams(space, [tas(b"secret", INPUT)], Places(), lambda _: None)


class FakeTa:
    """A caller whose first page is its own, private; the rest is nobody's."""

    def __init__(self) -> None:
        self.memory = self
        self.space = self

    def __iter__(self) -> object:
        return iter(())

    def check(self, va: int, size: int, write: bool) -> None:
        if va + size > 4096:
            raise TeeError(results.ACCESS_DENIED)

    def find(self, va: int) -> None:
        return None


def test_a_tas_access_to_all_is_checked_before_what_it_may_share() -> None:
    """utee_param_to_param comes first (core/tee/tee_svc.c)."""
    caller: object = FakeTa()
    types = INPUT | INPUT << 4
    for words, expected in (((8, 4, 5000, 4), results.ACCESS_DENIED), ((8, 4, 8, 4), results.BAD_PARAMETERS)):
        with pytest.raises(TeeError) as refused:
            pta_call.from_ta(caller, (types, *words, 0, 0, 0, 0), lend=False)  # type: ignore[arg-type]
        assert refused.value.result == expected
