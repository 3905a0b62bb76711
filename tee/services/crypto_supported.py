"""Which algorithms are served, and why the others are not: asked of what serves them, not written down."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from tee.abi.algorithms import Algorithm, MainAlgorithm, OperationClass, digest_hash, main_algorithm, operation_class
from tee.errors import TeeError
from tee.services.crypto_derive import HASH_NAMES

ASYMMETRIC: frozenset[int] = frozenset()
"""Asymmetric algorithms, and agreements, that `tee.services` serves."""

_SYMMETRIC = (OperationClass.CIPHER, OperationClass.MAC, OperationClass.AE, OperationClass.DIGEST)
_DERIVED = (MainAlgorithm.HKDF, MainAlgorithm.CONCAT_KDF, MainAlgorithm.PBKDF2)


class Support(NamedTuple):
    """reason: why it is not served; empty if it is."""

    algorithm: Algorithm
    served: bool
    reason: str


def supported() -> list[Support]:
    """Every TEE_ALG_*, in the order of the table. Needs the C extension."""
    from tee.native import Task  # the table is read without the extension, and this is not

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
    elif algo not in ASYMMETRIC:
        reason = "asymmetric keys are held, but not operated upon"
    return Support(algo, not reason, reason)


def _probe(task: object, algo: Algorithm) -> str:
    from tee.native import Task

    assert isinstance(task, Task)
    try:
        task.state_free(task.state_alloc(algo, 0))
    except TeeError as error:
        return f"the C side answers {error.result}, as OP-TEE does"
    return ""
