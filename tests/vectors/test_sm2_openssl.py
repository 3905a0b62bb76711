"""SM2 against the openssl program, since no published vector starts from our own random numbers."""

from __future__ import annotations

import base64
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tee.abi import results
from tee.abi.algorithms import Algorithm, Mode
from tee.abi.attributes import Attr
from tee.abi.objects import ObjectType
from tests.tee.key_kit import key_ta, operate, populated, verify
from tests.vectors import published_keys as published
from tests.vectors.test_signatures import SM2_POINT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.tee.fake_ta import FakeTask

_A = Algorithm
_T = ObjectType
_OID_SM2 = bytes.fromhex("06082a811ccf5501822d")
"""1.2.156.10197.1.301, as DER."""


@pytest.fixture
def ta() -> Iterator[FakeTask]:
    yield from key_ta()


def der(tag: int, content: bytes) -> bytes:
    size = len(content)
    head = bytes([tag, size]) if size < 128 else bytes([tag, 0x81, size])
    return head + content


def integer(number: bytes) -> bytes:
    number = number.lstrip(b"\0") or b"\0"
    return der(2, b"\0" * (number[0] >> 7) + number)


def parts(data: bytes) -> list[bytes]:
    """Contents of the elements of a SEQUENCE, whose lengths take at most two octets."""

    def split(text: bytes) -> Iterator[bytes]:
        while text:
            at = 2 if text[1] < 128 else 3
            size = text[at - 1]
            yield text[at : at + size]
            text = text[at + size :]

    return list(split(next(split(data))))


@pytest.fixture
def openssl(tmp_path: Path) -> Path:
    """The private key of GM/T's examples, as RFC 5915 writes one."""
    if shutil.which("openssl") is None:
        pytest.skip("the openssl program is not installed")
    public = der(0xA1, der(3, b"\0\4" + published.SM2_X + published.SM2_Y))
    key = der(0x30, integer(b"\1") + der(4, published.SM2_PRIVATE) + der(0xA0, _OID_SM2) + public)
    path = tmp_path / "key.pem"
    text = base64.encodebytes(key).decode()
    path.write_text(f"-----BEGIN EC PRIVATE KEY-----\n{text}-----END EC PRIVATE KEY-----\n")
    return path


def pkeyutl(key: Path, what: str, data: bytes, *options: str) -> bytes:
    words = ["openssl", "pkeyutl", f"-{what}", "-inkey", str(key), *options]
    done = subprocess.run(words, input=data, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("message", [b"x", b"encryption standard", bytes(100)])
def test_encryption(ta: FakeTask, openssl: Path, message: bytes) -> None:
    public = populated(ta, _T.SM2_PKE_PUBLIC_KEY, 256, *SM2_POINT)
    size = len(message) + 97
    result, sealed, reported = operate(ta, _A.SM2_PKE, Mode.ENCRYPT, public, message)
    assert (result, reported, sealed[0]) == (results.SUCCESS, size, 4)
    fields = integer(sealed[1:33]) + integer(sealed[33:65]) + der(4, sealed[-32:]) + der(4, sealed[65:-32])
    assert pkeyutl(openssl, "decrypt", der(0x30, fields)) == message
    assert operate(ta, _A.SM2_PKE, Mode.ENCRYPT, public, message, room=size - 1)[::2] == (results.SHORT_BUFFER, size)
    assert operate(ta, _A.SM2_PKE, Mode.ENCRYPT, public, message, room=64)[0] == results.BAD_STATE
    assert operate(ta, _A.SM2_PKE, Mode.ENCRYPT, public, b"")[0] == results.CIPHERTEXT_INVALID
    off = populated(ta, _T.SM2_PKE_PUBLIC_KEY, 256, SM2_POINT[0], (Attr.ECC_PUBLIC_VALUE_Y, published.SM2_X))
    assert operate(ta, _A.SM2_PKE, Mode.ENCRYPT, off, message)[0] == results.BAD_STATE

    pair = populated(ta, _T.SM2_PKE_KEYPAIR, 256, (Attr.ECC_PRIVATE_VALUE, published.SM2_PRIVATE), *SM2_POINT)
    x, y, check, masked = parts(pkeyutl(openssl, "encrypt", message))
    theirs = b"\4" + x.lstrip(b"\0").rjust(32, b"\0") + y.lstrip(b"\0").rjust(32, b"\0") + masked + check
    assert operate(ta, _A.SM2_PKE, Mode.DECRYPT, pair, theirs)[:2] == (results.SUCCESS, message)


def test_signature(ta: FakeTask, openssl: Path, tmp_path: Path) -> None:
    pair = populated(ta, _T.SM2_DSA_KEYPAIR, 256, (Attr.ECC_PRIVATE_VALUE, published.SM2_PRIVATE), *SM2_POINT)
    public = populated(ta, _T.SM2_DSA_PUBLIC_KEY, 256, *SM2_POINT)
    digest = bytes(range(32))
    result, signature, size = operate(ta, _A.SM2_DSA_SM3, Mode.SIGN, pair, digest)
    assert (result, size) == (results.SUCCESS, 64)
    path = tmp_path / "signature"
    path.write_bytes(der(0x30, integer(signature[:32]) + integer(signature[32:])))
    assert b"Signature Verified Successfully" in pkeyutl(openssl, "verify", digest, "-sigfile", str(path))
    r, s = (part.lstrip(b"\0").rjust(32, b"\0") for part in parts(pkeyutl(openssl, "sign", digest)))
    assert verify(ta, _A.SM2_DSA_SM3, public, digest, r + s) == results.SUCCESS
    assert operate(ta, _A.SM2_DSA_SM3, Mode.SIGN, pair, digest, room=63)[::2] == (results.SHORT_BUFFER, 64)
