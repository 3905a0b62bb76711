"""Whole messages at once (tee/csrc/oneshot.c): digests, HMAC, AES-GCM, ciphers, PBKDF2, random bytes.

What storage, pseudo TAs and a loader of TAs need; operations of TAs in pieces are `tee.crypto.task`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee.abi import results
from tee.crypto.ffi import NO_TASK, check, ffi, lib, octets, output
from tee.errors import TeeError

if TYPE_CHECKING:
    from tee.crypto.ffi import Data
    from tee.crypto.task import Task


def digest(algo: int | str, *data: Data, size: int | None = None) -> bytes:
    """Digest of the concatenation of `data`. algo: TEE_ALG_* or a name like "sha256".

    size: output of SHAKE. TeeError(NOT_SUPPORTED): no such digest.
    """
    number = algo if isinstance(algo, int) else lib.tee_digest_find(algo.encode())
    ctx = lib.tee_digest_new(number) if number else None
    if not ctx:
        raise TeeError(results.NOT_SUPPORTED, f"no digest {algo}")
    try:
        for piece in data:
            check(lib.tee_digest_update(ctx, *octets(piece)))
        out, pointer = output(lib.tee_digest_size(number) or size or 0)
        check(lib.tee_digest_final(ctx, pointer, len(out)))
    finally:
        lib.tee_digest_free(ctx)
    return bytes(out)


def hmac_sha256(key: Data, data: Data) -> bytes:
    out, dst = output(32)
    check(lib.tee_hmac_sha256(*octets(key), *octets(data), dst))
    return bytes(out)


def gcm_decrypt(key: Data, iv: Data, aad: Data, data: Data, tag: Data) -> bytes | None:
    """AES-GCM plaintext, or None if the tag is wrong. TeeError(BAD_PARAMETERS): impossible sizes."""
    src, size = octets(data)
    out, dst = output(size)
    rc = lib.tee_gcm_decrypt(*octets(key), *octets(iv), *octets(aad), src, size, dst, *octets(tag))
    if rc == results.MAC_INVALID:
        return None
    check(rc)
    return bytes(out)


def gcm_encrypt(key: Data, iv: Data, aad: Data, data: Data) -> tuple[bytes, bytes]:
    """AES-GCM ciphertext and its tag of 16 bytes. TeeError(BAD_PARAMETERS): impossible sizes."""
    src, size = octets(data)
    out, dst = output(size)
    tag, tag_pointer = output(16)
    check(lib.tee_gcm_encrypt(*octets(key), *octets(iv), *octets(aad), src, size, dst, tag_pointer, len(tag)))
    return bytes(out), bytes(tag)


def cipher(algo: int, encrypt: bool, key: Data, iv: Data, data: Data) -> bytes:
    """A whole message of blocks under a TEE_ALG_* of a cipher; iv: empty for ECB. TeeError(BAD_PARAMETERS)."""
    src, size = octets(data)
    out, dst = output(size)
    check(lib.tee_cipher_oneshot(algo, encrypt, *octets(key), *octets(iv), src, size, dst))
    return bytes(out)


class Pbkdf2:
    """A key derived as RFC 8018 §5.2 does, which may be stopped on the way.

    hash_: TEE_ALG_* of a digest; iterations: from 1 to 2^32 - 1; size: octets of the key, at most 2^32 - 1.
    """

    def __init__(self, hash_: int, password: bytes, salt: bytes, iterations: int, size: int) -> None:
        self._how = hash_, octets(password), octets(salt), iterations
        self._out, self._pointer = output(size)
        self._at = ffi.new("struct tee_pbkdf2 *")

    def run(self, task: Task | None = None) -> bytes:
        """The key, once. CANCEL: the guest of `task` is to stop; another `run` goes on where this one ended.

        TeeError(NOT_SUPPORTED): no such digest.
        """
        pointer = task.pointer if task else NO_TASK
        check(lib.tee_pbkdf2(pointer, *self._how, self._at, self._pointer, len(self._out)))
        return bytes(self._out)


def random(size: int) -> bytes:
    """From libcrypto's CSPRNG, seeded by the host's."""
    out, dst = output(size)
    check(lib.tee_random(dst, size))
    return bytes(out)
