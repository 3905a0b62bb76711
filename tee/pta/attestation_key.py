"""The attestation PTA's key pair, in the form in which OP-TEE stores it.

Apart, because `cryptography` takes a while to import. Source: optee_os core/pta/attestation.c (serialize_key).
"""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256

from tee.abi import results
from tee.abi.pta_attestation import DIGEST_SIZE, KEY_BITS, MAX_KEY_BITS, PUBLIC_EXPONENT
from tee.errors import TeeError


class AttestationKey:
    """exponent, modulus: big-endian, without leading zeros."""

    def __init__(self, pair: rsa.RSAPrivateKey) -> None:
        self._pair = pair
        public = pair.public_key().public_numbers()
        self.exponent = _octets(public.e)
        self.modulus = _octets(public.n)

    @classmethod
    def generate(cls, bits: int = KEY_BITS) -> AttestationKey:
        return cls(rsa.generate_private_key(PUBLIC_EXPONENT, bits))

    @classmethod
    def parse(cls, data: bytes) -> AttestationKey:
        """Inverse of `serialize`; what follows, as OP-TEE pads its file, is not looked at.

        TeeError(CORRUPT_OBJECT) if this is no key.
        """
        numbers = []
        rest = data
        for _ in range(3):
            size = int.from_bytes(rest[:2], "big")
            if not 0 < size <= len(rest) - 2 or size > MAX_KEY_BITS // 8:
                raise TeeError(results.CORRUPT_OBJECT, "the attestation key is damaged")
            numbers.append(int.from_bytes(rest[2 : 2 + size], "big"))
            rest = rest[2 + size :]
        e, d, n = numbers
        try:
            p, q = rsa.rsa_recover_prime_factors(n, e, d)
            private = rsa.RSAPrivateNumbers(
                p, q, d, rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q),
                rsa.RSAPublicNumbers(e, n),
            )  # fmt: skip
            return cls(private.private_key())
        except (ValueError, ZeroDivisionError, UnsupportedAlgorithm):
            raise TeeError(results.CORRUPT_OBJECT, "the attestation key is damaged") from None

    def serialize(self) -> bytes:
        """Public exponent, private exponent and modulus, each after its size in two bytes, all big-endian."""
        private = _octets(self._pair.private_numbers().d)
        return b"".join(len(one).to_bytes(2, "big") + one for one in (self.exponent, private, self.modulus))

    def sign(self, digest: bytes) -> bytes:
        """RSASSA-PSS with MGF1 and SHA-256 over a SHA-256 digest."""
        pss = padding.PSS(padding.MGF1(SHA256()), DIGEST_SIZE)
        return self._pair.sign(digest, pss, Prehashed(SHA256()))


def _octets(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")
