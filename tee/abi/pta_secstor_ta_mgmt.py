"""PTA that installs TAs in secure storage. Source: optee_os lib/libutee/include/pta_secstor_ta_mgmt.h."""

from __future__ import annotations

import enum

from tee.abi.pta_uuids import PTA_SECSTOR_TA_MGMT_UUID as PTA_SECSTOR_TA_MGMT_UUID


class SecstorCommand(enum.IntEnum):
    """PTA_SECSTOR_TA_MGMT_*."""

    BOOTSTRAP = 0
