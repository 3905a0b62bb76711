"""Algorithm identifiers, and what can be read out of their bits.

Source: GP TEE Internal Core API v1.3.1 §6.10.1 (tables 6-11 and 6-12); optee_os lib/libutee/include/
tee_api_defines.h, tee_api_defines_extensions.h (identifiers) and utee_defines.h (how OP-TEE takes them apart,
with its corrections of identifiers whose bits say something else).
"""

from __future__ import annotations

import enum


class OperationClass(enum.IntEnum):
    """TEE_OPERATION_*: bits 31-28 of most identifiers."""

    CIPHER = 1
    MAC = 3
    AE = 4
    DIGEST = 5
    ASYMMETRIC_CIPHER = 6
    ASYMMETRIC_SIGNATURE = 7
    KEY_DERIVATION = 8


class Mode(enum.IntEnum):
    """TEE_OperationMode."""

    ENCRYPT = 0
    DECRYPT = 1
    SIGN = 2
    VERIFY = 3
    MAC = 4
    DIGEST = 5
    DERIVE = 6


class ChainMode(enum.IntEnum):
    """TEE_CHAIN_MODE_*: bits 11-8, meaningful for block ciphers."""

    ECB_NOPAD = 0
    CBC_NOPAD = 1
    CTR = 2
    CTS = 3
    XTS = 4
    CBC_MAC_PKCS5 = 5
    CMAC = 6
    CCM = 7
    GCM = 8
    PKCS1_PSS_MGF1 = 9


class MainAlgorithm(enum.IntEnum):
    """TEE_MAIN_ALGO_*: bits 7-0 of most identifiers."""

    MD5 = 0x01
    SHA1 = 0x02
    SHA224 = 0x03
    SHA256 = 0x04
    SHA384 = 0x05
    SHA512 = 0x06
    SM3 = 0x07
    SHA3_224 = 0x08
    SHA3_256 = 0x09
    SHA3_384 = 0x0A
    SHA3_512 = 0x0B
    AES = 0x10
    DES = 0x11
    DES2 = 0x12
    DES3 = 0x13
    SM4 = 0x14
    RSA = 0x30
    DSA = 0x31
    DH = 0x32
    ECDSA = 0x41
    ECDH = 0x42
    ED25519 = 0x43
    X25519 = 0x44
    SM2_DSA_SM3 = 0x45
    SM2_KEP = 0x46
    SM2_PKE = 0x47
    X448 = 0x49
    HKDF = 0xC0
    CONCAT_KDF = 0xC1
    PBKDF2 = 0xC2
    SHAKE128 = 0xC3
    SHAKE256 = 0xC4


class Algorithm(enum.IntEnum):
    """TEE_ALG_*, by class."""

    AES_ECB_NOPAD = 0x10000010
    AES_CBC_NOPAD = 0x10000110
    AES_CTR = 0x10000210
    AES_CTS = 0x10000310
    AES_XTS = 0x10000410
    DES_ECB_NOPAD = 0x10000011
    DES_CBC_NOPAD = 0x10000111
    DES3_ECB_NOPAD = 0x10000013
    DES3_CBC_NOPAD = 0x10000113
    SM4_ECB_NOPAD = 0x10000014
    SM4_CBC_NOPAD = 0x10000114
    SM4_CTR = 0x10000214
    SM4_ECB_PKCS5 = 0x10000015
    SM4_CBC_PKCS5 = 0x10000115
    SM4_XTS = 0xF0000414
    AES_CBC_MAC_NOPAD = 0x30000110
    AES_CBC_MAC_PKCS5 = 0x30000510
    AES_CMAC = 0x30000610
    DES_CBC_MAC_NOPAD = 0x30000111
    DES_CBC_MAC_PKCS5 = 0x30000511
    DES3_CBC_MAC_NOPAD = 0x30000113
    DES3_CBC_MAC_PKCS5 = 0x30000513
    HMAC_MD5 = 0x30000001
    HMAC_SHA1 = 0x30000002
    HMAC_SHA224 = 0x30000003
    HMAC_SHA256 = 0x30000004
    HMAC_SHA384 = 0x30000005
    HMAC_SHA512 = 0x30000006
    HMAC_SM3 = 0x30000007
    HMAC_SHA3_224 = 0x30000008
    HMAC_SHA3_256 = 0x30000009
    HMAC_SHA3_384 = 0x3000000A
    HMAC_SHA3_512 = 0x3000000B
    DES3_CMAC = 0xF0000613
    AES_CCM = 0x40000710
    AES_GCM = 0x40000810
    MD5 = 0x50000001
    SHA1 = 0x50000002
    SHA224 = 0x50000003
    SHA256 = 0x50000004
    SHA384 = 0x50000005
    SHA512 = 0x50000006
    SHA3_224 = 0x50000008
    SHA3_256 = 0x50000009
    SHA3_384 = 0x5000000A
    SHA3_512 = 0x5000000B
    MD5SHA1 = 0x5000000F
    SM3 = 0x50000007
    SHAKE128 = 0x50000101
    SHAKE256 = 0x50000102
    RSAES_PKCS1_V1_5 = 0x60000130
    RSAES_PKCS1_OAEP_MGF1_SHA1 = 0x60210230
    RSAES_PKCS1_OAEP_MGF1_SHA224 = 0x60310230
    RSAES_PKCS1_OAEP_MGF1_SHA256 = 0x60410230
    RSAES_PKCS1_OAEP_MGF1_SHA384 = 0x60510230
    RSAES_PKCS1_OAEP_MGF1_SHA512 = 0x60610230
    RSAES_PKCS1_OAEP_MGF1_SHA3_224 = 0x60810230
    RSAES_PKCS1_OAEP_MGF1_SHA3_256 = 0x60910230
    RSAES_PKCS1_OAEP_MGF1_SHA3_384 = 0x60A10230
    RSAES_PKCS1_OAEP_MGF1_SHA3_512 = 0x60B10230
    RSA_NOPAD = 0x60000030
    SM2_PKE = 0x80000046
    RSAES_PKCS1_OAEP_MGF1_MD5 = 0xF0110230
    RSASSA_PKCS1_V1_5_MD5 = 0x70001830
    RSASSA_PKCS1_V1_5_SHA1 = 0x70002830
    RSASSA_PKCS1_V1_5_SHA224 = 0x70003830
    RSASSA_PKCS1_V1_5_SHA256 = 0x70004830
    RSASSA_PKCS1_V1_5_SHA384 = 0x70005830
    RSASSA_PKCS1_V1_5_SHA512 = 0x70006830
    RSASSA_PKCS1_V1_5_MD5SHA1 = 0x7000F830
    RSASSA_PKCS1_V1_5_SHA3_224 = 0x70008830
    RSASSA_PKCS1_V1_5_SHA3_256 = 0x70009830
    RSASSA_PKCS1_V1_5_SHA3_384 = 0x7000A830
    RSASSA_PKCS1_V1_5_SHA3_512 = 0x7000B830
    RSASSA_PKCS1_PSS_MGF1_SHA1 = 0x70212930
    RSASSA_PKCS1_PSS_MGF1_SHA224 = 0x70313930
    RSASSA_PKCS1_PSS_MGF1_SHA256 = 0x70414930
    RSASSA_PKCS1_PSS_MGF1_SHA384 = 0x70515930
    RSASSA_PKCS1_PSS_MGF1_SHA512 = 0x70616930
    RSASSA_PKCS1_PSS_MGF1_SHA3_224 = 0x70818930
    RSASSA_PKCS1_PSS_MGF1_SHA3_256 = 0x70919930
    RSASSA_PKCS1_PSS_MGF1_SHA3_384 = 0x70A1A930
    RSASSA_PKCS1_PSS_MGF1_SHA3_512 = 0x70B1B930
    DSA_SHA1 = 0x70002131
    DSA_SHA224 = 0x70003131
    DSA_SHA256 = 0x70004131
    DSA_SHA3_224 = 0x70008131
    DSA_SHA3_256 = 0x70009131
    DSA_SHA3_384 = 0x7000A131
    DSA_SHA3_512 = 0x7000B131
    SM2_DSA_SM3 = 0x70006045
    ECDSA_SHA1 = 0x70001042
    ECDSA_SHA224 = 0x70002042
    ECDSA_SHA256 = 0x70003042
    ECDSA_SHA384 = 0x70004042
    ECDSA_SHA512 = 0x70005042
    ECDSA_SHA3_224 = 0x70006042
    ECDSA_SHA3_256 = 0x70007042
    ECDSA_SHA3_384 = 0x70008042
    ECDSA_SHA3_512 = 0x70009042
    ED25519 = 0x70006043
    ED448 = 0x70006044
    RSASSA_PKCS1_PSS_MGF1_MD5 = 0xF0111930
    RSASSA_PKCS1_V1_5 = 0xF0000830
    DH_DERIVE_SHARED_SECRET = 0x80000032
    SM2_KEP = 0x60000045
    ECDH_DERIVE_SHARED_SECRET = 0x80000042
    HKDF = 0x80000047
    X25519 = 0x80000044
    X448 = 0x80000045
    HKDF_MD5_DERIVE_KEY = 0x800010C0
    HKDF_SHA1_DERIVE_KEY = 0x800020C0
    HKDF_SHA224_DERIVE_KEY = 0x800030C0
    HKDF_SHA256_DERIVE_KEY = 0x800040C0
    HKDF_SHA384_DERIVE_KEY = 0x800050C0
    HKDF_SHA512_DERIVE_KEY = 0x800060C0
    CONCAT_KDF_SHA1_DERIVE_KEY = 0x800020C1
    CONCAT_KDF_SHA224_DERIVE_KEY = 0x800030C1
    CONCAT_KDF_SHA256_DERIVE_KEY = 0x800040C1
    CONCAT_KDF_SHA384_DERIVE_KEY = 0x800050C1
    CONCAT_KDF_SHA512_DERIVE_KEY = 0x800060C1
    PBKDF2_HMAC_SHA1_DERIVE_KEY = 0x800020C2
    PBKDF2_HMAC_SHA224_DERIVE_KEY = 0x800030C2
    PBKDF2_HMAC_SHA256_DERIVE_KEY = 0x800040C2
    PBKDF2_HMAC_SHA384_DERIVE_KEY = 0x800050C2
    PBKDF2_HMAC_SHA512_DERIVE_KEY = 0x800060C2
    PBKDF2_HMAC_SM3_DERIVE_KEY = 0x800070C2
    ILLEGAL_VALUE = 0xEFFFFFFF


COMPATIBLE = {
    0x70001041: Algorithm.ECDSA_SHA1,
    0x70002041: Algorithm.ECDSA_SHA224,
    0x70003041: Algorithm.ECDSA_SHA256,
    0x70004041: Algorithm.ECDSA_SHA384,
    0x70005041: Algorithm.ECDSA_SHA512,
    0x80001042: Algorithm.ECDH_DERIVE_SHARED_SECRET,
    0x80002042: Algorithm.ECDH_DERIVE_SHARED_SECRET,
    0x80003042: Algorithm.ECDH_DERIVE_SHARED_SECRET,
    0x80004042: Algorithm.ECDH_DERIVE_SHARED_SECRET,
    0x80005042: Algorithm.ECDH_DERIVE_SHARED_SECRET,
}
"""__OPTEE_ALG_ECDSA_P192 ... __OPTEE_ALG_ECDH_P521: what TAs of OP-TEE before 3.20 say, and what it means."""

_CLASS: dict[int, int] = {
    Algorithm.SM2_PKE: OperationClass.ASYMMETRIC_CIPHER,
    Algorithm.SM2_KEP: OperationClass.KEY_DERIVATION,
    Algorithm.RSASSA_PKCS1_V1_5: OperationClass.ASYMMETRIC_SIGNATURE,
    Algorithm.DES3_CMAC: OperationClass.MAC,
    Algorithm.SM4_XTS: OperationClass.CIPHER,
    Algorithm.RSASSA_PKCS1_PSS_MGF1_MD5: OperationClass.ASYMMETRIC_SIGNATURE,
    Algorithm.RSAES_PKCS1_OAEP_MGF1_MD5: OperationClass.ASYMMETRIC_CIPHER,
}

_MAIN: dict[int, int] = {
    Algorithm.SM2_PKE: MainAlgorithm.SM2_PKE,
    Algorithm.SM2_KEP: MainAlgorithm.SM2_KEP,
    Algorithm.X25519: MainAlgorithm.X25519,
    Algorithm.ED25519: MainAlgorithm.ED25519,
    Algorithm.ECDSA_SHA1: MainAlgorithm.ECDSA,
    Algorithm.ECDSA_SHA224: MainAlgorithm.ECDSA,
    Algorithm.ECDSA_SHA256: MainAlgorithm.ECDSA,
    Algorithm.ECDSA_SHA384: MainAlgorithm.ECDSA,
    Algorithm.ECDSA_SHA512: MainAlgorithm.ECDSA,
    Algorithm.HKDF: MainAlgorithm.HKDF,
    Algorithm.SHAKE128: MainAlgorithm.SHAKE128,
    Algorithm.SHAKE256: MainAlgorithm.SHAKE256,
    Algorithm.X448: MainAlgorithm.X448,
}

XOF = frozenset({Algorithm.SHAKE128, Algorithm.SHAKE256})
"""Digests whose output is as long as the caller asks."""

_MAIN_HASH_SM3 = 7


def operation_class(algorithm: int) -> int:
    """TEE_ALG_GET_CLASS: an `OperationClass`, or a number that is none for an unknown identifier."""
    return _CLASS.get(algorithm, algorithm >> 28 & 0xF)


def main_algorithm(algorithm: int) -> int:
    """TEE_ALG_GET_MAIN_ALG: a `MainAlgorithm`, or a number that is none."""
    return _MAIN.get(algorithm, algorithm & 0xFF)


def chain_mode(algorithm: int) -> int:
    """TEE_ALG_GET_CHAIN_MODE."""
    return algorithm >> 8 & 0xF


def digest_hash(algorithm: int) -> int:
    """TEE_ALG_GET_DIGEST_HASH: the main algorithm of the hash that a signature or derivation uses."""
    return _MAIN_HASH_SM3 if algorithm == Algorithm.SM2_DSA_SM3 else algorithm >> 12 & 0xF


def internal_hash(algorithm: int) -> int:
    """TEE_ALG_GET_INTERNAL_HASH: the hash of OAEP and of PSS's MGF1."""
    return algorithm >> 20 & 0x7


def hash_algorithm(main_hash: int) -> int:
    """TEE_ALG_HASH_ALGO: the digest identifier of a main hash."""
    return OperationClass.DIGEST << 28 | main_hash


_DIGEST_SIZES = {
    16: "MD5 HMAC_MD5 AES_CBC_MAC_NOPAD AES_CBC_MAC_PKCS5 AES_CMAC",
    20: "SHA1 HMAC_SHA1 DSA_SHA1 ECDSA_SHA1",
    28: "SHA224 SHA3_224 HMAC_SHA224 HMAC_SHA3_224 DSA_SHA224 ECDSA_SHA224",
    32: "SHA256 SHA3_256 HMAC_SHA256 HMAC_SHA3_256 DSA_SHA256 ECDSA_SHA256 SM3 HMAC_SM3",
    48: "SHA384 SHA3_384 HMAC_SHA384 HMAC_SHA3_384 ECDSA_SHA384",
    64: "SHA512 SHA3_512 HMAC_SHA512 HMAC_SHA3_512 ECDSA_SHA512",
    8: "DES_CBC_MAC_NOPAD DES_CBC_MAC_PKCS5 DES3_CBC_MAC_NOPAD DES3_CBC_MAC_PKCS5 DES3_CMAC",
}
_DIGEST_SIZE = {int(Algorithm[name]): size for size, names in _DIGEST_SIZES.items() for name in names.split()}


def digest_size(algorithm: int) -> int:
    """TEE_ALG_GET_DIGEST_SIZE: bytes; 0 for an algorithm without a fixed one."""
    return _DIGEST_SIZE.get(algorithm, 0)


def block_size(algorithm: int) -> int:
    """tee_cipher_get_block_size (core/tee/tee_cryp_utl.c): bytes; 0 for what is no block cipher."""
    if operation_class(algorithm) not in (OperationClass.CIPHER, OperationClass.MAC, OperationClass.AE):
        return 0
    main = main_algorithm(algorithm)
    if main in (MainAlgorithm.AES, MainAlgorithm.SM4):
        return 16
    return 8 if main in (MainAlgorithm.DES, MainAlgorithm.DES3) else 0
