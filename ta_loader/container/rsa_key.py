"""RSA public keys as numbers: read from PEM files, written as SubjectPublicKeyInfo for fingerprints.

Done here, not in libcrypto, because a fingerprint and OP-TEE's TA encryption key need the modulus itself.
Sources: RFC 7468 (PEM), RFC 8017 appendix A.1 (PKCS #1), RFC 5208 (PKCS #8), RFC 5280 §4.1.2.7 (SPKI), X.690 (DER).
"""

from __future__ import annotations

from binascii import Error as Base64Error
from binascii import a2b_base64
from typing import Final, NamedTuple

from ta_loader.errors import UsageError

_SEQUENCE: Final = 0x30
_INTEGER: Final = 0x02
_BIT_STRING: Final = 0x03
_OCTET_STRING: Final = 0x04
_RSA_ENCRYPTION: Final = bytes.fromhex("06092a864886f70d010101")
"""OBJECT IDENTIFIER 1.2.840.113549.1.1.1, with its DER header."""
_NULL: Final = b"\x05\x00"


class RsaPublicKey(NamedTuple):
    """modulus, exponent: big-endian, no leading zeros."""

    modulus: bytes
    exponent: bytes

    @property
    def bits(self) -> int:
        return len(self.modulus) * 8 - 8 + self.modulus[0].bit_length() if self.modulus else 0

    def spki(self) -> bytes:
        """DER SubjectPublicKeyInfo, as `openssl rsa -pubout -outform DER` writes it."""
        numbers = _encode(_SEQUENCE, _integer(self.modulus) + _integer(self.exponent))
        algorithm = _encode(_SEQUENCE, _RSA_ENCRYPTION + _NULL)
        return _encode(_SEQUENCE, algorithm + _encode(_BIT_STRING, b"\0" + numbers))


def read_pem(text: bytes, name: str) -> RsaPublicKey:
    """The public half of the first RSA key in a PEM file, public or private. `name` is for UsageError's message."""
    for label in (b"PUBLIC KEY", b"RSA PUBLIC KEY", b"PRIVATE KEY", b"RSA PRIVATE KEY"):
        head, found, rest = text.partition(b"-----BEGIN " + label + b"-----")
        body, closed, _ = rest.partition(b"-----END " + label + b"-----")
        if not found:
            continue
        if not closed:
            raise UsageError(f"{name}: the PEM block {label.decode()} has no end")
        if b":" in body:
            raise UsageError(f"{name}: the private key is encrypted; name its public key instead")
        try:
            der = a2b_base64(b"".join(body.split()), strict_mode=True)
            key = _from_der(der, label)
        except (Base64Error, ValueError) as problem:
            raise UsageError(f"{name}: no RSA key in the PEM block {label.decode()} ({problem})") from None
        if key.bits < 512 or not key.modulus[-1] & 1 or not key.exponent or not key.exponent[-1] & 1:
            raise UsageError(f"{name}: the numbers of the RSA key make no sense")
        return key
    if b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in text:
        raise UsageError(f"{name}: the private key is encrypted; name its public key instead")
    raise UsageError(f"{name}: no public or private key in PEM form")


def _from_der(der: bytes, label: bytes) -> RsaPublicKey:
    reader = _Reader(der).enter(_SEQUENCE)
    private = label.endswith(b"PRIVATE KEY")
    if private:
        reader.take(_INTEGER)  # version
    if not label.startswith(b"RSA "):
        algorithm = reader.take(_SEQUENCE)
        if not algorithm.startswith(_RSA_ENCRYPTION):
            raise ValueError("another algorithm's key")
        inner = reader.take(_OCTET_STRING if private else _BIT_STRING)
        if not private:
            if inner[:1] != b"\0":
                raise ValueError("bit string with unused bits")
            inner = inner[1:]
        return _from_der(inner, b"RSA " + label)
    modulus = reader.take(_INTEGER).lstrip(b"\0")
    return RsaPublicKey(modulus, reader.take(_INTEGER).lstrip(b"\0"))


class _Reader:
    """DER elements of `data` in order; ValueError when they are not as asked."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, tag: int) -> bytes:
        data, start = self._data, self._at + 2
        if start > len(data) or data[self._at] != tag:
            raise ValueError(f"no DER element 0x{tag:02x} at offset {self._at}")
        size = data[self._at + 1]
        if size & 0x80:
            octets = size & 0x7F
            if not 1 <= octets <= 4 or start + octets > len(data):
                raise ValueError("malformed DER length")
            size = int.from_bytes(data[start : start + octets], "big")
            start += octets
        if start + size > len(data):
            raise ValueError("DER element goes beyond its container")
        self._at = start + size
        return data[start : start + size]

    def enter(self, tag: int) -> _Reader:
        return _Reader(self.take(tag))


def _encode(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content


def _integer(magnitude: bytes) -> bytes:
    return _encode(_INTEGER, b"\0" + magnitude if magnitude[0] & 0x80 else magnitude)
