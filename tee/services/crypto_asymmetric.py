"""Asymmetric encryption and signatures: which key and algorithm, how much room, what result.

Source: optee_os core/tee/tee_svc_cryp.c (syscall_asymm_operate, syscall_asymm_verify,
tee_svc_obj_ed25519_*), core/lib/libtomcrypt/{dsa,ecc,ed25519,sm2-dsa,sm2-pke}.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee.abi import results
from tee.abi.algorithms import (
    Algorithm,
    MainAlgorithm,
    Mode,
    OperationClass,
    digest_hash,
    digest_size,
    hash_algorithm,
    main_algorithm,
    operation_class,
)
from tee.abi.attributes import Attr, Curve
from tee.crypto import keys
from tee.crypto.ready import SIGN, VERIFY, Ready
from tee.errors import TeeError
from tee.services import crypto_rsa as rsa
from tee.services.crypto_eddsa import eddsa_variant
from tee.services.crypto_generate import curve_of, octets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tee.objects import Object, State
    from tee.services.context import CryptoTask
    from tee.syscalls.arguments import Attribute, OutBuffer

CURVES: dict[int, frozenset[int]] = {
    Algorithm.ECDSA_SHA1: frozenset({Curve.NIST_P192}),
    Algorithm.ECDSA_SHA224: frozenset({Curve.NIST_P224}),
    Algorithm.ECDSA_SHA256: frozenset({Curve.NIST_P256}),
    Algorithm.ECDSA_SHA384: frozenset({Curve.NIST_P384}),
    Algorithm.ECDSA_SHA512: frozenset({Curve.NIST_P521}),
    Algorithm.SM2_DSA_SM3: frozenset({Curve.SM2}),
}
"""The curve an algorithm signs on, BAD_PARAMETERS for any other (ecc_get_curve_info)."""
_RAW_MODE = (Algorithm.RSA_NOPAD, Algorithm.SM2_PKE)
"""Encryption whose wrong mode OP-TEE answers with GENERIC."""
_SM2_POINT = 65


def asymm_operate(task: CryptoTask, state: int, params: Sequence[Attribute], src: bytes, dst: OutBuffer) -> None:
    """Encrypt, decrypt or sign."""
    record = task.objects.operations.get(state)
    key = task.objects.get(record.key1)
    if not key.initialized:
        raise TeeError(results.GENERIC, "the operation's key is not set")
    class_ = operation_class(record.algo)
    if class_ == OperationClass.ASYMMETRIC_CIPHER:
        if record.mode not in (Mode.ENCRYPT, Mode.DECRYPT):
            wrong = results.GENERIC if record.algo in _RAW_MODE else results.BAD_PARAMETERS
            raise TeeError(wrong, "neither encryption nor decryption")
        _encipher(record, key, params, src, dst)
    elif class_ == OperationClass.ASYMMETRIC_SIGNATURE:
        _sign(Ready(task.native, state, key), record, key, params, src, dst)
    else:
        raise TeeError(results.BAD_PARAMETERS, "neither a cipher nor a signature")


def _encipher(record: State, key: Object, params: Sequence[Attribute], src: bytes, dst: OutBuffer) -> None:
    decrypt = record.mode == Mode.DECRYPT
    if record.algo == Algorithm.RSA_NOPAD:
        dst.put(rsa.raw(key, src, decrypt=decrypt))
    elif record.algo == Algorithm.SM2_PKE:
        _sm2(key, src, dst, decrypt=decrypt)
    elif main_algorithm(record.algo) != MainAlgorithm.RSA:
        raise TeeError(results.BAD_PARAMETERS, f"no cipher {record.algo:#x}")
    elif decrypt:
        dst.put(rsa.decrypt(record.algo, key, params, src))
    else:
        scheme, label = rsa.cipher_scheme(record.algo, params)
        dst.need(rsa.modulus_size(key))
        dst.put(rsa.encrypt(key, scheme, label, src))


def _sm2(key: Object, src: bytes, dst: OutBuffer, *, decrypt: bool) -> None:
    if decrypt:
        # OP-TEE fills what room there is and calls it a success.
        dst.put(keys.sm2_decrypt(octets(key, Attr.ECC_PRIVATE_VALUE), src)[: dst.capacity])
        return
    if dst.capacity < _SM2_POINT:
        raise TeeError(results.BAD_STATE, "not even room for the point: OP-TEE tells no size then")
    dst.need(len(src) + keys.SM2_OVERHEAD)
    x, y = octets(key, Attr.ECC_PUBLIC_VALUE_X), octets(key, Attr.ECC_PUBLIC_VALUE_Y)
    dst.put(keys.sm2_encrypt(x, y, src))


def _sign(ready: Ready, record: State, key: Object, params: Sequence[Attribute], src: bytes, dst: OutBuffer) -> None:
    main = main_algorithm(record.algo)
    if main == MainAlgorithm.RSA:
        if record.mode != Mode.SIGN:
            raise TeeError(results.BAD_PARAMETERS, "not in mode SIGN")
        scheme = rsa.signature_scheme(record.algo, params, src)
        dst.need(rsa.modulus_size(key))
        dst.put(rsa.sign(ready, key, scheme, src))
    elif main == MainAlgorithm.DSA:
        _dsa_sign(record.algo, key, src, dst)
    elif main == MainAlgorithm.ED25519:
        variant = eddsa_variant(params)
        dst.need(keys.ED25519_SIGNATURE)
        dst.put(keys.ed25519_sign(_private(key, Attr.ED25519_PRIVATE_VALUE), src, variant))
    elif record.algo in CURVES:
        curve = _curve(record.algo, key)
        dst.need(2 * keys.coordinate(curve))
        d = _private(key, Attr.ECC_PRIVATE_VALUE)
        if not ready.is_for(SIGN):
            ready.curve(SIGN, curve, d)
        dst.put(ready.sign(src))
    else:
        raise TeeError(results.BAD_PARAMETERS, f"no signature {record.algo:#x}")


def _private(key: Object, attr: Attr) -> bytes:
    """A verifying operation may hold a public key, and be asked to sign all the same."""
    if not key.has(attr):
        raise TeeError(results.BAD_PARAMETERS, "a public key does not sign")
    return octets(key, attr)


def _curve(algo: int, key: Object) -> int:
    curve = curve_of(key)
    if curve not in CURVES[algo]:
        raise TeeError(results.BAD_PARAMETERS, f"algorithm {algo:#x} on curve {curve:#x}")
    return curve


def _dsa_key(key: Object) -> keys.DsaKey:
    return keys.DsaKey(
        octets(key, Attr.DSA_PRIME),
        octets(key, Attr.DSA_SUBPRIME),
        octets(key, Attr.DSA_BASE),
        octets(key, Attr.DSA_PRIVATE_VALUE),
        octets(key, Attr.DSA_PUBLIC_VALUE),
    )


def _dsa_digest(algo: int) -> int:
    size = digest_size(hash_algorithm(digest_hash(algo)))
    if not size:
        raise TeeError(results.NOT_SUPPORTED, f"no digest for algorithm {algo:#x}")
    return size


def _dsa_sign(algo: int, key: Object, digest: bytes, dst: OutBuffer) -> None:
    numbers = _dsa_key(key)._replace(x=_private(key, Attr.DSA_PRIVATE_VALUE))
    size = min(_dsa_digest(algo), len(numbers.q))
    if len(digest) != size:
        raise TeeError(results.SECURITY, f"digest of {len(digest)} octets, not {size}")
    dst.need(2 * len(numbers.q))
    dst.put(keys.dsa_sign(numbers, digest))


def _dsa_verify(algo: int, key: Object, digest: bytes, signature: bytes) -> None:
    numbers = _dsa_key(key)
    if len(digest) not in (_dsa_digest(algo), len(numbers.q)):
        raise TeeError(results.BAD_PARAMETERS, f"digest of {len(digest)} octets")
    keys.dsa_verify(numbers, digest, signature)


def _ec_verify(ready: Ready, algo: int, key: Object, digest: bytes, signature: bytes) -> None:
    if algo not in CURVES:
        raise TeeError(results.BAD_PARAMETERS, f"no signature {algo:#x}")
    curve = _curve(algo, key)
    if len(signature) != 2 * keys.coordinate(curve):
        raise TeeError(results.BAD_PARAMETERS, f"{len(signature)} octets of signature")
    if not ready.is_for(VERIFY):
        x, y = octets(key, Attr.ECC_PUBLIC_VALUE_X), octets(key, Attr.ECC_PUBLIC_VALUE_Y)
        ready.curve(VERIFY, curve, x=x, y=y)
    ready.verify(digest, signature)


def asymm_verify(task: CryptoTask, state: int, params: Sequence[Attribute], data: bytes, sig: bytes) -> None:
    """data: the digest, except for Ed25519. SIGNATURE_INVALID: it is not."""
    record = task.objects.operations.get(state)
    if record.mode != Mode.VERIFY:
        raise TeeError(results.BAD_PARAMETERS, "not in mode VERIFY")
    key = task.objects.get(record.key1)
    if not key.initialized:
        raise TeeError(results.BAD_PARAMETERS, "the operation's key is not set")
    main = main_algorithm(record.algo)
    if main == MainAlgorithm.RSA:
        rsa.verify(Ready(task.native, state, key), record.algo, key, params, data, sig)
    elif main == MainAlgorithm.DSA:
        _dsa_verify(record.algo, key, data, sig)
    elif main == MainAlgorithm.ED25519:
        keys.ed25519_verify(octets(key, Attr.ED25519_PUBLIC_VALUE), data, sig, eddsa_variant(params))
    elif main in (MainAlgorithm.ECDSA, MainAlgorithm.SM2_DSA_SM3):
        _ec_verify(Ready(task.native, state, key), record.algo, key, data, sig)
    else:
        raise TeeError(results.NOT_SUPPORTED, "not a signature")
