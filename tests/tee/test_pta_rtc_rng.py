"""Clock and random generator PTAs, as Linux's rtc-optee and optee-rng drivers use them."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from tee.abi import results
from tee.abi.login import Login
from tee.abi.results import Origin, Result
from tee.errors import TeeError
from tee.params import Kind
from tee.pta.rng import RngPta
from tee.pta.rtc import RtcPta
from tee.world import PUBLIC, Client, SecureWorld
from tests.fakes import FakeClock
from tests.tee.pta_kit import Memory, host_platform, memref, value

if TYPE_CHECKING:
    from tee.params import BaseMemref, Value
    from tee.pta.base import PseudoTa

IN, OUT, INOUT = Kind.MEMREF_INPUT, Kind.MEMREF_OUTPUT, Kind.MEMREF_INOUT


def result(pta: PseudoTa, command: int, *params: Value | BaseMemref) -> Result:
    try:
        pta.invoke(None, command, (*params, *[None] * (4 - len(params))), None)
    except TeeError as error:
        return error.result
    return results.SUCCESS


INFO, GET, SET, GET_OFFSET, SET_OFFSET = range(5)


def told(pta: RtcPta) -> tuple[int, ...]:
    out = Memory(bytes(28))
    assert result(pta, GET, out.memref(OUT)) == results.SUCCESS
    return struct.unpack("<7I", out.data)


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("1970-01-01T00:00:00", (0, 0, 0, 1, 0, 1970, 4)),
        ("2024-02-29T23:59:58", (58, 59, 23, 29, 1, 2024, 4)),
        ("2026-11-29T12:00:00", (0, 0, 12, 29, 10, 2026, 0)),
    ],
)
def test_time(text: str, want: tuple[int, ...]) -> None:
    """Thursday, a leap day on a Thursday, a Sunday; months count from 0."""
    assert told(RtcPta(FakeClock(wall=datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() + 0.75))) == want


def test_setting_moves_this_clock_alone() -> None:
    clock = FakeClock(wall=1e9)
    pta, other = RtcPta(clock), RtcPta(clock)
    before = told(other)
    assert result(pta, SET, memref(IN, struct.pack("<7I", 30, 20, 10, 28, 1, 2100, 6))) == results.SUCCESS
    clock.date += 90
    assert told(pta) == (0, 22, 10, 28, 1, 2100, 0)
    assert told(other)[1:] != before[1:]
    assert clock.date == 1e9 + 90


@pytest.mark.parametrize(
    "time",
    [
        (60, 0, 0, 1, 0, 2020, 0),
        (0, 60, 0, 1, 0, 2020, 0),
        (0, 0, 24, 1, 0, 2020, 0),
        (0, 0, 0, 0, 0, 2020, 0),
        (0, 0, 0, 30, 1, 2020, 0),
        (0, 0, 0, 29, 1, 2100, 0),
        (0, 0, 0, 1, 12, 2020, 0),
        (0, 0, 0, 1, 0, 1969, 0),
        (0, 0, 0, 1, 0, 10000, 0),
        (0xFFFFFFFF,) * 7,
    ],
)
def test_times_that_do_not_exist(time: tuple[int, ...]) -> None:
    pta = RtcPta(FakeClock(wall=1e9))
    before = told(pta)
    assert result(pta, SET, memref(IN, struct.pack("<7I", *time))) == results.BAD_PARAMETERS
    assert told(pta) == before


def test_the_clock_stays_in_the_calendar() -> None:
    clock = FakeClock(wall=-5.0)
    pta = RtcPta(clock)
    assert told(pta)[5] == 1970
    clock.date = 1e12
    assert told(pta) == (59, 59, 23, 31, 11, 9999, 5)


def test_info() -> None:
    out = Memory(bytes(72))
    assert result(RtcPta(FakeClock(wall=0)), INFO, out.memref(OUT)) == results.SUCCESS
    version, features, *times = struct.unpack("<2Q14I", out.data)
    assert (version, features) == (1, 0)
    assert times == [0, 0, 0, 1, 0, 1970, 4, 59, 59, 23, 31, 11, 9999, 5]


def test_clock_refusals() -> None:
    pta = RtcPta(FakeClock(wall=1e9))
    for command, kind, size in ((INFO, OUT, 72), (GET, OUT, 28), (SET, IN, 28)):
        for other in (size - 1, size + 1, 0):
            assert result(pta, command, memref(kind, bytes(other))) == results.BAD_PARAMETERS
        null = Memory().memref(kind, null=True, size=size)
        assert result(pta, command, null) == results.BAD_PARAMETERS
        assert result(pta, command, memref(INOUT, bytes(size))) == results.BAD_PARAMETERS
        assert result(pta, command) == results.BAD_PARAMETERS
    assert result(pta, GET_OFFSET, value(Kind.VALUE_OUTPUT)) == results.NOT_SUPPORTED
    assert result(pta, SET_OFFSET, value(Kind.VALUE_INPUT, 1)) == results.NOT_SUPPORTED
    assert result(pta, GET_OFFSET, value(Kind.VALUE_INPUT)) == results.BAD_PARAMETERS
    assert result(pta, SET_OFFSET) == results.BAD_PARAMETERS
    assert result(pta, 5) == results.NOT_IMPLEMENTED


def test_only_the_kernel_has_the_clock() -> None:
    with SecureWorld(host_platform(), None) as world:  # type: ignore[arg-type]
        assert world.open_session(RtcPta.uuid, client=PUBLIC)[1:] == (results.ACCESS_DENIED, Origin.TRUSTED_APP)
        user = Client(Login.USER, RtcPta.uuid)
        assert world.open_session(RtcPta.uuid, client=user).result == results.ACCESS_DENIED
        kernel = world.open_session(RtcPta.uuid, client=Client(Login.REE_KERNEL))
        assert kernel.result == results.SUCCESS
        assert world.invoke(kernel.session, 5).result == results.NOT_IMPLEMENTED


# --- random generator


def test_random_bytes() -> None:
    pta = RngPta(host_platform().entropy)
    one, other = Memory(bytes(64)), Memory(bytes(64))
    for memory in (one, other):
        ref = memory.memref(INOUT)
        assert result(pta, 0, ref) == results.SUCCESS
        assert ref.size == 64
    assert len({bytes(one.data), bytes(other.data), bytes(64)}) == 3


def test_rate_is_never_0() -> None:
    """Linux divides by it."""
    info = value(Kind.VALUE_OUTPUT)
    assert result(RngPta(host_platform().entropy), 1, info) == results.SUCCESS
    assert info.a > 0
    assert info.b == 1024


def test_random_refusals() -> None:
    pta = RngPta(host_platform().entropy)
    assert result(pta, 0, memref(INOUT, null=True)) == results.BAD_PARAMETERS
    assert result(pta, 0, memref(OUT, bytes(8))) == results.BAD_PARAMETERS
    assert result(pta, 0) == results.BAD_PARAMETERS
    assert result(pta, 1, value(Kind.VALUE_INOUT)) == results.BAD_PARAMETERS
    assert result(pta, 2) == results.NOT_IMPLEMENTED
