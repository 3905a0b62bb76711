"""Key derivation: HKDF, Concat KDF and PBKDF2, on libcrypto's hashes and MACs; agreements are elsewhere.

A derived key lands in a simple symmetric key object and must fit it; that the size of the target
counts, not that of the input, is OP-TEE's correction after 4.5.

Source: optee_os core/tee/tee_svc_cryp.c (syscall_cryp_derive_key, get_*_params), tee_cryp_hkdf.c,
tee_cryp_concat_kdf.c, tee_cryp_pbkdf2.c; RFC 5869; NIST SP 800-56A r1 §5.8.1; RFC 8018 §5.2.
"""

from __future__ import annotations

import hashlib
import hmac
from functools import partial
from typing import TYPE_CHECKING

from tee.abi import results
from tee.abi.algorithms import (
    Algorithm,
    MainAlgorithm,
    OperationClass,
    digest_hash,
    digest_size,
    hash_algorithm,
    main_algorithm,
    operation_class,
)
from tee.abi.attributes import HKDF_INFO_OPTEE, HKDF_SALT_OPTEE, Attr
from tee.abi.objects import SECRET_VALUE
from tee.crypto.oneshot import Pbkdf2
from tee.crypto.parked import park
from tee.errors import TeeError
from tee.services.crypto_agree import AGREEMENTS
from tee.services.lasting import to_its_end

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tee.services.context import CryptoTask
    from tee.syscalls.arguments import Attribute

MAX_INPUT = 1 << 16
"""Octets of salt or of other information in one call; more is OUT_OF_MEMORY."""

HASH_NAMES: dict[int, str] = {
    MainAlgorithm.MD5: "md5",
    MainAlgorithm.SHA1: "sha1",
    MainAlgorithm.SHA224: "sha224",
    MainAlgorithm.SHA256: "sha256",
    MainAlgorithm.SHA384: "sha384",
    MainAlgorithm.SHA512: "sha512",
    MainAlgorithm.SM3: "sm3",
    MainAlgorithm.SHA3_224: "sha3_224",
    MainAlgorithm.SHA3_256: "sha3_256",
    MainAlgorithm.SHA3_384: "sha3_384",
    MainAlgorithm.SHA3_512: "sha3_512",
}
"""What hashlib calls the hashes that derivation identifiers name."""


def hash_name(main_hash: int) -> str:
    """NOT_SUPPORTED unless libcrypto has the hash."""
    name = HASH_NAMES.get(main_hash, "")
    if name not in hashlib.algorithms_available:
        raise TeeError(results.NOT_SUPPORTED, f"no hash {main_hash:#x} in libcrypto")
    return name


def hkdf(name: str, ikm: bytes, salt: bytes, info: bytes, size: int) -> bytes:
    """RFC 5869; size: octets, at most 255 digests: BAD_PARAMETERS."""
    prk = hmac.digest(salt or bytes(hashlib.new(name).digest_size), ikm, name)
    if size > 255 * len(prk):
        raise TeeError(results.BAD_PARAMETERS, f"HKDF of {size} octets")
    out = block = b""
    for count in range(1, -(-size // len(prk)) + 1):
        block = hmac.digest(prk, block + info + bytes([count]), name)
        out += block
    return out[:size]


def concat_kdf(name: str, secret: bytes, info: bytes, size: int) -> bytes:
    """NIST SP 800-56A r1 §5.8.1; size: octets."""
    rounds = -(-size // hashlib.new(name).digest_size)
    return b"".join(
        hashlib.new(name, count.to_bytes(4, "big") + secret + info).digest() for count in range(1, rounds + 1)
    )[:size]


def pbkdf2(task: CryptoTask, hash_: int, password: bytes, salt: bytes, iterations: int, size: int) -> bytes:
    """RFC 8018 §5.2; hash_: TEE_ALG_* of a digest; size: octets.

    BAD_PARAMETERS: no iterations; NOT_SUPPORTED: no such digest.
    """
    if not digest_size(hash_):
        raise TeeError(results.NOT_SUPPORTED, f"no hash {hash_:#x}")
    if not iterations:
        raise TeeError(results.BAD_PARAMETERS, "PBKDF2 without iterations")
    return to_its_end(task, partial(Pbkdf2(hash_, password, salt, iterations, size).run, task.native))


def _parameters(params: Sequence[Attribute], names: Mapping[int, str]) -> dict[str, Attribute]:
    """By name, the first of each; BAD_PARAMETERS for an attribute that is not one of `names`."""
    found: dict[str, Attribute] = {}
    for attr in params:
        if attr.id not in names:
            raise TeeError(results.BAD_PARAMETERS, f"attribute {attr.id:#x} in a derivation that knows none such")
        found.setdefault(names[attr.id], attr)
    return found


def _octets(found: dict[str, Attribute], name: str) -> bytes:
    attr = found.get(name)
    if attr is None:
        return b""
    if attr.b > MAX_INPUT:
        raise TeeError(results.OUT_OF_MEMORY, f"{name} of {attr.b} octets")
    return attr.read()


def _word(found: dict[str, Attribute], name: str) -> int:
    if name not in found:
        raise TeeError(results.BAD_PARAMETERS, f"{name} is missing")
    return found[name].a


_HKDF = {
    HKDF_SALT_OPTEE: "salt",
    int(Attr.HKDF_SALT): "salt",
    HKDF_INFO_OPTEE: "info",
    int(Attr.HKDF_INFO): "info",
    int(Attr.HKDF_OKM_LENGTH): "length",
    int(Attr.KDF_KEY_SIZE): "length",
    int(Attr.HKDF_HASH_ALGORITHM): "hash",
}
_CONCAT = {int(Attr.CONCAT_KDF_OTHER_INFO): "info", int(Attr.CONCAT_KDF_DKM_LENGTH): "length"}
_PBKDF2 = {
    int(Attr.PBKDF2_SALT): "salt",
    int(Attr.PBKDF2_DKM_LENGTH): "length",
    int(Attr.PBKDF2_ITERATION_COUNT): "iterations",
}


def _derive_hkdf(algo: int, key: bytes, params: Sequence[Attribute], room: int) -> bytes:
    found = _parameters(params, _HKDF)
    size = _fits(_word(found, "length"), room)
    main_hash = digest_hash(algo)
    if algo == Algorithm.HKDF:
        main_hash = main_algorithm(found["hash"].a) if "hash" in found else MainAlgorithm.SHA256
    return hkdf(hash_name(main_hash), key, _octets(found, "salt"), _octets(found, "info"), size)


def _derive_concat(algo: int, key: bytes, params: Sequence[Attribute], room: int) -> bytes:
    found = _parameters(params, _CONCAT)
    size = _fits(_word(found, "length"), room)
    return concat_kdf(hash_name(digest_hash(algo)), key, _octets(found, "info"), size)


def _derive_pbkdf2(task: CryptoTask, algo: int, key: bytes, params: Sequence[Attribute], room: int) -> bytes:
    found = _parameters(params, _PBKDF2)
    iterations = _word(found, "iterations")
    size = _fits(_word(found, "length"), room)
    return pbkdf2(task, hash_algorithm(digest_hash(algo)), key, _octets(found, "salt"), iterations, size)


def _fits(size: int, room: int) -> int:
    if size > room:
        raise TeeError(results.BAD_PARAMETERS, f"{size} octets into an object for {room}")
    return size


_SERVED: dict[int, Callable[[int, bytes, Sequence[Attribute], int], bytes]] = {
    MainAlgorithm.HKDF: _derive_hkdf,
    MainAlgorithm.CONCAT_KDF: _derive_concat,
}


def cryp_derive_key(task: CryptoTask, state: int, params: Sequence[Attribute], derived_key: int) -> None:
    record = task.objects.operations.get(state)
    source = task.objects.get(record.key1)
    target = task.objects.get(derived_key)
    props = target.require_props(results.NOT_SUPPORTED)
    if props.attrs is not SECRET_VALUE:
        raise TeeError(results.NOT_SUPPORTED, f"a key is not derived into {props.type.name}")
    if operation_class(record.algo) != OperationClass.KEY_DERIVATION:
        raise TeeError(results.NOT_SUPPORTED, "not a derivation")
    agree, serve = AGREEMENTS.get(record.algo), _SERVED.get(main_algorithm(record.algo))
    if agree is not None:
        secret = _agreed(agree(task, state, source, params, target), props.alloc)
    elif main_algorithm(record.algo) == MainAlgorithm.PBKDF2:
        secret = _derive_pbkdf2(task, record.algo, source.key, params, props.alloc)
    elif serve is not None:
        secret = serve(record.algo, source.key, params, props.alloc)
    else:
        raise TeeError(results.NOT_SUPPORTED, f"no derivation {record.algo:#x}")
    # The object's size stays what it was, as in OP-TEE: 0 for a fresh one.
    target.set_secret(secret)
    if record.algo == Algorithm.ECDH_DERIVE_SHARED_SECRET:
        park(task.native, task.objects, derived_key)


def _agreed(secret: bytes, room: int) -> bytes:
    _fits(len(secret), room)
    return secret
