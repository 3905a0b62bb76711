"""Which algorithms are served, and why the others are not: asked of what serves them, not written down."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from tee.abi.algorithms import (
    Algorithm,
    ChainMode,
    MainAlgorithm,
    OperationClass,
    chain_mode,
    digest_hash,
    hash_algorithm,
    main_algorithm,
    operation_class,
)
from tee.abi.attributes import Curve
from tee.crypto import keys
from tee.errors import TeeError
from tee.services.crypto_asymmetric import CURVES as SIGNED_ON
from tee.services.crypto_derive import HASH_NAMES
from tee.services.crypto_rsa import oaep_hash

_SYMMETRIC = (OperationClass.CIPHER, OperationClass.MAC, OperationClass.AE, OperationClass.DIGEST)
_DERIVED = (MainAlgorithm.HKDF, MainAlgorithm.CONCAT_KDF, MainAlgorithm.PBKDF2)
_ECDSA_SHA3 = "OP-TEE reads ECDH out of its identifier, so that no key fits"
_PKCS1_LIMIT = "but signatures whose DigestInfo lacks its NULL, which OP-TEE verifies and libcrypto does not"
_NO_KEY: dict[int, str] = {
    Algorithm.ED448: "OP-TEE has no such keys",
    Algorithm.ECDSA_SHA3_224: _ECDSA_SHA3,
    Algorithm.ECDSA_SHA3_256: _ECDSA_SHA3,
    Algorithm.ECDSA_SHA3_384: _ECDSA_SHA3,
    Algorithm.ECDSA_SHA3_512: _ECDSA_SHA3,
}
_RAW_BYTES: dict[int, int] = {MainAlgorithm.ED25519: 32, MainAlgorithm.X25519: 32, MainAlgorithm.X448: 56}
_CURVES: dict[int, Curve] = {
    Algorithm.ECDH_DERIVE_SHARED_SECRET: Curve.NIST_P256,
    Algorithm.SM2_PKE: Curve.SM2,
    Algorithm.SM2_KEP: Curve.SM2,
    **{algo: Curve(curve) for algo, curves in SIGNED_ON.items() for curve in curves},
}
"""A curve that an algorithm cannot be without."""


class Support(NamedTuple):
    """reason: why it is not served; empty if it is. limit: what of it is not served, and why; empty if all is."""

    algorithm: Algorithm
    served: bool
    reason: str
    limit: str = ""


def supported() -> list[Support]:
    """Every TEE_ALG_*, in the order of the table. Needs the C extension."""
    from tee.crypto.task import Task  # the table is read without the extension, and this is not

    task = Task()
    try:
        return [_support(task, algo) for algo in Algorithm if algo is not Algorithm.ILLEGAL_VALUE]
    finally:
        task.close()


def _support(task: object, algo: Algorithm) -> Support:
    class_ = operation_class(algo)
    reason = ""
    if class_ in _SYMMETRIC:
        reason = _probe(task, algo)
    elif class_ == OperationClass.KEY_DERIVATION and main_algorithm(algo) in _DERIVED:
        main = MainAlgorithm.SHA256 if algo is Algorithm.HKDF else digest_hash(algo)
        if HASH_NAMES.get(main, "") not in hashlib.algorithms_available:
            reason = "libcrypto lacks its hash"
    else:
        reason = _asymmetric(task, algo)
    limited = (
        not reason
        and main_algorithm(algo) == MainAlgorithm.RSA
        and operation_class(algo) == OperationClass.ASYMMETRIC_SIGNATURE
        and chain_mode(algo) != ChainMode.PKCS1_PSS_MGF1
        and algo != Algorithm.RSASSA_PKCS1_V1_5
    )
    return Support(algo, not reason, reason, _PKCS1_LIMIT if limited else "")


def _asymmetric(task: object, algo: Algorithm) -> str:
    """Why not: no key of OP-TEE's fits, or libcrypto has not the curve or the hash."""
    main = main_algorithm(algo)
    if algo in _NO_KEY:
        return _NO_KEY[algo]
    if operation_class(algo) == OperationClass.ASYMMETRIC_SIGNATURE and main in (MainAlgorithm.RSA, MainAlgorithm.DSA):
        return "" if algo == Algorithm.RSASSA_PKCS1_V1_5 else _hash(digest_hash(algo))
    if main == MainAlgorithm.RSA and algo not in (Algorithm.RSA_NOPAD, Algorithm.RSAES_PKCS1_V1_5):
        return _hash(oaep_hash(algo))
    try:
        if main in _RAW_BYTES:
            keys.raw_generate(main, _RAW_BYTES[main])
        elif algo in _CURVES:
            keys.ec_generate(_CURVES[algo])
    except TeeError:
        return "libcrypto lacks its curve"
    return ""


def _hash(main_hash: int) -> str:
    from tee.crypto.oneshot import digest

    try:
        digest(hash_algorithm(main_hash))
    except TeeError:
        return "libcrypto lacks its hash"
    return ""


def _probe(task: object, algo: Algorithm) -> str:
    from tee.crypto.task import Task

    assert isinstance(task, Task)
    try:
        task.state_free(task.state_alloc(algo, 0))
    except TeeError as error:
        return f"the C side answers {error.result}, as OP-TEE does"
    return ""
