"""Asymmetric system calls: what OP-TEE checks, in its order, with its results; pyca is the other side."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, padding, rsa, utils

from tee.abi import results
from tee.abi.algorithms import Algorithm, Mode
from tee.abi.attributes import Attr, Curve
from tee.abi.objects import ObjectType
from tests.tee.key_kit import key_ta, octets, operate, verify

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


def test_dsa(ta: FakeTask) -> None:
    private = dsa.generate_private_key(1024)
    numbers = private.private_numbers()
    public = numbers.public_numbers
    key = ta.alloc(_T.DSA_KEYPAIR, 1024)
    group = public.parameter_numbers
    attrs = [
        (Attr.DSA_PRIME, group.p), (Attr.DSA_SUBPRIME, group.q), (Attr.DSA_BASE, group.g),
        (Attr.DSA_PUBLIC_VALUE, public.y), (Attr.DSA_PRIVATE_VALUE, numbers.x),
    ]  # fmt: skip
    assert ta.populate(key, *((attr, octets(value)) for attr, value in attrs)) == results.SUCCESS
    half = len(octets(group.q))
    for algo, name in ((_A.DSA_SHA1, "sha1"), (_A.DSA_SHA256, "sha256")):
        digest = hashlib.new(name, b"message").digest()
        cut = digest[:half]
        result, signature, size = operate(ta, algo, Mode.SIGN, key, cut)
        assert (result, size) == (results.SUCCESS, 2 * half)
        der = utils.encode_dss_signature(
            *(int.from_bytes(part, "big") for part in (signature[:half], signature[half:]))
        )
        hash_ = hashes.SHA1() if name == "sha1" else hashes.SHA256()
        private.public_key().verify(der, digest, utils.Prehashed(hash_))
        r, s = utils.decode_dss_signature(private.sign(digest, utils.Prehashed(hash_)))
        theirs = r.to_bytes(half, "big") + s.to_bytes(half, "big")
        assert verify(ta, algo, key, digest, theirs) == results.SUCCESS
        assert verify(ta, algo, key, cut, theirs) == results.SUCCESS
        assert verify(ta, algo, key, cut[:-1], theirs) == results.BAD_PARAMETERS
        assert verify(ta, algo, key, cut, theirs[half:] + theirs[:half]) == results.SIGNATURE_INVALID
        assert verify(ta, algo, key, cut, bytes(2 * half)) == results.SIGNATURE_INVALID
        assert verify(ta, algo, key, cut, b"") == results.SIGNATURE_INVALID
        assert operate(ta, algo, Mode.SIGN, key, cut, room=2 * half - 1)[::2] == (results.SHORT_BUFFER, 2 * half)
        assert operate(ta, algo, Mode.SIGN, key, cut + b"x")[0] == results.SECURITY


CURVES: list[tuple[Curve, Algorithm, ec.EllipticCurve, hashes.HashAlgorithm]] = [
    (Curve.NIST_P192, _A.ECDSA_SHA1, ec.SECP192R1(), hashes.SHA1()),
    (Curve.NIST_P224, _A.ECDSA_SHA224, ec.SECP224R1(), hashes.SHA224()),
    (Curve.NIST_P256, _A.ECDSA_SHA256, ec.SECP256R1(), hashes.SHA256()),
    (Curve.NIST_P384, _A.ECDSA_SHA384, ec.SECP384R1(), hashes.SHA384()),
    (Curve.NIST_P521, _A.ECDSA_SHA512, ec.SECP521R1(), hashes.SHA512()),
]


@pytest.mark.parametrize(("curve", "algo", "group", "hash_"), CURVES, ids=[row[0].name for row in CURVES])
def test_ecdsa(
    ta: FakeTask, curve: Curve, algo: Algorithm, group: ec.EllipticCurve, hash_: hashes.HashAlgorithm
) -> None:
    half = (group.key_size + 7) // 8
    key = ta.alloc(_T.ECDSA_KEYPAIR, group.key_size)
    selector = (Attr.ECC_CURVE, int(curve))
    assert ta.call("cryp_obj_generate_key", key, group.key_size, *ta.attributes(selector)) == results.SUCCESS
    x, y = (int.from_bytes(ta.get(key, attr)[1], "big") for attr in (Attr.ECC_PUBLIC_VALUE_X, Attr.ECC_PUBLIC_VALUE_Y))
    d = int.from_bytes(ta.get(key, Attr.ECC_PRIVATE_VALUE)[1], "big")
    private = ec.derive_private_key(d, group)
    assert private.public_key().public_numbers() == ec.EllipticCurvePublicNumbers(x, y, group)
    digest = hashlib.new(hash_.name, b"message").digest()
    result, signature, size = operate(ta, algo, Mode.SIGN, key, digest)
    assert (result, size) == (results.SUCCESS, 2 * half)
    r, s = (int.from_bytes(part, "big") for part in (signature[:half], signature[half:]))
    ready = ec.ECDSA(utils.Prehashed(hash_))
    private.public_key().verify(utils.encode_dss_signature(r, s), digest, ready)
    public = ta.alloc(_T.ECDSA_PUBLIC_KEY, group.key_size)
    assert ta.call("cryp_obj_copy", public, key) == results.SUCCESS
    assert verify(ta, algo, public, digest, signature) == results.SUCCESS
    assert verify(ta, algo, public, digest, signature[:-1] + bytes([signature[-1] ^ 1])) == results.SIGNATURE_INVALID
    assert verify(ta, algo, public, digest, signature[:-1]) == results.BAD_PARAMETERS
    assert operate(ta, algo, Mode.SIGN, key, digest, room=2 * half - 1)[::2] == (results.SHORT_BUFFER, 2 * half)
    assert operate(ta, algo, Mode.VERIFY, public, digest)[0] == results.BAD_PARAMETERS
    # A digest longer than the order is cut to its leftmost bits; one of any length is taken.
    result, signature, _ = operate(ta, algo, Mode.SIGN, key, digest * 3)
    assert result == results.SUCCESS
    assert verify(ta, algo, public, digest * 3, signature) == results.SUCCESS
    if half < 66:
        assert verify(ta, algo, public, (digest * 3)[:half], signature) == results.SUCCESS
    other = _A.ECDSA_SHA384 if algo != _A.ECDSA_SHA384 else _A.ECDSA_SHA1
    assert operate(ta, other, Mode.SIGN, key, digest)[0] == results.BAD_PARAMETERS
    assert verify(ta, other, key, digest, signature) == results.BAD_PARAMETERS


def test_ed25519(ta: FakeTask) -> None:
    key = ta.alloc(_T.ED25519_KEYPAIR, 256)
    assert ta.call("cryp_obj_generate_key", key, 256, 0, 0) == results.SUCCESS
    private = ed25519.Ed25519PrivateKey.from_private_bytes(ta.get(key, Attr.ED25519_PRIVATE_VALUE)[1])
    public = private.public_key()
    assert ta.get(key, Attr.ED25519_PUBLIC_VALUE)[1] == public.public_bytes_raw()
    result, signature, size = operate(ta, _A.ED25519, Mode.SIGN, key, b"message")
    assert (result, size) == (results.SUCCESS, 64)
    assert signature == private.sign(b"message")
    assert verify(ta, _A.ED25519, key, b"message", signature) == results.SUCCESS
    assert verify(ta, _A.ED25519, key, b"Message", signature) == results.SIGNATURE_INVALID
    assert verify(ta, _A.ED25519, key, b"message", signature[:63]) == results.BAD_PARAMETERS
    assert operate(ta, _A.ED25519, Mode.SIGN, key, b"message", room=63)[::2] == (results.SHORT_BUFFER, 64)
    context = (Attr.EDDSA_CTX, b"foo")
    result, other, _ = operate(ta, _A.ED25519, Mode.SIGN, key, b"message", context)
    assert result == results.SUCCESS
    with pytest.raises(InvalidSignature):
        public.verify(other, b"message")
    assert verify(ta, _A.ED25519, key, b"message", other) == results.SIGNATURE_INVALID
    # An empty context is none, and a prehash of 0 is Ed25519 itself.
    plain: tuple[tuple[int, bytes | int], ...] = ((Attr.EDDSA_CTX, b""), (Attr.EDDSA_PREHASH, 0))
    assert operate(ta, _A.ED25519, Mode.SIGN, key, b"message", *plain)[1] == signature
    refused: tuple[tuple[tuple[int, bytes | int], ...], ...] = (
        (context, context),
        ((Attr.EDDSA_CTX, bytes(256)),),
        ((Attr.EDDSA_PREHASH, 2),),
        ((Attr.RSA_PSS_SALT_LENGTH, 1),),
    )
    for attrs in refused:
        assert operate(ta, _A.ED25519, Mode.SIGN, key, b"message", *attrs)[0] == results.BAD_PARAMETERS
        assert verify(ta, _A.ED25519, key, b"message", signature, *attrs) == results.BAD_PARAMETERS


def test_keys_that_are_not_set(ta: FakeTask) -> None:
    key = ta.alloc(_T.RSA_KEYPAIR, 512)
    assert operate(ta, _A.RSA_NOPAD, Mode.ENCRYPT, key, b"x")[0] == results.GENERIC
    assert verify(ta, _A.RSASSA_PKCS1_V1_5_SHA256, ta.alloc(_T.RSA_KEYPAIR, 512), bytes(32), b"") == (
        results.BAD_PARAMETERS
    )


def test_calls_on_other_states(ta: FakeTask) -> None:
    words = (0, 0, 0, 0, 0, ta.cell(0, 8))
    assert ta.call("asymm_operate", 999, *words) == results.BAD_PARAMETERS
    digest = ta.state(_A.SHA256, Mode.DIGEST)[1]
    assert ta.call("asymm_operate", digest, *words) == results.BAD_STATE
    mac = ta.state(_A.HMAC_SHA1, Mode.VERIFY, ta.key(_T.HMAC_SHA1, 80, bytes(10)))[1]
    assert ta.call("asymm_operate", mac, *words) == results.BAD_PARAMETERS
    assert ta.call("asymm_verify", mac, 0, 0, 0, 0, 0, 0) == results.NOT_SUPPORTED
