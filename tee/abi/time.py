"""Times as TAs see them.

Source: optee_os lib/libutee/include/utee_types.h (`enum utee_time_category`), tee_api_types.h
(`TEE_Time`), tee_api_defines.h, core/include/kernel/tee_time.h.
"""

from __future__ import annotations

import enum
from struct import Struct


class TimeCategory(enum.IntEnum):
    """UTEE_TIME_CAT_*."""

    SYSTEM = 0
    TA_PERSISTENT = 1
    REE = 2


TEE_TIME = Struct("<II")
"""TEE_Time: seconds, milliseconds."""

MILLIS_BASE = 1000
"""TEE_TIME_MILLIS_BASE."""

TIME_RANGE = (1 << 32) * MILLIS_BASE
"""Milliseconds after which a TEE_Time starts again at zero."""

TIMEOUT_INFINITE = 0xFFFFFFFF
"""TEE_TIMEOUT_INFINITE, milliseconds. `wait` knows no infinity: it takes it as that many."""
