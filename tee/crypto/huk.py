"""Keys derived from the hardware unique key (HUK), bit for bit as OP-TEE derives them.

What one derives the other can open: a board's trusted storage is readable here, given its HUK, and
a TA's unique key stays what it was. Source: optee_os core/kernel/huk_subkey.c with
CFG_CORE_HUK_SUBKEY_COMPAT, core/kernel/otp_stubs.c, core/pta/system.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee.abi import results
from tee.abi.huk import (
    CHIP_ID,
    HUK_SUBKEY_MAX_LEN,
    SHDR_ENC_KEY_DEV_SPECIFIC,
    SSK_STRING,
    TA_ENC_KEY_SIZE,
    HukSubkey,
)
from tee.abi.uuids import tee_uuid_bytes
from tee.crypto import oneshot
from tee.errors import TeeError

if TYPE_CHECKING:
    from uuid import UUID

    from south.platform import RootOfTrust


def huk_subkey(root: RootOfTrust, usage: int, const_data: bytes = b"", size: int = HUK_SUBKEY_MAX_LEN) -> bytes:
    """`size` bytes of the subkey for `usage` (`HukSubkey`); const_data tells keys of one usage apart.

    TeeError(BAD_PARAMETERS) beyond 32 bytes.
    """
    if not 0 <= size <= HUK_SUBKEY_MAX_LEN:
        raise TeeError(results.BAD_PARAMETERS, f"a subkey has at most {HUK_SUBKEY_MAX_LEN} bytes")
    message = _label(usage) + const_data
    return oneshot.hmac_sha256(root.hardware_unique_key(), message)[:size]


def _label(usage: int) -> bytes:
    # The two oldest keys are older than usages, and had to stay what they were.
    if usage == HukSubkey.RPMB:
        return b""
    if usage == HukSubkey.SSK:
        return CHIP_ID + SSK_STRING
    return usage.to_bytes(4, "little")


def die_id(root: RootOfTrust, size: int = HUK_SUBKEY_MAX_LEN) -> bytes:
    """`tee_otp_get_die_id`: an id of the device that does not reveal its HUK."""
    return huk_subkey(root, HukSubkey.DIE_ID, b"", size)


def ta_unique_key(root: RootOfTrust, uuid: UUID, extra: bytes, size: int) -> bytes:
    """The key only this TA on this device derives from `extra` (`system_derive_ta_unique_key`)."""
    return huk_subkey(root, HukSubkey.UNIQUE_TA, tee_uuid_bytes(uuid) + extra, size)


def ta_encryption_key(root: RootOfTrust, key_type: int, modulus: bytes) -> bytes:
    """Key of encrypted TAs (`tee_otp_get_ta_enc_key`).

    key_type: SHDR_ENC_KEY_*; modulus: big-endian RSA modulus of the key that signs TAs, which binds
    the key to who may sign. TeeError(SECURITY) for a class-wide key: a platform that has one brings
    its own, and this one has none.
    """
    if key_type != SHDR_ENC_KEY_DEV_SPECIFIC:
        raise TeeError(results.SECURITY, "this platform holds no class-wide TA encryption key; --enc-key can give it")
    return huk_subkey(root, HukSubkey.TA_ENC, modulus, TA_ENC_KEY_SIZE)
