"""DSA, ECDSA, Ed25519 and SM2 by system call: NIST, Wycheproof, RFC 8032 and GM/T 0003.5."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from tee.abi import results
from tee.abi.algorithms import Algorithm, Mode
from tee.abi.attributes import Attr, Curve
from tee.abi.objects import ObjectType
from tests.tee.key_kit import AttrValue, key_ta, operate, populated, verify
from tests.vectors import published_keys as published
from tests.vectors.files import lines, records, wycheproof_groups
from tests.vectors.test_rsa import digest, hash_name, some

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.tee.fake_ta import FakeTask

_A = Algorithm
_T = ObjectType
_WYCHEPROOF = "Signature/wycheproof/"
_h = bytes.fromhex

CURVES = {
    "P-192": (Curve.NIST_P192, 192, _A.ECDSA_SHA1),
    "P-224": (Curve.NIST_P224, 224, _A.ECDSA_SHA224),
    "P-256": (Curve.NIST_P256, 256, _A.ECDSA_SHA256),
    "P-384": (Curve.NIST_P384, 384, _A.ECDSA_SHA384),
    "P-521": (Curve.NIST_P521, 521, _A.ECDSA_SHA512),
}
"""The one algorithm that OP-TEE lets sign on each; it takes a digest of any hash."""


@pytest.fixture
def ta() -> Iterator[FakeTask]:
    yield from key_ta()


def point_key(ta: FakeTask, curve: str, x: bytes, y: bytes) -> int:
    number, bits, _ = CURVES[curve]
    attrs = ((Attr.ECC_PUBLIC_VALUE_X, x), (Attr.ECC_PUBLIC_VALUE_Y, y), (Attr.ECC_CURVE, int(number)))
    return populated(ta, _T.ECDSA_PUBLIC_KEY, bits, *attrs)


def padded(record: dict[str, str], size: int) -> bytes:
    return b"".join(_h(record[name].rjust(2 * size, "0")) for name in ("r", "s"))


def test_ecdsa_nist(ta: FakeTask, everything: bool) -> None:
    ran = 0
    for record in list(records("asymmetric/ECDSA/FIPS_186-3/SigVer.rsp", "result"))[:: 1 if everything else 5]:
        curve, _, sha = record["section"].partition(",")
        if curve not in CURVES:
            continue
        size = (CURVES[curve][1] + 7) // 8
        x, y = (_h(record[name].rjust(2 * size, "0")) for name in ("qx", "qy"))
        key = point_key(ta, curve, x, y)
        result = verify(ta, CURVES[curve][2], key, digest(sha, record["msg"]), padded(record, size))
        assert result == (results.SUCCESS if record["result"].startswith("P") else results.SIGNATURE_INVALID)
        assert ta.call("cryp_obj_close", key) == results.SUCCESS
        ran += 1
    assert ran


@pytest.mark.parametrize(
    "name",
    ["secp192r1_sha256", "secp224r1_sha224", "secp224r1_sha512", "secp256r1_sha256", "secp256r1_sha512",
     "secp384r1_sha384", "secp384r1_sha512", "secp521r1_sha512"],
)  # fmt: skip
def test_ecdsa_wycheproof(ta: FakeTask, name: str, everything: bool) -> None:
    for group in wycheproof_groups(f"{_WYCHEPROOF}ecdsa_{name}_p1363_test.json")[:: 1 if everything else 3]:
        key = group["publicKey"]
        curve = f"P-{key['curve'][4:7]}"
        size = (CURVES[curve][1] + 7) // 8
        handle = point_key(ta, curve, _h(key["wx"]), _h(key["wy"]))
        for test in some(group["tests"], everything):
            signature = _h(test["sig"])
            result = verify(ta, CURVES[curve][2], handle, digest(group["sha"], test["msg"]), signature)
            wrong = results.SIGNATURE_INVALID if len(signature) == 2 * size else results.BAD_PARAMETERS
            assert result == (results.SUCCESS if test["result"] == "valid" else wrong), test["tcId"]
        assert ta.call("cryp_obj_close", handle) == results.SUCCESS


def dsa_key(ta: FakeTask, p: bytes, q: bytes, g: bytes, y: bytes) -> int:
    attrs = ((Attr.DSA_PRIME, p), (Attr.DSA_SUBPRIME, q), (Attr.DSA_BASE, g), (Attr.DSA_PUBLIC_VALUE, y))
    return populated(ta, _T.DSA_PUBLIC_KEY, len(p) * 8, *attrs)


_DSA = {"SHA-1": _A.DSA_SHA1, "SHA-224": _A.DSA_SHA224, "SHA-256": _A.DSA_SHA256}


def test_dsa_nist(ta: FakeTask, everything: bool) -> None:
    ran = 0
    for record in list(records("asymmetric/DSA/FIPS_186-3/SigVer.rsp", "result"))[:: 1 if everything else 5]:
        sha = record["section"].rpartition(",")[2].strip()
        if sha not in _DSA:
            continue
        p, q, g, y = (_h(record[name].rjust(len(record[name]) + 1 & -2, "0")) for name in "pqgy")
        key = dsa_key(ta, p, q, g, y)
        hashed = digest(sha, record["msg"])
        result = verify(ta, _DSA[sha], key, hashed[: max(len(q), 1)], padded(record, len(q)))
        if len(hashed) < len(q):
            result = verify(ta, _DSA[sha], key, hashed, padded(record, len(q)))
        assert result == (results.SUCCESS if record["result"].startswith("P") else results.SIGNATURE_INVALID)
        assert ta.call("cryp_obj_close", key) == results.SUCCESS
        ran += 1
    assert ran


@pytest.mark.parametrize("name", ["2048_224_sha224", "2048_224_sha256", "2048_256_sha256", "3072_256_sha256"])
def test_dsa_wycheproof(ta: FakeTask, name: str, everything: bool) -> None:
    for group in wycheproof_groups(f"{_WYCHEPROOF}dsa_{name}_p1363_test.json"):
        p, q, g, y = (_h(group["publicKey"][part]).lstrip(b"\0") for part in "pqgy")
        key = dsa_key(ta, p, q, g, y)
        for test in some(group["tests"], everything):
            # OP-TEE halves a signature of whatever size; Wycheproof wants one of just that size.
            if len(_h(test["sig"])) != 2 * len(q) and test["result"] != "valid":
                continue
            result = verify(ta, _DSA[group["sha"]], key, digest(group["sha"], test["msg"]), _h(test["sig"]))
            assert result == (results.SUCCESS if test["result"] == "valid" else results.SIGNATURE_INVALID), test["tcId"]
        assert ta.call("cryp_obj_close", key) == results.SUCCESS


def test_hash_names() -> None:
    assert (hash_name("SHA-256"), hash_name("SHA3-256")) == ("SHA256", "SHA3_256")


def ed25519_pair(ta: FakeTask, private: bytes, public: bytes) -> int:
    attrs = ((Attr.ED25519_PRIVATE_VALUE, private), (Attr.ED25519_PUBLIC_VALUE, public))
    return populated(ta, _T.ED25519_KEYPAIR, 256, *attrs)


def test_ed25519_sign_input(ta: FakeTask, everything: bool) -> None:
    """The file of Ed25519's authors: private and public key, public key, message, signature and message."""
    for line in lines("asymmetric/Ed25519/sign.input")[:: 1 if everything else 64]:
        keys, _, message, signed, _ = line.split(":")
        key = ed25519_pair(ta, _h(keys[:64]), _h(keys[64:]))
        signature = _h(signed[:128])
        assert operate(ta, _A.ED25519, Mode.SIGN, key, _h(message))[:2] == (results.SUCCESS, signature)
        assert verify(ta, _A.ED25519, key, _h(message), signature) == results.SUCCESS
        assert ta.call("cryp_obj_close", key) == results.SUCCESS


def test_ed25519_wycheproof(ta: FakeTask) -> None:
    for group in wycheproof_groups(_WYCHEPROOF + "ed25519_test.json"):
        value = (Attr.ED25519_PUBLIC_VALUE, _h(group["publicKey"]["pk"]))
        key = populated(ta, _T.ED25519_PUBLIC_KEY, 256, value)
        for test in some(group["tests"], True):
            signature = _h(test["sig"])
            wrong = results.SIGNATURE_INVALID if len(signature) == 64 else results.BAD_PARAMETERS
            result = verify(ta, _A.ED25519, key, _h(test["msg"]), signature)
            assert result == (results.SUCCESS if test["result"] == "valid" else wrong), test["tcId"]
        assert ta.call("cryp_obj_close", key) == results.SUCCESS


@pytest.mark.parametrize("vector", published.RFC8032, ids=["foo", "bar", "ph"])
def test_ed25519_variants(ta: FakeTask, vector: published.EddsaVariant) -> None:
    key = ed25519_pair(ta, vector.private, vector.public)
    attrs: list[AttrValue] = [(Attr.EDDSA_PREHASH, int(vector.prehash))]
    if vector.context:
        attrs.append((Attr.EDDSA_CTX, vector.context))
    assert operate(ta, _A.ED25519, Mode.SIGN, key, vector.message, *attrs)[:2] == (results.SUCCESS, vector.signature)
    assert verify(ta, _A.ED25519, key, vector.message, vector.signature, *attrs) == results.SUCCESS
    order = (1 << 252) + 27742317777372353535851937790883648493
    s = int.from_bytes(vector.signature[32:], "little") + order  # malleable, if S were not checked
    others = (
        vector.signature[:32] + s.to_bytes(32, "little"),
        bytes(64),
        b"\1" + bytes(63),
        vector.signature[:31] + bytes([vector.signature[31] ^ 0x80]) + vector.signature[32:],
    )
    for wrong in others:
        assert verify(ta, _A.ED25519, key, vector.message, wrong, *attrs) == results.SIGNATURE_INVALID
    assert verify(ta, _A.ED25519, key, vector.message + b"x", vector.signature, *attrs) == results.SIGNATURE_INVALID
    assert verify(ta, _A.ED25519, key, vector.message, vector.signature) == results.SIGNATURE_INVALID
    for public in (bytes(32), b"\1" + bytes(31), b"\xff" * 32, b"\2" + bytes(31)):
        broken = populated(ta, _T.ED25519_PUBLIC_KEY, 256, (Attr.ED25519_PUBLIC_VALUE, public))
        assert verify(ta, _A.ED25519, broken, vector.message, vector.signature, *attrs) == results.SIGNATURE_INVALID


SM2_POINT = ((Attr.ECC_PUBLIC_VALUE_X, published.SM2_X), (Attr.ECC_PUBLIC_VALUE_Y, published.SM2_Y))


def test_sm2_signature(ta: FakeTask) -> None:
    key = populated(ta, _T.SM2_DSA_PUBLIC_KEY, 256, *SM2_POINT)
    hashed = hashlib.new("sm3", published.SM2_Z + published.SM2_MESSAGE).digest()
    assert verify(ta, _A.SM2_DSA_SM3, key, hashed, published.SM2_SIGNATURE) == results.SUCCESS
    for wrong in (bytes(64), published.SM2_SIGNATURE[32:] + published.SM2_SIGNATURE[:32], b"\xff" * 64):
        assert verify(ta, _A.SM2_DSA_SM3, key, hashed, wrong) == results.SIGNATURE_INVALID
    assert verify(ta, _A.SM2_DSA_SM3, key, hashed, published.SM2_SIGNATURE[:63]) == results.BAD_PARAMETERS
    assert verify(ta, _A.SM2_DSA_SM3, key, hashed[:-1] + b"x", published.SM2_SIGNATURE) == results.SIGNATURE_INVALID
    off = populated(ta, _T.SM2_DSA_PUBLIC_KEY, 256, SM2_POINT[0], (Attr.ECC_PUBLIC_VALUE_Y, published.SM2_X))
    assert verify(ta, _A.SM2_DSA_SM3, off, hashed, published.SM2_SIGNATURE) == results.SIGNATURE_INVALID
