"""Data frames of a replay protected memory block: layouts and numbers alone.

Source: JEDEC eMMC 5.1 (JESD84-B51) §6.6.22; Linux include/linux/rpmb.h; optee_os core/tee/tee_rpmb_fs.c.
"""

from __future__ import annotations

import enum
import struct

FRAME_SIZE = 512
"""Bytes."""
STUFF_SIZE = 196
KEY_MAC_SIZE = 32
"""Bytes of the authentication key and of a MAC (HMAC-SHA256)."""
DATA_SIZE = 256
"""Bytes of a block ("half sector"): the unit of addresses and block counts."""
NONCE_SIZE = 16
CID_SIZE = 16

FRAME = struct.Struct(">196s32s256s16sIHHHH")
"""stuff, key/MAC, data, nonce, write counter, address, block count, result, request or response. Big-endian."""
MAC_START = STUFF_SIZE + KEY_MAC_SIZE
"""A MAC is over bytes MAC_START..FRAME_SIZE of every frame of a transfer; it stands in the last one."""

SIZE_UNIT = 128 * 1024
"""Bytes; what EXT_CSD RPMB_SIZE_MULT counts."""
SIZE_MULT_MAX = 128
"""EXT_CSD [168]: 0x80 units are 16 MiB, all that a 16-bit address reaches."""
COUNTER_MAX = 0xFFFFFFFF
"""A write counter that got here stays here: the block is read-only from then on."""


class RpmbType(enum.IntEnum):
    """Request and response types; a response is its request's number in the high byte."""

    PROGRAM_KEY = 0x0001
    READ_COUNTER = 0x0002
    WRITE = 0x0003
    READ = 0x0004
    READ_RESULT = 0x0005
    PROGRAM_KEY_RESPONSE = 0x0100
    READ_COUNTER_RESPONSE = 0x0200
    WRITE_RESPONSE = 0x0300
    READ_RESPONSE = 0x0400


class RpmbResult(enum.IntEnum):
    """Operation results, bits 0..5 of the field."""

    OK = 0
    GENERAL_FAILURE = 1
    AUTHENTICATION_FAILURE = 2
    COUNTER_FAILURE = 3
    ADDRESS_FAILURE = 4
    WRITE_FAILURE = 5
    READ_FAILURE = 6
    NO_KEY = 7


RESULT_MASK = 0x3F
COUNTER_EXPIRED = 0x80
"""Bit 7 of every result once the write counter is COUNTER_MAX."""
