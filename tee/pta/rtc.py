"""Real-time clock PTA: the host's wall clock for the normal world's kernel (Linux's rtc-optee driver).

Setting it moves this secure world's real-time clock; the host's stays as it is.
Source: optee_os core/pta/rtc.c, core/include/drivers/rtc.h; Linux drivers/rtc/rtc-optee.c.
"""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from north.locks import ReadWriteLock
from tee.abi import results
from tee.abi.login import Login
from tee.abi.pta_rtc import INFO_VERSION, PTA_RTC_UUID, RTC_INFO, RTC_TIME, RtcCommand
from tee.abi.ta_head import TA_FLAG_CONCURRENT, TA_FLAG_DEVICE_ENUM
from tee.errors import TeeError
from tee.params import Kind
from tee.pta.base import Sessionless
from tee.pta.kinds import expect, memref
from tee.pta.registry import PTA_DEFAULT_FLAGS

if TYPE_CHECKING:
    from south.platform import Clock
    from tee.params import BaseMemref
    from tee.pta.base import Caller, Params

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""The calendar ends here."""
_SPAN = int((LATEST - EPOCH).total_seconds())


class RtcPta(Sessionless):
    uuid = PTA_RTC_UUID
    name = "rtc.pta"
    flags = PTA_DEFAULT_FLAGS | TA_FLAG_CONCURRENT | TA_FLAG_DEVICE_ENUM
    logins = frozenset((Login.REE_KERNEL,))

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead = 0.0
        """Seconds ahead of the host's wall clock."""
        self._lock = ReadWriteLock()

    def invoke(self, session: object, command: int, params: Params, caller: Caller | None) -> None:
        if command == RtcCommand.GET_INFO:
            expect(params, Kind.MEMREF_OUTPUT)
            whole = RTC_INFO.size + 2 * RTC_TIME.size
            _exact(params, whole).put(RTC_INFO.pack(INFO_VERSION, 0) + _pack(EPOCH) + _pack(LATEST))
        elif command == RtcCommand.GET_TIME:
            expect(params, Kind.MEMREF_OUTPUT)
            _exact(params, RTC_TIME.size).put(_pack(self._now()))
        elif command == RtcCommand.SET_TIME:
            expect(params, Kind.MEMREF_INPUT)
            self._set(_unpack(_exact(params, RTC_TIME.size).read()))
        elif command in (RtcCommand.GET_OFFSET, RtcCommand.SET_OFFSET):
            expect(params, Kind.VALUE_OUTPUT if command == RtcCommand.GET_OFFSET else Kind.VALUE_INPUT)
            raise TeeError(results.NOT_SUPPORTED, "the host's clock takes no correction from here")
        else:
            raise TeeError(results.NOT_IMPLEMENTED, f"the clock PTA has no command {command}")

    def _now(self) -> datetime:
        with self._lock.reading():
            seconds = self._clock.wall() + self._ahead
        return EPOCH + timedelta(seconds=max(0, min(_SPAN, int(seconds))))

    def _set(self, time: datetime) -> None:
        with self._lock.writing():
            self._ahead = (time - EPOCH).total_seconds() - self._clock.wall()


def _exact(params: Params, size: int) -> BaseMemref:
    """OP-TEE takes no larger buffer, either."""
    ref = memref(params, 0)
    if ref.null or ref.size != size:
        raise TeeError(results.BAD_PARAMETERS, f"the buffer has not {size} bytes")
    return ref


def _pack(time: datetime) -> bytes:
    weekday = (time.weekday() + 1) % 7
    return RTC_TIME.pack(time.second, time.minute, time.hour, time.day, time.month - 1, time.year, weekday)


def _unpack(data: bytes) -> datetime:
    """The day of the week follows from the date, whatever it is said to be."""
    second, minute, hour, day, month, year, _ = RTC_TIME.unpack(data)
    if not (EPOCH.year <= year <= LATEST.year and month < 12 and 1 <= day <= calendar.monthrange(year, month + 1)[1]):
        raise TeeError(results.BAD_PARAMETERS, "there is no such day")
    if hour > 23 or minute > 59 or second > 59:
        raise TeeError(results.BAD_PARAMETERS, "there is no such time of day")
    return datetime(year, month + 1, day, hour, minute, second, tzinfo=UTC)
