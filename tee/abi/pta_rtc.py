"""Real-time clock PTA. Source: optee_os lib/libutee/include/pta_rtc.h."""

from __future__ import annotations

import enum
from struct import Struct

from tee.abi.pta_uuids import PTA_RTC_UUID as PTA_RTC_UUID


class RtcCommand(enum.IntEnum):
    """PTA_CMD_RTC_*."""

    GET_INFO = 0
    GET_TIME = 1
    SET_TIME = 2
    GET_OFFSET = 3
    SET_OFFSET = 4


RTC_TIME = Struct("<7I")
"""struct pta_rtc_time: sec, min, hour, day of the month, month from 0, year, day of the week from Sunday as 0."""

RTC_INFO = Struct("<2Q")
"""struct pta_rtc_info up to its two struct pta_rtc_time: version, features; range_min and range_max follow, and the
whole is a multiple of 8 bytes as it is."""

INFO_VERSION = 1
FEATURE_CORRECTION = 1 << 0
"""PTA_RTC_FEATURE_CORRECTION: offsets, a correction of the clock's speed, can be set."""
