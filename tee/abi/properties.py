"""Property sets, property types and the layouts of their values.

Source: GP TEE Internal Core API v1.3.1 §4.4; optee_os lib/libutee/include/tee_api_defines.h (property sets),
user_ta_header.h (`enum user_ta_prop_type`), tee_api_types.h (`TEE_Identity`).
"""

from __future__ import annotations

import enum
import struct


class PropSet(enum.IntEnum):
    """TEE_PROPSET_*."""

    TEE_IMPLEMENTATION = 0xFFFFFFFD
    CURRENT_CLIENT = 0xFFFFFFFE
    CURRENT_TA = 0xFFFFFFFF


class PropType(enum.IntEnum):
    """`enum user_ta_prop_type`."""

    BOOL = 0
    U32 = 1
    UUID = 2
    IDENTITY = 3
    STRING = 4
    BINARY_BLOCK = 5
    U64 = 6


class ProtectionLevel(enum.IntEnum):
    """Of time and of anti-rollback (GP TEE Internal Core API v1.3.1 §4.7)."""

    REE = 100
    TEE = 1000


IDENTITY = struct.Struct("<I16s")
"""`TEE_Identity`: login, TEE_UUID."""
