"""Constants of keys derived from the hardware unique key.

Source: optee_os core/include/kernel/huk_subkey.h, core/kernel/huk_subkey.c,
core/include/tee/tee_fs_key_manager.h, core/include/signed_hdr.h.
"""

from __future__ import annotations

import enum


class HukSubkey(enum.IntEnum):
    """enum huk_subkey_usage; the numbers are part of what is derived."""

    RPMB = 0
    SSK = 1
    DIE_ID = 2
    UNIQUE_TA = 3
    TA_ENC = 4
    SE050 = 5


HUK_SUBKEY_MAX_LEN = 32
"""Bytes; TEE_SHA256_HASH_SIZE."""

CHIP_ID = b"BEEF" * 8
"""TEE_FS_KM_CHIP_ID_LENGTH bytes of what `get_otp_die_id` gives without CFG_CORE_HUK_SUBKEY_COMPAT_USE_OTP_DIE_ID."""

SSK_STRING = b"ONLY_FOR_tee_fs_ssk\0"
"""`ssk_str`; its terminating zero is part of the message."""

SHDR_ENC_KEY_TYPE_MASK = 0x1
SHDR_ENC_KEY_DEV_SPECIFIC = 0
SHDR_ENC_KEY_CLASS_WIDE = 1

TA_ENC_KEY_SIZE = 32
"""Bytes; TEE_TA_ENC_KEY_SIZE, core/include/tee/tee_ta_enc_manager.h."""
