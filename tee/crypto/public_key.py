"""Public keys that check signatures of TAs (tee/csrc/key.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee.abi import results
from tee.crypto.ffi import ffi, lib, octets, output
from tee.errors import TeeError

if TYPE_CHECKING:
    from tee._native import KeyPointer
    from tee.crypto.ffi import Data


class PublicKey:
    """An RSA or NIST-curve public key that checks signatures of TAs."""

    def __init__(self, key: KeyPointer) -> None:
        self._key = key

    @classmethod
    def from_pem(cls, pem: Data) -> PublicKey:
        """From a public or (unencrypted) private key; TeeError(BAD_FORMAT) if it is neither."""
        return cls._own(lib.tee_key_from_pem(*octets(pem)), "not a PEM key of a kind that signs TAs")

    @classmethod
    def from_rsa(cls, n: Data, e: Data) -> PublicKey:
        """From modulus and public exponent, big-endian; TeeError(BAD_FORMAT) if they make no key."""
        return cls._own(lib.tee_key_from_rsa(*octets(n), *octets(e)), "not an RSA modulus and exponent")

    @classmethod
    def _own(cls, key: KeyPointer, what: str) -> PublicKey:
        if not key:
            raise TeeError(results.BAD_FORMAT, what)
        return cls(ffi.gc(key, lib.tee_key_free))

    @property
    def kind(self) -> str:
        """'rsa' or 'ec'."""
        return "rsa" if lib.tee_key_kind(self._key) == 1 else "ec"

    @property
    def bits(self) -> int:
        """Size of the modulus or of the curve."""
        return lib.tee_key_bits(self._key)

    def rsa_numbers(self) -> tuple[bytes, bytes]:
        """(modulus, exponent), big-endian without leading zeros; TeeError(BAD_PARAMETERS) for EC."""
        return self._number(0), self._number(1)

    def _number(self, which: int) -> bytes:
        out, pointer = output(2048)
        size = lib.tee_key_number(self._key, which, pointer, len(out))
        if size <= 0:
            raise TeeError(results.BAD_PARAMETERS, "not an RSA key")
        return bytes(out[:size])

    def verify(self, algo: int, digest: Data, signature: Data) -> bool:
        """Whether `signature` over `digest` is right under TEE_ALG_RSASSA_* or TEE_ALG_ECDSA_*.

        PSS salt: as long as the digest, same hash in MGF1 (core/crypto/signed_hdr.c). ECDSA: r || s.
        False also for an algorithm that does not fit the key. Which hashes and sizes are too weak
        is the caller's policy.
        """
        return bool(lib.tee_key_verify(self._key, algo, *octets(digest), *octets(signature)))
