"""RSA by system call: what OP-TEE checks, in its order, with its results; pyca is the other side."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils

from tee.abi import results
from tee.abi.algorithms import Algorithm, Mode
from tee.abi.attributes import Attr
from tee.abi.objects import ObjectType
from tests.tee.key_kit import key_ta, octets, operate, populated, verify

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.tee.fake_ta import FakeTask

_A = Algorithm
_T = ObjectType

PRIVATE = rsa.generate_private_key(65537, 1024)
BYTES = 128


@pytest.fixture
def ta() -> Iterator[FakeTask]:
    yield from key_ta()


def rsa_pair(ta: FakeTask, *, crt: bool = True) -> int:
    numbers = PRIVATE.private_numbers()
    n, e = numbers.public_numbers.n, numbers.public_numbers.e
    attrs = [(Attr.RSA_MODULUS, n), (Attr.RSA_PUBLIC_EXPONENT, e), (Attr.RSA_PRIVATE_EXPONENT, numbers.d)]
    if crt:
        attrs += [
            (Attr.RSA_PRIME1, numbers.p),
            (Attr.RSA_PRIME2, numbers.q),
            (Attr.RSA_EXPONENT1, numbers.dmp1),
            (Attr.RSA_EXPONENT2, numbers.dmq1),
            (Attr.RSA_COEFFICIENT, numbers.iqmp),
        ]
    key = ta.alloc(_T.RSA_KEYPAIR, 1024)
    assert ta.populate(key, *((attr, octets(value)) for attr, value in attrs)) == results.SUCCESS
    return key


HASHES: list[tuple[str, hashes.HashAlgorithm]] = [
    ("MD5", hashes.MD5()),
    ("SHA1", hashes.SHA1()),
    ("SHA224", hashes.SHA224()),
    ("SHA256", hashes.SHA256()),
    ("SHA384", hashes.SHA384()),
    ("SHA512", hashes.SHA512()),
    ("SHA3_256", hashes.SHA3_256()),
]


@pytest.mark.parametrize(("name", "hash_"), HASHES, ids=lambda each: each if isinstance(each, str) else "")
@pytest.mark.parametrize("crt", [True, False])
def test_rsa_signatures(ta: FakeTask, name: str, hash_: hashes.HashAlgorithm, crt: bool) -> None:
    key = rsa_pair(ta, crt=crt)
    digest = hashlib.new(hash_.name.replace("-", "_"), b"message").digest()
    ready = utils.Prehashed(hash_)
    old, new = Algorithm[f"RSASSA_PKCS1_V1_5_{name}"], Algorithm[f"RSASSA_PKCS1_PSS_MGF1_{name}"]
    result, signature, _ = operate(ta, old, Mode.SIGN, key, digest)
    assert result == results.SUCCESS
    PRIVATE.public_key().verify(signature, digest, padding.PKCS1v15(), ready)
    assert verify(ta, old, key, digest, signature) == results.SUCCESS
    for salt in (len(digest), 0, 20):
        attrs = [(Attr.RSA_PSS_SALT_LENGTH, salt)] if salt != len(digest) else []
        pss = padding.PSS(padding.MGF1(hash_), salt)
        result, signature, _ = operate(ta, new, Mode.SIGN, key, digest, *attrs, room=BYTES)
        if len(digest) + salt + 2 > BYTES:
            assert result == results.BAD_PARAMETERS
            continue
        PRIVATE.public_key().verify(signature, digest, pss, ready)
        theirs = PRIVATE.sign(digest, pss, ready)
        assert verify(ta, new, key, digest, theirs, *attrs) == results.SUCCESS
        assert verify(ta, new, key, digest, theirs, (Attr.RSA_PSS_SALT_LENGTH, salt + 1)) == results.SIGNATURE_INVALID
        # A salt length that is none is the default (pkcs1_get_salt_len).
        expected = results.SUCCESS if salt == len(digest) else results.SIGNATURE_INVALID
        assert verify(ta, new, key, digest, theirs, (Attr.RSA_PSS_SALT_LENGTH, 0xFFFFFFFF)) == expected
    assert operate(ta, old, Mode.SIGN, key, digest[:-1])[0] == results.BAD_PARAMETERS
    assert operate(ta, old, Mode.SIGN, key, digest, room=BYTES - 1)[::2] == (results.SHORT_BUFFER, BYTES)
    assert operate(ta, old, Mode.SIGN, key, digest, room=0)[::2] == (results.SHORT_BUFFER, BYTES)
    assert operate(ta, old, Mode.VERIFY, key, digest)[0] == results.BAD_PARAMETERS
    assert verify(ta, old, key, digest, bytes(BYTES)) == results.SIGNATURE_INVALID
    assert verify(ta, old, key, digest, bytes(BYTES - 1)) == results.SIGNATURE_INVALID
    assert verify(ta, old, key, digest, b"\xff" * BYTES) == results.SIGNATURE_INVALID
    assert verify(ta, old, key, digest + b"x", bytes(BYTES)) == results.BAD_PARAMETERS


def test_rsa_signature_without_a_hash(ta: FakeTask) -> None:
    key = rsa_pair(ta)
    result, signature, _ = operate(ta, _A.RSASSA_PKCS1_V1_5, Mode.SIGN, key, b"any text")
    assert result == results.SUCCESS
    block = pow(int.from_bytes(signature, "big"), 65537, PRIVATE.public_key().public_numbers().n)
    assert block.to_bytes(BYTES, "big") == b"\0\1" + b"\xff" * (BYTES - 11) + b"\0any text"
    assert verify(ta, _A.RSASSA_PKCS1_V1_5, key, b"any text", signature) == results.SUCCESS
    assert verify(ta, _A.RSASSA_PKCS1_V1_5, key, b"any texT", signature) == results.SIGNATURE_INVALID
    assert operate(ta, _A.RSASSA_PKCS1_V1_5, Mode.SIGN, key, bytes(BYTES - 10))[0] == results.BAD_PARAMETERS


def test_rsa_signature_with_md5_and_sha1(ta: FakeTask) -> None:
    """TLS 1.1's: no ASN.1 around the 36 octets."""
    key = rsa_pair(ta)
    digest = bytes(range(36))
    result, signature, _ = operate(ta, _A.RSASSA_PKCS1_V1_5_MD5SHA1, Mode.SIGN, key, digest)
    assert result == results.SUCCESS
    block = pow(int.from_bytes(signature, "big"), 65537, PRIVATE.public_key().public_numbers().n)
    assert block.to_bytes(BYTES, "big").endswith(b"\xff\0" + digest)
    assert verify(ta, _A.RSASSA_PKCS1_V1_5_MD5SHA1, key, digest, signature) == results.SUCCESS


@pytest.mark.parametrize("crt", [True, False])
def test_rsa_pkcs1_encryption(ta: FakeTask, crt: bool) -> None:
    key = rsa_pair(ta, crt=crt)
    algo = _A.RSAES_PKCS1_V1_5
    for text in (b"", b"x", bytes(BYTES - 11)):
        result, sealed, size = operate(ta, algo, Mode.ENCRYPT, key, text)
        assert (result, size) == (results.SUCCESS, BYTES)
        assert PRIVATE.decrypt(sealed, padding.PKCS1v15()) == text
        theirs = PRIVATE.public_key().encrypt(text, padding.PKCS1v15())
        assert operate(ta, algo, Mode.DECRYPT, key, theirs)[:2] == (results.SUCCESS, text)
    assert operate(ta, algo, Mode.ENCRYPT, key, bytes(BYTES - 10))[0] == results.BAD_PARAMETERS
    assert operate(ta, algo, Mode.ENCRYPT, key, b"x", room=BYTES - 1)[::2] == (results.SHORT_BUFFER, BYTES)
    theirs = PRIVATE.public_key().encrypt(b"secret", padding.PKCS1v15())
    assert operate(ta, algo, Mode.DECRYPT, key, theirs, room=5)[::2] == (results.SHORT_BUFFER, 6)
    # A ciphertext that is wrong in any way: one result.
    for wrong in (theirs[:-1], theirs + b"\0", b"\xff" * BYTES, bytes(BYTES), theirs[:-1] + bytes([theirs[-1] ^ 1])):
        assert operate(ta, algo, Mode.DECRYPT, key, wrong)[0] == results.BAD_PARAMETERS
    assert operate(ta, algo, Mode.SIGN, key, b"x")[0] == results.BAD_PARAMETERS


def test_rsa_oaep(ta: FakeTask) -> None:
    key = rsa_pair(ta)
    algo = _A.RSAES_PKCS1_OAEP_MGF1_SHA256
    label = (Attr.RSA_OAEP_LABEL, b"label")
    sha1 = (Attr.RSA_OAEP_MGF_HASH, int(_A.SHA1).to_bytes(4, "little"))
    cases = (
        ((), hashes.SHA256(), None),
        ((label,), hashes.SHA256(), b"label"),
        ((sha1, label), hashes.SHA1(), b"label"),
        ((label, sha1), hashes.SHA256(), b"label"),  # after a label nothing is looked at
    )
    mgf: hashes.HashAlgorithm
    for attrs, mgf, name in cases:
        way = padding.OAEP(padding.MGF1(mgf), hashes.SHA256(), name)
        result, sealed, _ = operate(ta, algo, Mode.ENCRYPT, key, b"text", *attrs)
        assert result == results.SUCCESS
        assert PRIVATE.decrypt(sealed, way) == b"text"
        theirs = PRIVATE.public_key().encrypt(b"text", way)
        assert operate(ta, algo, Mode.DECRYPT, key, theirs, *attrs)[:2] == (results.SUCCESS, b"text")
        other = (Attr.RSA_OAEP_LABEL, b"other")
        assert operate(ta, algo, Mode.DECRYPT, key, theirs, other)[0] == results.BAD_PARAMETERS
    assert operate(ta, algo, Mode.ENCRYPT, key, b"x", (Attr.RSA_OAEP_MGF_HASH, b"123"))[0] == results.BAD_PARAMETERS
    bad = (Attr.RSA_OAEP_MGF_HASH, int(_A.AES_CTR).to_bytes(4, "little"))
    assert operate(ta, algo, Mode.ENCRYPT, key, b"x", bad)[0] == results.BAD_PARAMETERS
    assert operate(ta, algo, Mode.ENCRYPT, key, bytes(BYTES - 65))[0] == results.BAD_PARAMETERS


def test_rsa_without_padding(ta: FakeTask) -> None:
    numbers = PRIVATE.private_numbers()
    n = numbers.public_numbers.n
    key = rsa_pair(ta)
    for text in (b"\0\0\x02", b"x", b"\0" * 200 + b"y", octets(n - 1)):
        number = int.from_bytes(text, "big")
        assert operate(ta, _A.RSA_NOPAD, Mode.ENCRYPT, key, text)[:2] == (
            results.SUCCESS, octets(pow(number, 65537, n))
        )  # fmt: skip
        assert operate(ta, _A.RSA_NOPAD, Mode.DECRYPT, key, text)[:2] == (
            results.SUCCESS, octets(pow(number, numbers.d, n))
        )  # fmt: skip
    for zero in (b"", b"\0", octets(n)):
        assert operate(ta, _A.RSA_NOPAD, Mode.ENCRYPT, key, zero)[:2] == (results.SUCCESS, b"\0")
    assert operate(ta, _A.RSA_NOPAD, Mode.ENCRYPT, key, octets(n + 1))[0] == results.BAD_PARAMETERS
    assert operate(ta, _A.RSA_NOPAD, Mode.ENCRYPT, key, b"\1" + bytes(BYTES))[0] == results.BAD_PARAMETERS
    assert operate(ta, _A.RSA_NOPAD, Mode.ENCRYPT, key, b"\1", room=0)[::2] == (results.SHORT_BUFFER, 1)
    assert operate(ta, _A.RSA_NOPAD, Mode.SIGN, key, b"\1")[0] == results.GENERIC


def _private(bits: int, e: int) -> rsa.RSAPrivateKey:
    """A key with an exponent that pyca does not generate with; `bits` is even."""
    while True:
        numbers = rsa.generate_private_key(65537, bits).private_numbers()
        p, q = numbers.p, numbers.q
        order = math.lcm(p - 1, q - 1)
        if math.gcd(e, order) == 1:
            d = pow(e, -1, order)
            public = rsa.RSAPublicNumbers(e, p * q)
            crt = rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q)
            return rsa.RSAPrivateNumbers(p, q, d, *crt, public).private_key(unsafe_skip_rsa_key_validation=True)


LARGE = [(1 << 64) + 13, (1 << 255) - 19, (1 << 1000) + 1]


@pytest.mark.parametrize("bits", [3072, 3088, 4096])
@pytest.mark.parametrize("e", LARGE, ids=lambda e: f"e of {e.bit_length()} bits")
def test_rsa_with_a_large_exponent(ta: FakeTask, bits: int, e: int) -> None:
    """libcrypto does not compute with one of more than 64 bits under a modulus of more than 3,072; OP-TEE does."""
    private = _private(bits, e)
    n, size = private.private_numbers().public_numbers.n, bits // 8
    key = populated(ta, _T.RSA_PUBLIC_KEY, 4096, (Attr.RSA_MODULUS, octets(n)), (Attr.RSA_PUBLIC_EXPONENT, octets(e)))
    digest, sha = hashlib.sha256(b"message").digest(), hashes.SHA256()
    for algo, pad in (
        (_A.RSASSA_PKCS1_V1_5_SHA256, padding.PKCS1v15()),
        (_A.RSASSA_PKCS1_PSS_MGF1_SHA256, padding.PSS(padding.MGF1(sha), 32)),
    ):
        signature = private.sign(digest, pad, utils.Prehashed(sha))
        assert verify(ta, algo, key, digest, signature) == results.SUCCESS
        assert verify(ta, algo, key, bytes(32), signature) == results.SIGNATURE_INVALID
        changed = signature[:-1] + bytes((signature[-1] ^ 1,))
        assert verify(ta, algo, key, digest, changed) == results.SIGNATURE_INVALID
        assert verify(ta, algo, key, digest, b"\xff" * size) == results.SIGNATURE_INVALID  # above the modulus
    for algo, way in (
        (_A.RSAES_PKCS1_V1_5, padding.PKCS1v15()),
        (_A.RSAES_PKCS1_OAEP_MGF1_SHA256, padding.OAEP(padding.MGF1(sha), sha, None)),
    ):
        for message in (b"secret", b""):
            result, sealed, _ = operate(ta, algo, Mode.ENCRYPT, key, message)
            assert result == results.SUCCESS
            assert private.decrypt(sealed, way) == message
    result, sealed, _ = operate(ta, _A.RSA_NOPAD, Mode.ENCRYPT, key, b"\x7f" * size)
    assert (result, int.from_bytes(sealed, "big")) == (0, pow(int.from_bytes(b"\x7f" * size, "big"), e, n))


def test_rsa_with_an_exponent_above_the_modulus(ta: FakeTask) -> None:
    numbers = PRIVATE.private_numbers()
    n = numbers.public_numbers.n
    period = math.lcm(numbers.p - 1, numbers.q - 1)  # of exponents; how much below n it is differs from key to key
    e = 65537 + period * (n // period + 1)
    assert e > n
    key = populated(ta, _T.RSA_PUBLIC_KEY, 1024, (Attr.RSA_MODULUS, octets(n)), (Attr.RSA_PUBLIC_EXPONENT, octets(e)))
    digest = hashlib.sha256(b"message").digest()
    signature = PRIVATE.sign(digest, padding.PKCS1v15(), utils.Prehashed(hashes.SHA256()))
    assert verify(ta, _A.RSASSA_PKCS1_V1_5_SHA256, key, digest, signature) == results.SUCCESS


@pytest.mark.parametrize("crt", [True, False])
@pytest.mark.parametrize("size", [0, 1, BYTES - 11])
def test_rsa_signatures_without_a_hash_are_of_any_length(ta: FakeTask, crt: bool, size: int) -> None:
    key = rsa_pair(ta, crt=crt)
    message = b"m" * size
    result, signature, _ = operate(ta, _A.RSASSA_PKCS1_V1_5, Mode.SIGN, key, message)
    assert result == results.SUCCESS
    numbers = PRIVATE.public_key().public_numbers()
    padded = pow(int.from_bytes(signature, "big"), numbers.e, numbers.n).to_bytes(BYTES, "big")
    assert padded == b"\0\1" + b"\xff" * (BYTES - 3 - size) + b"\0" + message
    assert verify(ta, _A.RSASSA_PKCS1_V1_5, key, message, signature) == results.SUCCESS
    assert verify(ta, _A.RSASSA_PKCS1_V1_5, key, message + b"m", signature) == results.SIGNATURE_INVALID
    other = bytes([signature[0] ^ 1]) + signature[1:]
    assert verify(ta, _A.RSASSA_PKCS1_V1_5, key, message, other) == results.SIGNATURE_INVALID
    if size:
        assert verify(ta, _A.RSASSA_PKCS1_V1_5, key, b"", signature) == results.SIGNATURE_INVALID
