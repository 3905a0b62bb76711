"""RSA by operation: which padding, hash and parameters an algorithm stands for, and OP-TEE's checks.

The hashes are those of GP, SHA-3 and MD5-SHA1 included: OP-TEE's core refuses those two, and its
libutee never asks for them.

Source: optee_os core/tee/tee_svc_cryp.c (syscall_asymm_operate, pkcs1_get_salt_len),
core/lib/libtomcrypt/rsa.c; RFC 8017.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee.abi import results
from tee.abi.algorithms import Algorithm, ChainMode, chain_mode, digest_hash, digest_size, hash_algorithm
from tee.abi.attributes import Attr
from tee.crypto import keys
from tee.crypto.ready import SIGN, VERIFY
from tee.errors import TeeError
from tee.services.crypto_generate import octets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tee.crypto.ready import Ready
    from tee.objects import Object
    from tee.syscalls.arguments import Attribute

_INT_MAX = 0x7FFFFFFF
_MAX_LABEL = 1 << 16
"""Octets of a label; more is OUT_OF_MEMORY."""
_MD5SHA1_SIZE = 36
_DIGESTS = frozenset(algo for algo in Algorithm if digest_size(algo) and algo >> 28 == 5)


def key_of(obj: Object) -> keys.RsaKey:
    return keys.RsaKey(
        octets(obj, Attr.RSA_MODULUS),
        octets(obj, Attr.RSA_PUBLIC_EXPONENT),
        octets(obj, Attr.RSA_PRIVATE_EXPONENT),
        octets(obj, Attr.RSA_PRIME1),
        octets(obj, Attr.RSA_PRIME2),
        octets(obj, Attr.RSA_EXPONENT1),
        octets(obj, Attr.RSA_EXPONENT2),
        octets(obj, Attr.RSA_COEFFICIENT),
    )


def modulus_size(obj: Object) -> int:
    """Octets."""
    return len(octets(obj, Attr.RSA_MODULUS))


def raw(obj: Object, data: bytes, *, decrypt: bool) -> bytes:
    """RSA_NOPAD: a number below the modulus to another one, without leading zeros but with one octet at least."""
    key = key_of(obj)
    if not key.n:
        raise TeeError(results.GENERIC, "a modulus of zero")
    data = data.lstrip(b"\0")
    if len(data) > len(key.n) or int.from_bytes(data, "big") > int.from_bytes(key.n, "big"):
        raise TeeError(results.BAD_PARAMETERS, "a number larger than the modulus")
    padded = data.rjust(len(key.n), b"\0")
    if padded == key.n:
        return b"\0"
    out = keys.rsa_crypt(key, keys.RsaScheme(keys.NO_PADDING), padded, decrypt=decrypt)
    return out.lstrip(b"\0") or b"\0"


def oaep_hash(algo: int) -> int:
    """The main algorithm of the hash: bits 23-20, of which OP-TEE, without SHA-3 here, reads three."""
    return algo >> 20 & 0xF


def _oaep(algo: int, params: Sequence[Attribute]) -> tuple[keys.RsaScheme, bytes]:
    """What follows a label is not looked at, as in OP-TEE."""
    hash_ = hash_algorithm(oaep_hash(algo))
    mgf, label = 0, b""
    for attr in params:
        if attr.id == Attr.RSA_OAEP_LABEL:
            if attr.b > _MAX_LABEL:
                raise TeeError(results.OUT_OF_MEMORY, f"a label of {attr.b} octets")
            label = attr.read()
            break
        if attr.id == Attr.RSA_OAEP_MGF_HASH:
            if attr.b != 4:  # a uint32_t, TEE_ALG_* of a digest
                raise TeeError(results.BAD_PARAMETERS, f"a hash identifier of {attr.b} octets")
            mgf = int.from_bytes(attr.read(), "little")
    mgf = mgf or hash_
    if hash_ not in _DIGESTS or mgf not in _DIGESTS:
        raise TeeError(results.BAD_PARAMETERS, f"no hash {hash_:#x} or {mgf:#x}")
    return keys.RsaScheme(keys.OAEP_PADDING, hash_, mgf), label


def cipher_scheme(algo: int, params: Sequence[Attribute]) -> tuple[keys.RsaScheme, bytes]:
    """(scheme, label)."""
    if algo == Algorithm.RSAES_PKCS1_V1_5:
        return keys.RsaScheme(keys.PKCS1_PADDING), b""
    return _oaep(algo, params)


def encrypt(obj: Object, scheme: keys.RsaScheme, label: bytes, data: bytes) -> bytes:
    return keys.rsa_crypt(key_of(obj), scheme, data, decrypt=False, label=label)


def decrypt(algo: int, obj: Object, params: Sequence[Attribute], data: bytes) -> bytes:
    """One error for everything that may be wrong inside, so that it tells an attacker as little as OP-TEE's."""
    if len(data) != modulus_size(obj):
        raise TeeError(results.BAD_PARAMETERS, f"{len(data)} octets under a modulus of {modulus_size(obj)}")
    scheme, label = cipher_scheme(algo, params)
    return keys.rsa_crypt(key_of(obj), scheme, data, decrypt=True, label=label)


def signature_scheme(algo: int, params: Sequence[Attribute], data: bytes) -> keys.RsaScheme:
    """NOT_SUPPORTED: no such hash; BAD_PARAMETERS: `data` is no digest of it."""
    if algo == Algorithm.RSASSA_PKCS1_V1_5:
        return keys.RsaScheme(keys.PKCS1_PADDING)
    hash_ = hash_algorithm(digest_hash(algo))
    size = _MD5SHA1_SIZE if hash_ == Algorithm.MD5SHA1 else digest_size(hash_)
    if not size:
        raise TeeError(results.NOT_SUPPORTED, f"no digest for algorithm {algo:#x}")
    if len(data) != size:
        raise TeeError(results.BAD_PARAMETERS, f"digest of {len(data)} octets, not {size}")
    if chain_mode(algo) != ChainMode.PKCS1_PSS_MGF1:
        return keys.RsaScheme(keys.PKCS1_PADDING, hash_)
    return keys.RsaScheme(keys.PSS_PADDING, hash_, salt=_salt_length(params, size))


def _salt_length(params: Sequence[Attribute], default: int) -> int:
    for attr in params:
        if attr.id == Attr.RSA_PSS_SALT_LENGTH:
            return attr.a if attr.a < _INT_MAX else default
    return default


def sign(ready: Ready, obj: Object, scheme: keys.RsaScheme, digest: bytes) -> bytes:
    if not ready.is_for(SIGN):
        ready.rsa(SIGN, key_of(obj), scheme)
    return ready.sign(digest, scheme.salt)


def verify(ready: Ready, algo: int, obj: Object, params: Sequence[Attribute], digest: bytes, signature: bytes) -> None:
    scheme = signature_scheme(algo, params, digest)
    if len(signature) != modulus_size(obj):
        raise TeeError(results.SIGNATURE_INVALID, f"{len(signature)} octets of signature")
    if not ready.is_for(VERIFY):
        ready.rsa(VERIFY, key_of(obj), scheme)
    ready.verify(digest, signature, scheme.salt)
