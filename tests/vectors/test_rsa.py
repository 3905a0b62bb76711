"""RSA by system call: Wycheproof's and NIST's vectors, and those of the hashes that OAEP is mixed from."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest

from tee.abi import results
from tee.abi.algorithms import Algorithm, Mode
from tee.abi.attributes import Attr
from tee.abi.objects import ObjectType
from tests.tee.key_kit import AttrValue, key_ta, operate, populated, verify
from tests.vectors.files import wycheproof_groups

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.tee.fake_ta import FakeTask

_A = Algorithm
_SIGNATURE = "Signature/wycheproof/"
_CIPHER = "Cipher/wycheproof/"
_h = bytes.fromhex

SIGNATURES = [
    f"rsa_signature_{bits}_{sha}_test.json"
    for bits, shas in (
        (2048, "sha224 sha256 sha384 sha512 sha3_224 sha3_256 sha3_384 sha3_512"),
        (3072, "sha256 sha384 sha512 sha3_256 sha3_384 sha3_512"),
        (4096, "sha256 sha384 sha512"),
    )
    for sha in shas.split()
]
PSS = [
    "rsa_pss_2048_sha1_mgf1_20_test.json",
    "rsa_pss_2048_sha256_mgf1_0_test.json",
    "rsa_pss_2048_sha256_mgf1_32_test.json",
    "rsa_pss_2048_sha384_mgf1_48_test.json",
    "rsa_pss_3072_sha256_mgf1_32_test.json",
    "rsa_pss_4096_sha384_mgf1_48_test.json",
    "rsa_pss_4096_sha512_mgf1_32_test.json",
    "rsa_pss_4096_sha512_mgf1_64_test.json",
    "rsa_pss_misc_test.json",
]
GENERATED = [f"rsa_pkcs1_{bits}_sig_gen_test.json" for bits in (1024, 1536, 2048, 3072, 4096)]
OAEP = [
    f"rsa_oaep_{bits}_{hashes}_test.json"
    for bits, all_hashes in (
        (2048, "sha1_mgf1sha1 sha224_mgf1sha1 sha224_mgf1sha224 sha256_mgf1sha1 sha256_mgf1sha256 sha384_mgf1sha1 "
               "sha384_mgf1sha384 sha512_mgf1sha1 sha512_mgf1sha512"),
        (3072, "sha256_mgf1sha1 sha256_mgf1sha256 sha512_mgf1sha1 sha512_mgf1sha512"),
        (4096, "sha256_mgf1sha1 sha256_mgf1sha256 sha512_mgf1sha1 sha512_mgf1sha512"),
    )
    for hashes in all_hashes.split()
] + ["rsa_oaep_misc_test.json"]  # fmt: skip


@pytest.fixture
def ta() -> Iterator[FakeTask]:
    yield from key_ta()


def hash_name(sha: str) -> str:
    """SHA-256 is SHA256, and SHA3-256 is SHA3_256."""
    return sha.replace("SHA-", "SHA").replace("-", "_")


def served(sha: str) -> bool:
    return f"RSASSA_PKCS1_V1_5_{hash_name(sha)}" in Algorithm.__members__


def digest(sha: str, message: str) -> bytes:
    return hashlib.new(sha.lower().replace("sha-", "sha"), _h(message)).digest()


def public_key(ta: FakeTask, key: Mapping[str, str], bits: int) -> int:
    attrs = (Attr.RSA_MODULUS, _h(key["modulus"])), (Attr.RSA_PUBLIC_EXPONENT, _h(key["publicExponent"]))
    n, e = attrs
    return populated(ta, ObjectType.RSA_PUBLIC_KEY, bits, (n[0], n[1].lstrip(b"\0")), e)


_CRT = (
    ("prime1", Attr.RSA_PRIME1),
    ("prime2", Attr.RSA_PRIME2),
    ("exponent1", Attr.RSA_EXPONENT1),
    ("exponent2", Attr.RSA_EXPONENT2),
    ("coefficient", Attr.RSA_COEFFICIENT),
)


def pair(ta: FakeTask, key: Mapping[str, str], bits: int) -> int:
    attrs: list[AttrValue] = [
        (Attr.RSA_MODULUS, _h(key["modulus"]).lstrip(b"\0")),
        (Attr.RSA_PUBLIC_EXPONENT, _h(key["publicExponent"])),
        (Attr.RSA_PRIVATE_EXPONENT, _h(key["privateExponent"])),
    ]
    if "prime1" in key:
        attrs += [(attr, _h(key[name])) for name, attr in _CRT]
    return populated(ta, ObjectType.RSA_KEYPAIR, bits, *attrs)


def some(tests: list[dict[str, Any]], everything: bool, count: int = 40) -> list[dict[str, Any]]:
    decided = [test for test in tests if test["result"] != "acceptable"]
    return decided if everything else decided[:: max(1, len(decided) // count)]


@pytest.mark.parametrize("name", SIGNATURES)
def test_pkcs1_signatures(ta: FakeTask, name: str, everything: bool) -> None:
    for group in wycheproof_groups(_SIGNATURE + name):
        if not served(group["sha"]):
            continue
        algo = Algorithm[f"RSASSA_PKCS1_V1_5_{hash_name(group['sha'])}"]
        key = public_key(ta, group["publicKey"], group["keySize"])
        for test in some(group["tests"], everything):
            expected = results.SUCCESS if test["result"] == "valid" else results.SIGNATURE_INVALID
            assert verify(ta, algo, key, digest(group["sha"], test["msg"]), _h(test["sig"])) == expected, test["tcId"]


@pytest.mark.parametrize("name", PSS)
def test_pss_signatures(ta: FakeTask, name: str, everything: bool) -> None:
    ran = 0
    for group in wycheproof_groups(_SIGNATURE + name):
        if group["mgfSha"] != group["sha"] or not served(group["sha"]):
            continue  # GP's PSS has one hash for both
        algo = Algorithm[f"RSASSA_PKCS1_PSS_MGF1_{hash_name(group['sha'])}"]
        key = public_key(ta, group["publicKey"], group["keySize"])
        salt = (Attr.RSA_PSS_SALT_LENGTH, group["sLen"])
        for test in some(group["tests"], everything):
            expected = results.SUCCESS if test["result"] == "valid" else results.SIGNATURE_INVALID
            hashed = digest(group["sha"], test["msg"])
            assert verify(ta, algo, key, hashed, _h(test["sig"]), salt) == expected, test["tcId"]
            ran += 1
        assert ta.call("cryp_obj_close", key) == results.SUCCESS
    assert ran


@pytest.mark.parametrize("name", GENERATED)
def test_pkcs1_signing(ta: FakeTask, name: str) -> None:
    """What Wycheproof calls acceptable is so for its weak hash or key: the signature is right."""
    for group in wycheproof_groups(_SIGNATURE + name):
        if not served(group["sha"]):
            continue
        key = pair(ta, group["privateKey"], group["keySize"])
        algo = Algorithm[f"RSASSA_PKCS1_V1_5_{hash_name(group['sha'])}"]
        for test in group["tests"]:
            result, signature, _ = operate(ta, algo, Mode.SIGN, key, digest(group["sha"], test["msg"]))
            assert (result, signature) == (results.SUCCESS, _h(test["sig"])), test["tcId"]


@pytest.mark.parametrize("name", OAEP)
def test_oaep(ta: FakeTask, name: str, everything: bool) -> None:
    ran = 0
    for group in wycheproof_groups(_CIPHER + name):
        own, mgf = (f"RSAES_PKCS1_OAEP_MGF1_{hash_name(group[which])}" for which in ("sha", "mgfSha"))
        if own not in Algorithm.__members__ or mgf not in Algorithm.__members__ or group["keySize"] > 4096:
            continue
        key = pair(ta, group["privateKey"], group["keySize"])
        mgf_hash = int(Algorithm[hash_name(group["mgfSha"])]).to_bytes(4, "little")
        for test in some(group["tests"], everything):
            attrs = ((Attr.RSA_OAEP_MGF_HASH, mgf_hash), (Attr.RSA_OAEP_LABEL, _h(test["label"])))
            result, plain, _ = operate(ta, Algorithm[own], Mode.DECRYPT, key, _h(test["ct"]), *attrs)
            expected = (results.SUCCESS, _h(test["msg"]))
            if test["result"] != "valid":
                assert result == results.BAD_PARAMETERS, test["tcId"]
            else:
                assert (result, plain) == expected, test["tcId"]
            ran += 1
        assert ta.call("cryp_obj_close", key) == results.SUCCESS
    assert ran


@pytest.mark.parametrize("bits", [2048, 3072, 4096])
def test_pkcs1_decryption(ta: FakeTask, bits: int, everything: bool) -> None:
    for group in wycheproof_groups(f"{_CIPHER}rsa_pkcs1_{bits}_test.json"):
        key = pair(ta, group["privateKey"], bits)
        for test in some(group["tests"], everything):
            result, plain, _ = operate(ta, _A.RSAES_PKCS1_V1_5, Mode.DECRYPT, key, _h(test["ct"]))
            if test["result"] == "valid":
                assert (result, plain) == (results.SUCCESS, _h(test["msg"])), test["tcId"]
            else:
                assert result == results.BAD_PARAMETERS, test["tcId"]
        assert ta.call("cryp_obj_close", key) == results.SUCCESS
