"""Constants and layouts of trusted storage as a TA sees it, and of an object inside its file.

Source: GP TEE Internal Core API v1.3.1 §5.7; optee_os 4.5 lib/libutee/include/tee_api_defines.h,
tee_api_defines_extensions.h, core/tee/tee_svc_storage.c (`struct tee_svc_storage_head`).
"""

from __future__ import annotations

import enum
import struct


class StorageId(enum.IntEnum):
    """TEE_STORAGE_PRIVATE*."""

    PRIVATE = 0x00000001
    """The default: the REE file system."""
    PRIVATE_REE = 0x80000000
    PRIVATE_RPMB = 0x80000100


class DataFlag(enum.IntFlag):
    """TEE_DATA_FLAG_*."""

    NONE = 0
    ACCESS_READ = 0x001
    ACCESS_WRITE = 0x002
    ACCESS_WRITE_META = 0x004
    SHARE_READ = 0x010
    SHARE_WRITE = 0x020
    OVERWRITE = 0x400


OPEN_FLAGS = int(
    DataFlag.ACCESS_READ
    | DataFlag.ACCESS_WRITE
    | DataFlag.ACCESS_WRITE_META
    | DataFlag.SHARE_READ
    | DataFlag.SHARE_WRITE
)
"""What storage_obj_open takes; an int, for the inverse of a flag knows named bits alone."""
CREATE_FLAGS = OPEN_FLAGS | int(DataFlag.OVERWRITE)


class Whence(enum.IntEnum):
    """TEE_DATA_SEEK_*."""

    SET = 0
    CUR = 1
    END = 2


OBJECT_ID_MAX = 64
"""Bytes; TEE_OBJECT_ID_MAX_LEN."""
MAX_POSITION = 0xFFFFFFFF
"""TEE_DATA_MAX_POSITION."""

HEAD = struct.Struct("<6I")
"""`struct tee_svc_storage_head`: bytes of attributes, object size and maximum size (bits), usage, type, which
attributes are set. The attributes follow, then the data stream."""
