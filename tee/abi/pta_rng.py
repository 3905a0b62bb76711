"""Random generator PTA. Source: optee_os lib/libutee/include/pta_rng.h."""

from __future__ import annotations

import enum

from tee.abi.pta_uuids import PTA_RNG_UUID as PTA_RNG_UUID


class RngCommand(enum.IntEnum):
    """PTA_CMD_*."""

    GET_ENTROPY = 0
    GET_RNG_INFO = 1
