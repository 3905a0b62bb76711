"""UUIDs below a subkey, and the key that encrypted TAs are read with: the two derivations of the container format."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from tee import native

HUK_SUBKEY_TA_ENC: Final = 4
"""enum huk_subkey_usage, optee_os core/include/kernel/huk_subkey.h."""


def next_uuid(uuid: UUID, name: bytes) -> UUID:
    """UUID of what follows a subkey: version 5 of RFC 4122, but of SHA-512(uuid, name up to its first NUL).

    A name field of no bytes makes an identity subkey: what follows has the subkey's own UUID.
    Source: calc_next_uuid(), optee_os core/crypto/signed_hdr.c.
    """
    if not name:
        return uuid
    digest = native.digest("sha512", uuid.bytes, name.partition(b"\0")[0])
    return UUID(bytes=digest[:16], version=5)


def ta_encryption_key(hardware_key: bytes, root_modulus: bytes) -> bytes:
    """The 32-byte key of encrypted TAs on a device: HMAC-SHA-256(HUK, TA_ENC usage as u32, modulus of the root key).

    root_modulus: big-endian, no leading zeros. Device-specific and class-wide keys are the same in OP-TEE's own code.
    Source: tee_otp_get_ta_enc_key(), optee_os core/kernel/otp_stubs.c; huk_subkey_derive(), core/kernel/huk_subkey.c.
    """
    return native.hmac_sha256(hardware_key, HUK_SUBKEY_TA_ENC.to_bytes(4, "little") + root_modulus)
