"""Statistics PTA. Source: optee_os lib/libutee/include/pta_stats.h."""

from __future__ import annotations

import enum
from struct import Struct

from tee.abi.pta_uuids import PTA_STATS_UUID as PTA_STATS_UUID


class StatsCommand(enum.IntEnum):
    """STATS_CMD_*."""

    PAGER_STATS = 0
    ALLOC_STATS = 1
    MEMLEAK_STATS = 2
    TA_STATS = 3
    GET_TIME = 4
    PRINT_DRIVER_INFO = 5


class Pool(enum.IntEnum):
    """ALLOC_ID_*."""

    ALL = 0
    HEAP = 1
    PUBLIC_DDR = 2
    TA_RAM = 3
    NEXUS_HEAP = 4


NB_POOLS = 5
"""STATS_NB_POOLS: one more than there are names for."""

ALLOC = Struct("<32s6I")
"""struct pta_stats_alloc: desc, allocated, max_allocated, size, num_alloc_fail, biggest_alloc_fail,
biggest_alloc_fail_used; bytes, but for the number."""

TA = Struct("<16s2I")
"""struct pta_stats_ta up to its `heap`, a struct pta_stats_alloc: uuid (TEE_UUID), panicked, sess_num."""


class DriverType(enum.IntEnum):
    """STATS_DRIVER_TYPE_*."""

    CLOCK = 0
    REGULATOR = 1
