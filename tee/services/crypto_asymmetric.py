"""Asymmetric encryption and signatures: the checks that come before any algorithm.

No algorithm is served: what passes the checks answers NOT_IMPLEMENTED, which is what OP-TEE answers
when it is built without one.

Source: optee_os core/tee/tee_svc_cryp.c, syscall_asymm_operate and syscall_asymm_verify.
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
from tee.errors import TeeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tee.services.context import CryptoTask
    from tee.syscalls.arguments import Attribute
    from tee.syscalls.declare import OutBuffer

_RAW_MODE = (Algorithm.RSA_NOPAD, Algorithm.SM2_PKE)
"""Encryption whose wrong mode OP-TEE answers with GENERIC."""

_VERIFIED = (
    MainAlgorithm.RSA,
    MainAlgorithm.DSA,
    MainAlgorithm.ED25519,
    MainAlgorithm.ECDSA,
    MainAlgorithm.SM2_DSA_SM3,
)


def asymm_operate(task: CryptoTask, state: int, params: Sequence[Attribute], src: bytes, dst: OutBuffer) -> None:
    """Encrypt, decrypt or sign."""
    record = task.objects.operations.get(state)
    if not task.objects.get(record.key1).initialized:
        raise TeeError(results.GENERIC, "the operation's key is not set")
    class_ = operation_class(record.algo)
    if class_ == OperationClass.ASYMMETRIC_CIPHER:
        if record.mode not in (Mode.ENCRYPT, Mode.DECRYPT):
            wrong = results.GENERIC if record.algo in _RAW_MODE else results.BAD_PARAMETERS
            raise TeeError(wrong, "neither encryption nor decryption")
    elif class_ != OperationClass.ASYMMETRIC_SIGNATURE or (
        main_algorithm(record.algo) == MainAlgorithm.RSA and record.mode != Mode.SIGN
    ):
        raise TeeError(results.BAD_PARAMETERS, "not a signature")
    raise _unserved(record.algo)


def asymm_verify(task: CryptoTask, state: int, params: Sequence[Attribute], data: bytes, sig: bytes) -> None:
    """data: the digest, except for Ed25519."""
    record = task.objects.operations.get(state)
    if record.mode != Mode.VERIFY:
        raise TeeError(results.BAD_PARAMETERS, "not in mode VERIFY")
    if not task.objects.get(record.key1).initialized:
        raise TeeError(results.BAD_PARAMETERS, "the operation's key is not set")
    main = main_algorithm(record.algo)
    if main not in _VERIFIED:
        raise TeeError(results.NOT_SUPPORTED, "not a signature")
    if main == MainAlgorithm.RSA and record.algo != Algorithm.RSASSA_PKCS1_V1_5:
        size = digest_size(hash_algorithm(digest_hash(record.algo)))
        if not size:
            raise TeeError(results.NOT_SUPPORTED, f"no digest for algorithm {record.algo:#x}")
        if len(data) != size:
            raise TeeError(results.BAD_PARAMETERS, f"digest of {len(data)} octets, not {size}")
    raise _unserved(record.algo)


def _unserved(algo: int) -> TeeError:
    return TeeError(results.NOT_IMPLEMENTED, f"algorithm {algo:#x}: asymmetric keys are not operated upon yet")
