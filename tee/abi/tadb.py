"""The database of TAs installed in trusted storage, and the pseudo TA that installs them.

Source: optee_os 4.5 core/tee/tadb.c (`struct tadb_entry`), core/include/tee/tadb.h,
lib/libutee/include/pta_secstor_ta_mgmt.h.
"""

from __future__ import annotations

import enum
import struct

from tee.abi.pta_uuids import PTA_SECSTOR_TA_MGMT_UUID as PTA_SECSTOR_TA_MGMT_UUID

OBJECT_ID = b"ta.db\0"
IV_SIZE = 16
TAG_SIZE = 16
KEY_SIZE = 32

ENTRY = struct.Struct(f"<16sIIII{IV_SIZE}s{TAG_SIZE}s{KEY_SIZE}s")
"""UUID (as in memory), version, bytes of custom properties, bytes of the image, file number; IV, tag and key of the
file `<number>.ta`, which holds properties and image under AES-256-GCM. A null UUID is a free entry."""


class SecstorCommand(enum.IntEnum):
    """PTA_SECSTOR_TA_MGMT_*."""

    BOOTSTRAP = 0
