"""Attestation PTA. Source: optee_os lib/libutee/include/pta_attestation.h, core/pta/attestation.c, mk/config.mk."""

from __future__ import annotations

import enum

from tee.abi.pta_uuids import PTA_ATTESTATION_UUID as PTA_ATTESTATION_UUID


class AttestationCommand(enum.IntEnum):
    """PTA_ATTESTATION_*."""

    GET_PUBKEY = 0
    GET_TA_SHDR_DIGEST = 1
    HASH_TA_MEMORY = 2
    HASH_TEE_MEMORY = 3


KEY_BITS = 3072
"""CFG_ATTESTATION_PTA_KEY_SIZE."""
MAX_KEY_BITS = 4096
PUBLIC_EXPONENT = 65537
DIGEST_SIZE = 32
"""TEE_SHA256_HASH_SIZE, bytes; also the salt's size in signatures."""
KEY_OBJECT = b"key"
"""Id of the persistent object that holds OP-TEE's key, one of the PTA's own in TEE_STORAGE_PRIVATE."""
