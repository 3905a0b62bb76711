"""Asymmetric system calls but RSA's: what OP-TEE checks, in its order, with its results; pyca is the other side."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, utils

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


@pytest.fixture
def ta() -> Iterator[FakeTask]:
    yield from key_ta()


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


def test_dsa_in_an_unusual_group(ta: FakeTask) -> None:
    """OP-TEE takes a subgroup of any size; Python's integers do the other side."""
    q = (1 << 191) + 27  # 192 bits: none of FIPS 186
    while not all(pow(base, q - 1, q) == 1 for base in (2, 3, 5, 7)):
        q += 2
    k = 1 << 320
    while not all(pow(base, k * q, k * q + 1) == 1 for base in (2, 3, 5, 7)):
        k += 2
    p = k * q + 1
    g = pow(2, k, p)
    x = 0x1234567890ABCDEF
    group = [(Attr.DSA_PRIME, p), (Attr.DSA_SUBPRIME, q), (Attr.DSA_BASE, g)]
    values = [*group, (Attr.DSA_PRIVATE_VALUE, x), (Attr.DSA_PUBLIC_VALUE, pow(g, x, p))]
    key = ta.alloc(_T.DSA_KEYPAIR, 512)
    assert ta.populate(key, *((attr, octets(value)) for attr, value in values)) == results.SUCCESS
    digest = hashlib.sha256(b"message").digest()[:24]
    result, signature, size = operate(ta, _A.DSA_SHA256, Mode.SIGN, key, digest)
    assert (result, size) == (results.SUCCESS, 48)
    r, s = (int.from_bytes(half, "big") for half in (signature[:24], signature[24:]))
    w = pow(s, -1, q)
    h = int.from_bytes(digest, "big")
    assert pow(g, h * w % q, p) * pow(pow(g, x, p), r * w % q, p) % p % q == r
    assert verify(ta, _A.DSA_SHA256, key, digest, signature) == results.SUCCESS
    for wrong in (bytes(48), b"\xff" * 48, signature[24:] + signature[:24], b""):
        assert verify(ta, _A.DSA_SHA256, key, digest, wrong) == results.SIGNATURE_INVALID


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


@pytest.mark.parametrize("size", [0, 1, 31, 33, 64, 200])
def test_sm2_signs_a_digest_of_any_length(ta: FakeTask, size: int) -> None:
    """OP-TEE's sm2-dsa.c takes it as a number; libcrypto takes 32 octets, which stand for the same number."""
    key = ta.alloc(_T.SM2_DSA_KEYPAIR, 256)
    assert ta.call("cryp_obj_generate_key", key, 256, *ta.attributes()) == results.SUCCESS
    public = ta.alloc(_T.SM2_DSA_PUBLIC_KEY, 256)
    assert ta.call("cryp_obj_copy", public, key) == results.SUCCESS
    digest = b"\xfe" * size
    result, signature, _ = operate(ta, _A.SM2_DSA_SM3, Mode.SIGN, key, digest)
    assert result == results.SUCCESS
    order = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123  # GM/T 0003.5
    same = (int.from_bytes(digest, "big") % order).to_bytes(32, "big")
    assert verify(ta, _A.SM2_DSA_SM3, public, same, signature) == results.SUCCESS
    assert verify(ta, _A.SM2_DSA_SM3, public, digest, signature) == results.SUCCESS
    assert verify(ta, _A.SM2_DSA_SM3, public, digest + b"x", signature) == results.SIGNATURE_INVALID
