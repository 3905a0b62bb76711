"""tee.crypto.public_key: pyca signs, we verify; what is malformed or does not fit is refused."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from hypothesis import given
from hypothesis import strategies as st

from tee.abi import results
from tee.crypto import oneshot
from tee.crypto.public_key import PublicKey
from tee.errors import TeeError

HASHES: dict[int, hashes.HashAlgorithm] = {
    2: hashes.SHA1(),
    3: hashes.SHA224(),
    4: hashes.SHA256(),
    5: hashes.SHA384(),
    6: hashes.SHA512(),
    8: hashes.SHA3_224(),
    9: hashes.SHA3_256(),
    10: hashes.SHA3_384(),
    11: hashes.SHA3_512(),
}
CURVES = [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1(), ec.SECP224R1()]

RSA = rsa.generate_private_key(65537, 2048)
NUMBERS = RSA.public_key().public_numbers()
N, E = NUMBERS.n.to_bytes(256, "big"), NUMBERS.e.to_bytes(3, "big")


def pkcs1(h: int) -> int:
    return 0x70000830 | h << 12


def pss(h: int) -> int:
    return 0x70000930 | h << 12 | h << 20


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, public: bool) -> bytes:
    if public:
        return key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


@pytest.mark.parametrize("h", sorted(HASHES))
@pytest.mark.parametrize("make", ["public", "private", "numbers"])
def test_rsa(h: int, make: str) -> None:
    key = PublicKey.from_rsa(N, E) if make == "numbers" else PublicKey.from_pem(pem(RSA, make == "public"))
    assert (key.kind, key.bits, key.rsa_numbers()) == ("rsa", 2048, (N, E))
    hash_ = HASHES[h]
    digest = hashlib.new(hash_.name.replace("-", "_"), b"image").digest()
    ready = utils.Prehashed(hash_)
    old = RSA.sign(digest, padding.PKCS1v15(), ready)
    new = RSA.sign(digest, padding.PSS(padding.MGF1(hash_), len(digest)), ready)
    assert key.verify(pkcs1(h), digest, old)
    assert key.verify(pss(h), digest, new)
    assert not key.verify(pss(h), digest, old)
    assert not key.verify(pkcs1(h), digest, new)
    assert not key.verify(pss(h), digest[:-1] + bytes([digest[-1] ^ 1]), new)
    assert not key.verify(pss(h), digest[:-1], new)
    assert not key.verify(pss(h), digest, new + b"\0")
    assert not key.verify(pss(h), digest, b"\0" + new)
    assert not key.verify(pss(h), digest, b"")
    assert not key.verify(pkcs1(h), b"", old)


def test_salt_must_be_as_long_as_the_digest() -> None:
    key = PublicKey.from_rsa(N, E)
    digest = hashlib.sha256(b"x").digest()
    for salt in (0, 20, 31, 33):
        signature = RSA.sign(digest, padding.PSS(padding.MGF1(hashes.SHA256()), salt), utils.Prehashed(hashes.SHA256()))
        assert not key.verify(pss(4), digest, signature)


def test_mgf_hash_must_be_the_digest_hash() -> None:
    digest = hashlib.sha256(b"x").digest()
    signature = RSA.sign(digest, padding.PSS(padding.MGF1(hashes.SHA1()), 32), utils.Prehashed(hashes.SHA256()))
    assert not PublicKey.from_rsa(N, E).verify(pss(4), digest, signature)


@pytest.mark.parametrize("curve", CURVES, ids=lambda c: c.name)
def test_ecdsa(curve: ec.EllipticCurve) -> None:
    private = ec.generate_private_key(curve)
    size = (curve.key_size + 7) // 8
    for public in (True, False):
        key = PublicKey.from_pem(pem(private, public))
        assert (key.kind, key.bits) == ("ec", curve.key_size)
        for h, algo in ((4, 0x70003042), (6, 0x70005042), (4, 0x70003041)):
            digest = hashlib.new(HASHES[h].name, b"image").digest()
            r, s = utils.decode_dss_signature(private.sign(digest, ec.ECDSA(utils.Prehashed(HASHES[h]))))
            signature = r.to_bytes(size, "big") + s.to_bytes(size, "big")
            assert key.verify(algo, digest, signature)
            assert not key.verify(algo, digest, signature[:-1])
            assert not key.verify(algo, digest, signature + b"\0")
            assert not key.verify(algo, digest, bytes(2 * size))
            assert not key.verify(algo, digest, signature[size:] + signature[:size])
            assert not key.verify(pss(4), digest, signature)
            assert not key.verify(algo, b"", signature)
    with pytest.raises(TeeError):
        key.rsa_numbers()


def test_an_algorithm_that_is_none() -> None:
    key = PublicKey.from_rsa(N, E)
    digest = hashlib.sha256(b"x").digest()
    signature = RSA.sign(digest, padding.PKCS1v15(), utils.Prehashed(hashes.SHA256()))
    for algo in (0, 0xFFFFFFFF, 0x70003042, 0x60004830, 0xF0000830, pkcs1(0), pkcs1(7), pkcs1(12), 0x50000004):
        assert not key.verify(algo, digest, signature)


def test_md5_identifiers() -> None:
    key = PublicKey.from_rsa(N, E)
    digest = hashlib.md5(b"x").digest()
    ready = utils.Prehashed(hashes.MD5())
    assert key.verify(pkcs1(1), digest, RSA.sign(digest, padding.PKCS1v15(), ready))
    signature = RSA.sign(digest, padding.PSS(padding.MGF1(hashes.MD5()), 16), ready)
    assert key.verify(0xF0111930, digest, signature)


def refused(call: object, *args: object) -> None:
    with pytest.raises(TeeError) as info:
        call(*args)  # type: ignore[operator]
    assert info.value.result == results.BAD_FORMAT


def test_keys_that_are_none() -> None:
    good = pem(RSA, False)
    encrypted = RSA.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"word")
    )
    other = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for text in (b"", b"nonsense", good[:200], encrypted, other, bytes(1 << 21)):
        refused(PublicKey.from_pem, text)
    for n, e in (
        (b"", E),
        (N, b""),
        (bytes(256), E),
        (N[:-1] + b"\2", E),
        (N, b"\2"),
        (N, b"\1"),
        (E, N),
        (b"\1" * 2049, E),
    ):
        refused(PublicKey.from_rsa, n, e)
    assert PublicKey.from_rsa(b"\0\0" + N, b"\0" + E).rsa_numbers() == (N, E)


@given(st.binary(max_size=300), st.integers(0, (1 << 32) - 1), st.binary(max_size=80))
def test_hostile_signatures_are_only_false(signature: bytes, algo: int, digest: bytes) -> None:
    assert not PublicKey.from_rsa(N, E).verify(algo, digest, signature)


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_hostile_numbers(n: bytes, e: bytes) -> None:
    try:
        key = PublicKey.from_rsa(n, e)
    except TeeError:
        return
    assert not key.verify(pkcs1(4), bytes(32), bytes((key.bits + 7) // 8))


def test_random() -> None:
    assert oneshot.random(0) == b""
    big = oneshot.random(200_000)
    assert len(big) == 200_000
    assert len(set(big)) == 256
    assert oneshot.random(32) != oneshot.random(32)
