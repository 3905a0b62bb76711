"""The file system that OP-TEE keeps in an RPMB: layouts and numbers alone.

Source: optee_os 4.5 core/tee/tee_rpmb_fs.c. Little-endian, as the Arm core leaves its structs.
"""

from __future__ import annotations

import struct

MAGIC = 0x52504D42
VERSION = 2
FAT_START = 512
"""RPMB_FS_FAT_START_ADDRESS, bytes."""

PARTITION = struct.Struct("<IIII112x")
"""struct rpmb_fs_partition: magic, version, write counter (unused), start of the FAT. At address 0."""

FILENAME_LENGTH = 224
FEK_SIZE = 16
ENTRY = struct.Struct(f"<IIII{FEK_SIZE}s{FILENAME_LENGTH}s")
"""struct rpmb_fat_entry: start address, size of the data, flags, unused, FEK (encrypted), name ending in a zero."""

FILE_IS_ACTIVE = 1
FILE_IS_LAST_ENTRY = 2

PRV_OFFSET, CRC_OFFSET = 9, 15
"""Bytes of the CID that a firmware update of the eMMC may change: no part of the key's derivation."""
