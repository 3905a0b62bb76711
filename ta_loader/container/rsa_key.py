"""RSA public keys: their numbers, their fingerprints, and the signatures they check.

Sources: RFC 8017 appendix A.1 (PKCS #1), RFC 5280 §4.1.2.7 (SPKI), X.690 (DER).
"""

from __future__ import annotations

from typing import Final, NamedTuple

from tee.crypto import oneshot
from tee.crypto.public_key import PublicKey
from tee.errors import TeeError

_SEQUENCE: Final = 0x30
_INTEGER: Final = 0x02
_BIT_STRING: Final = 0x03
_RSA_ENCRYPTION: Final = bytes.fromhex("06092a864886f70d010101")
"""OBJECT IDENTIFIER 1.2.840.113549.1.1.1, with its DER header."""
_NULL: Final = b"\x05\x00"


class RsaPublicKey(NamedTuple):
    """modulus, exponent: big-endian, no leading zeros, not empty."""

    modulus: bytes
    exponent: bytes

    @property
    def bits(self) -> int:
        return len(self.modulus) * 8 - 8 + self.modulus[0].bit_length()

    def spki(self) -> bytes:
        """DER SubjectPublicKeyInfo, as `openssl rsa -pubout -outform DER` writes it."""
        numbers = _encode(_SEQUENCE, _integer(self.modulus) + _integer(self.exponent))
        algorithm = _encode(_SEQUENCE, _RSA_ENCRYPTION + _NULL)
        return _encode(_SEQUENCE, algorithm + _encode(_BIT_STRING, b"\0" + numbers))


class Verifier:
    """An RSA public key that checks signatures. name: a file's base name, or which subkey it is."""

    __slots__ = ("_key", "fingerprint", "name", "numbers")

    def __init__(self, numbers: RsaPublicKey, name: str) -> None:
        """ValueError when libcrypto does not take the numbers."""
        self.name = name
        self.numbers = numbers
        self.fingerprint = oneshot.digest("sha256", numbers.spki()).hex()
        try:
            self._key = PublicKey.from_rsa(numbers.modulus, numbers.exponent)
        except (TeeError, ValueError) as problem:
            raise ValueError(f"{name}: libcrypto refuses the RSA key ({problem})") from None

    def __str__(self) -> str:
        return f"{self.name} sha256:{self.fingerprint[:16]}"

    def verify(self, algo: int, digest: bytes, signature: bytes) -> bool:
        """Whether this key made `signature` over `digest`; algo: TEE_ALG_RSASSA_*. RFC 8017 §8.1.2 and §8.2.2."""
        if len(signature) != len(self.numbers.modulus):
            return False
        return self._key.verify(algo, digest, signature)


def _encode(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content


def _integer(magnitude: bytes) -> bytes:
    return _encode(_INTEGER, b"\0" + magnitude if magnitude[0] & 0x80 else magnitude)
