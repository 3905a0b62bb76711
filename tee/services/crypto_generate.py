"""Generated key pairs: what a TA gives of one is already in the object, the rest comes from libcrypto.

Source: optee_os core/tee/tee_svc_cryp.c (tee_svc_obj_generate_key_*, check_pub_rsa_key),
core/lib/libtomcrypt/{rsa,dsa,dh,ecc}.c; NIST SP 800-56B §6.2 (exponents).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tee.abi import results
from tee.abi.algorithms import MainAlgorithm
from tee.abi.attributes import CURVE_BITS, Attr, Curve
from tee.abi.objects import ObjectType
from tee.crypto import keys
from tee.errors import TeeError
from tee.services.lasting import to_its_end

if TYPE_CHECKING:
    from collections.abc import Callable

    from tee.objects import Object
    from tee.services.context import CryptoTask

_T = ObjectType
DEFAULT_EXPONENT = 65537
"""Also the smallest that OP-TEE takes, unless it is built with CFG_RSA_PUB_EXPONENT_3."""
MAX_EXPONENT_BITS = 255
"""rsa_make_key_bn_e (core/lib/libtomcrypt/src/pk/rsa/rsa_make_key.c)."""


def octets(obj: Object, attr: Attr) -> bytes:
    """An attribute that is octets, empty if it is not set or the type has no such."""
    value = obj.value(attr) if obj.props and obj.props.position(attr) is not None else b""
    return value if isinstance(value, bytes) else b""


def _store(obj: Object, values: dict[Attr, bytes]) -> None:
    for attr, value in values.items():
        obj.set(attr, value)


def _exponent(obj: Object) -> bytes:
    if not obj.has(Attr.RSA_PUBLIC_EXPONENT):
        return DEFAULT_EXPONENT.to_bytes(3, "big")
    given = octets(obj, Attr.RSA_PUBLIC_EXPONENT)
    number = int.from_bytes(given, "big")
    if not number & 1 or number < DEFAULT_EXPONENT or number.bit_length() > MAX_EXPONENT_BITS:
        raise TeeError(results.BAD_PARAMETERS, "an RSA exponent is odd, at least 65537 and less than 2^255")
    return given


def _rsa(task: CryptoTask, obj: Object, bits: int) -> None:
    key = to_its_end(task, partial(keys.rsa_generate, bits, _exponent(obj), task.native))
    _store(
        obj,
        {
            Attr.RSA_MODULUS: key.n,
            Attr.RSA_PUBLIC_EXPONENT: key.e,
            Attr.RSA_PRIVATE_EXPONENT: key.d,
            Attr.RSA_PRIME1: key.p,
            Attr.RSA_PRIME2: key.q,
            Attr.RSA_EXPONENT1: key.dp,
            Attr.RSA_EXPONENT2: key.dq,
            Attr.RSA_COEFFICIENT: key.qinv,
        },
    )


def _prime_of(obj: Object, attr: Attr, bits: int) -> bytes:
    prime = octets(obj, attr)
    if bits != 8 * len(prime):
        raise TeeError(results.BAD_PARAMETERS, f"a prime of {len(prime)} octets for a key of {bits} bits")
    return prime


def _dsa(obj: Object, bits: int) -> None:
    prime = _prime_of(obj, Attr.DSA_PRIME, bits)
    key = keys.DsaKey(prime, octets(obj, Attr.DSA_SUBPRIME), octets(obj, Attr.DSA_BASE))
    private, public = keys.dsa_generate(key)
    _store(obj, {Attr.DSA_PRIVATE_VALUE: private, Attr.DSA_PUBLIC_VALUE: public})


def _dh(obj: Object, bits: int) -> None:
    prime = _prime_of(obj, Attr.DH_PRIME, bits)
    subprime = octets(obj, Attr.DH_SUBPRIME)
    limit = min(len(prime), len(subprime)) if subprime else len(prime)
    wanted = obj.value(Attr.DH_X_BITS)
    assert isinstance(wanted, int)
    if wanted % 8 or wanted // 8 > limit:
        raise TeeError(results.BAD_PARAMETERS, f"a private value of {wanted} bits")
    private, public = keys.dh_generate(prime, octets(obj, Attr.DH_BASE), subprime, wanted // 8 or limit)
    _store(obj, {Attr.DH_PRIVATE_VALUE: private, Attr.DH_PUBLIC_VALUE: public})
    obj.set(Attr.DH_X_BITS, wanted)


def curve_of(obj: Object) -> int:
    """TEE_ECC_CURVE_* of a key; the types of SM2 say it by themselves."""
    if obj.props is None or obj.props.position(Attr.ECC_CURVE) is None:
        return Curve.SM2
    value = obj.value(Attr.ECC_CURVE)
    assert isinstance(value, int)
    return value


def _ecc(obj: Object, bits: int) -> None:
    curve = curve_of(obj)
    if curve not in CURVE_BITS or curve == Curve.CURVE_25519:
        raise TeeError(results.NOT_SUPPORTED, f"no key pair on curve {curve:#x}")
    if bits != CURVE_BITS[curve]:
        raise TeeError(results.BAD_PARAMETERS, f"{bits} bits on a curve of {CURVE_BITS[curve]}")
    private, x, y = keys.ec_generate(curve)
    _store(obj, {Attr.ECC_PRIVATE_VALUE: private, Attr.ECC_PUBLIC_VALUE_X: x, Attr.ECC_PUBLIC_VALUE_Y: y})


_RAW = {
    _T.X25519_KEYPAIR: (MainAlgorithm.X25519, Attr.X25519_PRIVATE_VALUE, Attr.X25519_PUBLIC_VALUE),
    _T.X448_KEYPAIR: (MainAlgorithm.X448, Attr.X448_PRIVATE_VALUE, Attr.X448_PUBLIC_VALUE),
    _T.ED25519_KEYPAIR: (MainAlgorithm.ED25519, Attr.ED25519_PRIVATE_VALUE, Attr.ED25519_PUBLIC_VALUE),
}


def _raw(obj: Object, bits: int) -> None:
    main, private_attr, public_attr = _RAW[ObjectType(obj.type)]
    private, public = keys.raw_generate(main, bits // 8)
    _store(obj, {private_attr: private, public_attr: public})


_SERVED: dict[int, Callable[[Object, int], None]] = {
    _T.DSA_KEYPAIR: _dsa,
    _T.DH_KEYPAIR: _dh,
    _T.ECDSA_KEYPAIR: _ecc,
    _T.ECDH_KEYPAIR: _ecc,
    _T.SM2_DSA_KEYPAIR: _ecc,
    _T.SM2_KEP_KEYPAIR: _ecc,
    _T.SM2_PKE_KEYPAIR: _ecc,
    _T.X25519_KEYPAIR: _raw,
    _T.X448_KEYPAIR: _raw,
    _T.ED25519_KEYPAIR: _raw,
}
GENERATED_PAIRS = frozenset((_T.RSA_KEYPAIR, *_SERVED))
"""Types whose key pairs are generated."""


def generate_pair(task: CryptoTask, obj: Object, bits: int) -> None:
    """Complete `obj`, whose given attributes are stored, to a key pair of that size."""
    if obj.type == _T.RSA_KEYPAIR:
        _rsa(task, obj, bits)  # the one that may take seconds
    else:
        _SERVED[obj.type](obj, bits)
