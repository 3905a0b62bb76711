"""The signed-header ABI of `.ta` files: constants and layouts alone.

Source: optee_os core/include/signed_hdr.h; algorithm numbers from lib/libutee/include/tee_api_defines.h.
Every field is little-endian; UUIDs are 16 octets in RFC 4122 order.
"""

from __future__ import annotations

import enum
from struct import Struct
from typing import Final, NamedTuple

from tee.abi.huk import SHDR_ENC_KEY_CLASS_WIDE as SHDR_ENC_KEY_CLASS_WIDE
from tee.abi.huk import SHDR_ENC_KEY_DEV_SPECIFIC as SHDR_ENC_KEY_DEV_SPECIFIC
from tee.abi.huk import SHDR_ENC_KEY_TYPE_MASK as SHDR_ENC_KEY_TYPE_MASK
from tee.abi.huk import TA_ENC_KEY_SIZE as TA_ENC_KEY_SIZE

SHDR_MAGIC: Final = 0x4F545348


class ImageType(enum.IntEnum):
    """enum shdr_img_type."""

    TA = 0
    BOOTSTRAP_TA = 1
    ENCRYPTED_TA = 2
    SUBKEY = 3


SHDR: Final = Struct("<IIIIHH")
"""struct shdr: magic, img_type, img_size, algo, hash_size, sig_size; then hash and signature."""

BOOTSTRAP: Final = Struct("<16sI")
"""struct shdr_bootstrap_ta: uuid, ta_version."""

ENCRYPTED: Final = Struct("<IIHH")
"""struct shdr_encrypted_ta: enc_algo, flags, iv_size, tag_size; then iv and tag."""

SUBKEY: Final = Struct("<16sIIIII")
"""struct shdr_subkey: uuid, name_size, subkey_version, max_depth, algo, attr_count; then attributes."""

SUBKEY_ATTR: Final = Struct("<III")
"""struct shdr_subkey_attr: id, offs (from the start of struct shdr_subkey), size."""

NO_DEPTH_LIMIT: Final = 0xFFFFFFFF
"""Depth that the first subkey of a chain must stay below (UINT32_MAX in core/kernel/ree_fs_ta.c)."""

TEE_ATTR_RSA_MODULUS: Final = 0xD0000130
TEE_ATTR_RSA_PUBLIC_EXPONENT: Final = 0xD0000230
TEE_MAIN_ALGO_RSA: Final = 0x30
"""Bits 7:0 of an algorithm number."""

TEE_ALG_AES_GCM: Final = 0x40000810
ENC_IV_SIZE: Final = 12
"""Bytes; NONCE_SIZE of scripts/sign_encrypt.py."""
ENC_TAG_SIZE: Final = 16
"""Bytes; TAG_SIZE of scripts/sign_encrypt.py."""


class Algorithm(NamedTuple):
    """A signature algorithm that may stand in struct shdr.

    hash: name for `tee.crypto.oneshot.digest`; hash_size: bytes.
    """

    name: str
    number: int
    hash: str
    hash_size: int
    pss: bool


RSASSA_PKCS1_V1_5_SHA256: Final = 0x70004830
RSASSA_PKCS1_PSS_MGF1_SHA256: Final = 0x70414930

# What shdr_verify_signature() and crypto_acipher_rsassa_verify() let through between them: RSASSA with a hash that
# is_weak_hash_algo() does not name. PSS salts are as long as the hash.
ALGORITHMS: Final[dict[int, Algorithm]] = {
    algorithm.number: algorithm
    for algorithm in (
        Algorithm("RSASSA_PKCS1_V1_5_SHA256", RSASSA_PKCS1_V1_5_SHA256, "sha256", 32, False),
        Algorithm("RSASSA_PKCS1_V1_5_SHA384", 0x70005830, "sha384", 48, False),
        Algorithm("RSASSA_PKCS1_V1_5_SHA512", 0x70006830, "sha512", 64, False),
        Algorithm("RSASSA_PKCS1_PSS_MGF1_SHA256", RSASSA_PKCS1_PSS_MGF1_SHA256, "sha256", 32, True),
        Algorithm("RSASSA_PKCS1_PSS_MGF1_SHA384", 0x70515930, "sha384", 48, True),
        Algorithm("RSASSA_PKCS1_PSS_MGF1_SHA512", 0x70616930, "sha512", 64, True),
    )
}


def algorithm_name(number: int) -> str:
    """Name for a person; hexadecimal if it is none that an image may use."""
    known = ALGORITHMS.get(number)
    return known.name if known else f"0x{number:08x}"
