"""Object types, handle flags, usages, and which attributes each type has.

Source: GP TEE Internal Core API v1.3.1 §5.3-5.6 and table 5-9; optee_os lib/libutee/include/tee_api_defines.h,
utee_types.h (`struct utee_object_info`) and core/tee/tee_svc_cryp.c (`tee_cryp_obj_props`, sizes of the default
configuration: CFG_HMAC_64_1024_RANGE=n, CFG_CORE_BIGNUM_MAX_BITS=4096, CFG_COMPAT_GP10_DES=y).
"""

from __future__ import annotations

import enum
import struct
from typing import NamedTuple

from tee.abi.attributes import Attr

BIGNUM_MAX_BITS = 4096
"""CFG_CORE_BIGNUM_MAX_BITS."""

UTEE_OBJECT_INFO = struct.Struct("<7I")
"""`struct utee_object_info`: type, size, max size (bits), usage, data size, data position (bytes), handle flags."""


class HandleFlag(enum.IntFlag):
    """TEE_HANDLE_FLAG_*."""

    NONE = 0
    PERSISTENT = 0x00010000
    INITIALIZED = 0x00020000
    KEY_SET = 0x00040000
    EXPECT_TWO_KEYS = 0x00080000
    EXTRACTING = 0x00100000


class Usage(enum.IntFlag):
    """TEE_USAGE_*."""

    EXTRACTABLE = 0x01
    ENCRYPT = 0x02
    DECRYPT = 0x04
    MAC = 0x08
    SIGN = 0x10
    VERIFY = 0x20
    DERIVE = 0x40


USAGE_DEFAULT = 0xFFFFFFFF
"""TEE_USAGE_DEFAULT: everything is allowed."""


class ObjectType(enum.IntEnum):
    """TEE_TYPE_*."""

    AES = 0xA0000010
    DES = 0xA0000011
    DES3 = 0xA0000013
    SM4 = 0xA0000014
    HMAC_MD5 = 0xA0000001
    HMAC_SHA1 = 0xA0000002
    HMAC_SHA224 = 0xA0000003
    HMAC_SHA256 = 0xA0000004
    HMAC_SHA384 = 0xA0000005
    HMAC_SHA512 = 0xA0000006
    HMAC_SM3 = 0xA0000007
    HMAC_SHA3_224 = 0xA0000008
    HMAC_SHA3_256 = 0xA0000009
    HMAC_SHA3_384 = 0xA000000A
    HMAC_SHA3_512 = 0xA000000B
    RSA_PUBLIC_KEY = 0xA0000030
    RSA_KEYPAIR = 0xA1000030
    DSA_PUBLIC_KEY = 0xA0000031
    DSA_KEYPAIR = 0xA1000031
    DH_KEYPAIR = 0xA1000032
    ECDSA_PUBLIC_KEY = 0xA0000041
    ECDSA_KEYPAIR = 0xA1000041
    ECDH_PUBLIC_KEY = 0xA0000042
    ECDH_KEYPAIR = 0xA1000042
    ED25519_PUBLIC_KEY = 0xA0000043
    ED25519_KEYPAIR = 0xA1000043
    ED448_PUBLIC_KEY = 0xA0000048
    ED448_KEYPAIR = 0xA1000048
    X448_PUBLIC_KEY = 0xA0000049
    X448_KEYPAIR = 0xA1000049
    SM2_DSA_PUBLIC_KEY = 0xA0000045
    SM2_DSA_KEYPAIR = 0xA1000045
    SM2_KEP_PUBLIC_KEY = 0xA0000046
    SM2_KEP_KEYPAIR = 0xA1000046
    SM2_PKE_PUBLIC_KEY = 0xA0000047
    SM2_PKE_KEYPAIR = 0xA1000047
    HKDF = 0xA000004A
    GENERIC_SECRET = 0xA0000000
    CORRUPTED_OBJECT = 0xA00000BE
    DATA = 0xA00000BF
    X25519_PUBLIC_KEY = 0xA0000044
    X25519_KEYPAIR = 0xA1000044
    ILLEGAL_VALUE = 0xEFFFFFFF
    HKDF_IKM = 0xA10000C0
    CONCAT_KDF_Z = 0xA10000C1
    PBKDF2_PASSWORD = 0xA10000C2


class AttrFlag(enum.IntFlag):
    """TEE_TYPE_ATTR_*: when an attribute must or may be given."""

    REQUIRED = 1 << 1
    """To populate."""
    OPTIONAL_GROUP = 1 << 2
    """To populate: all of the group, or none."""
    SIZE_INDICATOR = 1 << 3
    """Its length (or curve) is the object's size."""
    GEN_KEY_OPT = 1 << 4
    GEN_KEY_REQ = 1 << 5
    BIGNUM_MAXBITS = 1 << 6
    """No more bits than the object's maximum size."""


class AttrKind(enum.Enum):
    """How an attribute is stored and encoded (ATTR_OPS_INDEX_*)."""

    SECRET = "secret"
    BIGNUM = "bignum"
    VALUE = "value"
    CURVE25519 = "25519"
    CURVE448 = "448"


FIXED_BYTES = {AttrKind.CURVE25519: 32, AttrKind.CURVE448: 56}
"""KEY_SIZE_BYTES_25519, KEY_SIZE_BYTES_448."""


class AttrProps(NamedTuple):
    attr: Attr
    flags: AttrFlag
    kind: AttrKind


class TypeProps(NamedTuple):
    """What an object type allows. quanta, min_bits, max_bits: of the key size; alloc: bytes a secret may take."""

    type: ObjectType
    quanta: int
    min_bits: int
    max_bits: int
    alloc: int
    attrs: tuple[AttrProps, ...]

    def position(self, attr: int) -> int | None:
        """Position of an attribute, which is its bit in `have_attrs`; None if the type has no such."""
        for at, props in enumerate(self.attrs):
            if props.attr == attr:
                return at
        return None


_REQ = AttrFlag.REQUIRED
_GROUP = AttrFlag.OPTIONAL_GROUP
_SIZE = AttrFlag.SIZE_INDICATOR
_GEN = AttrFlag.GEN_KEY_REQ
_GEN_OPT = AttrFlag.GEN_KEY_OPT
_MAX = AttrFlag.BIGNUM_MAXBITS


def _bignums(*rows: tuple[Attr, AttrFlag]) -> tuple[AttrProps, ...]:
    return tuple(AttrProps(attr, flags, AttrKind.BIGNUM) for attr, flags in rows)


def _raw(kind: AttrKind, *attrs: Attr) -> tuple[AttrProps, ...]:
    return tuple(AttrProps(attr, _REQ, kind) for attr in attrs)


def _secret(attr: Attr) -> tuple[AttrProps, ...]:
    return (AttrProps(attr, _REQ | _SIZE, AttrKind.SECRET),)


SECRET_VALUE = _secret(Attr.SECRET_VALUE)
"""The attributes of every simple symmetric key."""
_HKDF_IKM = _secret(Attr.HKDF_IKM)
_CONCAT_KDF_Z = _secret(Attr.CONCAT_KDF_Z)
_PBKDF2_PASSWORD = _secret(Attr.PBKDF2_PASSWORD)
_RSA_PUBLIC = _bignums((Attr.RSA_MODULUS, _REQ | _SIZE), (Attr.RSA_PUBLIC_EXPONENT, _REQ))
_RSA_PAIR = _bignums(
    (Attr.RSA_MODULUS, _REQ | _SIZE),
    (Attr.RSA_PUBLIC_EXPONENT, _REQ | _GEN_OPT),
    (Attr.RSA_PRIVATE_EXPONENT, _REQ),
    (Attr.RSA_PRIME1, _GROUP),
    (Attr.RSA_PRIME2, _GROUP),
    (Attr.RSA_EXPONENT1, _GROUP),
    (Attr.RSA_EXPONENT2, _GROUP),
    (Attr.RSA_COEFFICIENT, _GROUP),
)
_DSA_PUBLIC = _bignums(
    (Attr.DSA_PRIME, _REQ | _MAX | _SIZE),
    (Attr.DSA_SUBPRIME, _REQ),
    (Attr.DSA_BASE, _REQ | _MAX),
    (Attr.DSA_PUBLIC_VALUE, _REQ | _MAX),
)
_DSA_PAIR = _bignums(
    (Attr.DSA_PRIME, _REQ | _GEN | _MAX | _SIZE),
    (Attr.DSA_SUBPRIME, _REQ | _GEN),
    (Attr.DSA_BASE, _REQ | _GEN | _MAX),
    (Attr.DSA_PRIVATE_VALUE, _REQ | _MAX),
    (Attr.DSA_PUBLIC_VALUE, _REQ | _MAX),
)
_DH_PAIR = (
    *_bignums(
        (Attr.DH_PRIME, _REQ | _SIZE | _GEN),
        (Attr.DH_BASE, _REQ | _GEN),
        (Attr.DH_PUBLIC_VALUE, _REQ),
        (Attr.DH_PRIVATE_VALUE, _REQ),
        (Attr.DH_SUBPRIME, _GROUP | _GEN_OPT),
    ),
    AttrProps(Attr.DH_X_BITS, _GEN_OPT, AttrKind.VALUE),
)
_SM2_PUBLIC = _bignums((Attr.ECC_PUBLIC_VALUE_X, _REQ), (Attr.ECC_PUBLIC_VALUE_Y, _REQ))
_SM2_PAIR = (*_bignums((Attr.ECC_PRIVATE_VALUE, _REQ)), *_SM2_PUBLIC)
_ECC_PUBLIC = (*_SM2_PUBLIC, AttrProps(Attr.ECC_CURVE, _REQ | _SIZE, AttrKind.VALUE))
_ECC_PAIR = (*_SM2_PAIR, AttrProps(Attr.ECC_CURVE, _REQ | _SIZE | _GEN, AttrKind.VALUE))
_X25519_PAIR = _raw(AttrKind.CURVE25519, Attr.X25519_PRIVATE_VALUE, Attr.X25519_PUBLIC_VALUE)
_X448_PAIR = _raw(AttrKind.CURVE448, Attr.X448_PRIVATE_VALUE, Attr.X448_PUBLIC_VALUE)
_ED25519_PUBLIC = _raw(AttrKind.CURVE25519, Attr.ED25519_PUBLIC_VALUE)
_ED25519_PAIR = _raw(AttrKind.CURVE25519, Attr.ED25519_PRIVATE_VALUE, Attr.ED25519_PUBLIC_VALUE)

_T = ObjectType
_ROWS = (
    # type, quanta, smallest, largest (bits), bytes of a secret (0: a structure), attributes
    TypeProps(_T.AES, 64, 128, 256, 32, SECRET_VALUE),
    TypeProps(_T.DES, 64, 64, 64, 8, SECRET_VALUE),
    TypeProps(_T.DES3, 64, 128, 192, 24, SECRET_VALUE),
    TypeProps(_T.SM4, 128, 128, 128, 16, SECRET_VALUE),
    TypeProps(_T.HMAC_MD5, 8, 64, 512, 64, SECRET_VALUE),
    TypeProps(_T.HMAC_SHA1, 8, 80, 512, 64, SECRET_VALUE),
    TypeProps(_T.HMAC_SHA224, 8, 112, 512, 64, SECRET_VALUE),
    TypeProps(_T.HMAC_SHA256, 8, 192, 1024, 128, SECRET_VALUE),
    TypeProps(_T.HMAC_SHA384, 8, 256, 1024, 128, SECRET_VALUE),
    TypeProps(_T.HMAC_SHA512, 8, 256, 1024, 128, SECRET_VALUE),
    TypeProps(_T.HMAC_SHA3_224, 8, 192, 1024, 128, SECRET_VALUE),
    TypeProps(_T.HMAC_SHA3_256, 8, 256, 1024, 128, SECRET_VALUE),
    TypeProps(_T.HMAC_SHA3_384, 8, 256, 1024, 128, SECRET_VALUE),
    TypeProps(_T.HMAC_SHA3_512, 8, 256, 1024, 128, SECRET_VALUE),
    TypeProps(_T.HMAC_SM3, 8, 80, 1024, 64, SECRET_VALUE),
    TypeProps(_T.GENERIC_SECRET, 8, 0, 4096, 512, SECRET_VALUE),
    TypeProps(_T.HKDF_IKM, 8, 0, 4096, 512, _HKDF_IKM),
    TypeProps(_T.CONCAT_KDF_Z, 8, 0, 4096, 512, _CONCAT_KDF_Z),
    TypeProps(_T.PBKDF2_PASSWORD, 8, 0, 4096, 512, _PBKDF2_PASSWORD),
    TypeProps(_T.RSA_PUBLIC_KEY, 1, 256, BIGNUM_MAX_BITS, 0, _RSA_PUBLIC),
    TypeProps(_T.RSA_KEYPAIR, 1, 256, BIGNUM_MAX_BITS, 0, _RSA_PAIR),
    TypeProps(_T.DSA_PUBLIC_KEY, 64, 512, 3072, 0, _DSA_PUBLIC),
    TypeProps(_T.DSA_KEYPAIR, 64, 512, 3072, 0, _DSA_PAIR),
    TypeProps(_T.DH_KEYPAIR, 1, 256, 2048, 0, _DH_PAIR),
    TypeProps(_T.ECDSA_PUBLIC_KEY, 1, 192, 521, 0, _ECC_PUBLIC),
    TypeProps(_T.ECDSA_KEYPAIR, 1, 192, 521, 0, _ECC_PAIR),
    TypeProps(_T.ECDH_PUBLIC_KEY, 1, 192, 521, 0, _ECC_PUBLIC),
    TypeProps(_T.ECDH_KEYPAIR, 1, 192, 521, 0, _ECC_PAIR),
    TypeProps(_T.SM2_DSA_PUBLIC_KEY, 1, 256, 256, 0, _SM2_PUBLIC),
    TypeProps(_T.SM2_DSA_KEYPAIR, 1, 256, 256, 0, _SM2_PAIR),
    TypeProps(_T.SM2_PKE_PUBLIC_KEY, 1, 256, 256, 0, _SM2_PUBLIC),
    TypeProps(_T.SM2_PKE_KEYPAIR, 1, 256, 256, 0, _SM2_PAIR),
    TypeProps(_T.SM2_KEP_PUBLIC_KEY, 1, 256, 256, 0, _SM2_PUBLIC),
    TypeProps(_T.SM2_KEP_KEYPAIR, 1, 256, 256, 0, _SM2_PAIR),
    TypeProps(_T.X25519_KEYPAIR, 1, 256, 256, 0, _X25519_PAIR),
    TypeProps(_T.X448_KEYPAIR, 1, 448, 448, 0, _X448_PAIR),
    TypeProps(_T.ED25519_PUBLIC_KEY, 1, 256, 256, 0, _ED25519_PUBLIC),
    TypeProps(_T.ED25519_KEYPAIR, 1, 256, 256, 0, _ED25519_PAIR),
)
TYPES: dict[int, TypeProps] = {int(row.type): row for row in _ROWS}
"""`tee_cryp_obj_props`. TEE_TYPE_DATA is no row: it has no attributes and no key size."""

PUBLIC_PART: dict[int, int] = {
    _T.RSA_PUBLIC_KEY: _T.RSA_KEYPAIR,
    _T.DSA_PUBLIC_KEY: _T.DSA_KEYPAIR,
    _T.ECDSA_PUBLIC_KEY: _T.ECDSA_KEYPAIR,
    _T.ECDH_PUBLIC_KEY: _T.ECDH_KEYPAIR,
    _T.SM2_DSA_PUBLIC_KEY: _T.SM2_DSA_KEYPAIR,
    _T.SM2_PKE_PUBLIC_KEY: _T.SM2_PKE_KEYPAIR,
    _T.SM2_KEP_PUBLIC_KEY: _T.SM2_KEP_KEYPAIR,
    _T.ED25519_PUBLIC_KEY: _T.ED25519_KEYPAIR,
    _T.X25519_PUBLIC_KEY: _T.X25519_KEYPAIR,
    _T.X448_PUBLIC_KEY: _T.X448_KEYPAIR,
}
"""Which key pair a public key's attributes may be copied from (tee_obj_attr_copy_from)."""

GENERATED_SECRETS = frozenset(row.type for row in _ROWS if row.attrs is SECRET_VALUE)
"""Types whose generated key is random bytes (syscall_obj_generate_key)."""


def legacy_des_bits(type_: int, bits: int) -> bool:
    """Whether `bits` is a DES size of GP 1.0, which does not count parity (is_gp_legacy_des_key_size)."""
    return (type_ == _T.DES and bits == 56) or (type_ == _T.DES3 and bits in (112, 168))
