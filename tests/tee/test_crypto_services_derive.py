"""Derivation by system call: RFC vectors, and pyca where there are none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

from tee.abi import results
from tee.abi.algorithms import Algorithm, Mode
from tee.abi.attributes import HKDF_INFO_OPTEE, HKDF_SALT_OPTEE, Attr
from tee.abi.objects import ObjectType
from tests.tee.fake_ta import FakeTask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tee.abi.results import Result

_A = Algorithm
_T = ObjectType


@pytest.fixture
def ta() -> Iterator[FakeTask]:
    from tee.crypto.task import Task

    native = Task()
    yield FakeTask(native)
    native.close()


_INPUT = {"HKDF": (_T.HKDF_IKM, Attr.HKDF_IKM), "CONC": (_T.CONCAT_KDF_Z, Attr.CONCAT_KDF_Z)}


def derive(
    ta: FakeTask, algo: Algorithm, secret: bytes, *attrs: tuple[int, bytes | int], into: int = 0
) -> tuple[Result, bytes]:
    """(result, derived secret)."""
    type_, attr = _INPUT.get(algo.name[:4], (_T.PBKDF2_PASSWORD, Attr.PBKDF2_PASSWORD))
    result, state = ta.state(algo, Mode.DERIVE, ta.key(type_, 4096, secret, attr))
    assert result == results.SUCCESS
    target = into or ta.alloc(_T.GENERIC_SECRET, 4096)
    result = ta.call("cryp_derive_key", state, *ta.attributes(*attrs), target)
    return result, ta.get(target, Attr.SECRET_VALUE)[1] if not result else b""


def test_hkdf_rfc_5869(ta: FakeTask) -> None:
    ikm = b"\x0b" * 22
    salt, info = bytes(range(13)), bytes(range(0xF0, 0xFA))
    okm = bytes.fromhex("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865")  # A.1
    attrs: tuple[tuple[int, bytes | int], ...]
    attrs = ((HKDF_SALT_OPTEE, salt), (HKDF_INFO_OPTEE, info), (Attr.HKDF_OKM_LENGTH, 42))
    assert derive(ta, _A.HKDF_SHA256_DERIVE_KEY, ikm, *attrs) == (results.SUCCESS, okm)
    # GP's own identifiers; the first of two is taken, as in OP-TEE.
    attrs = ((Attr.HKDF_SALT, salt), (Attr.HKDF_SALT, b"x"), (Attr.HKDF_INFO, info), (Attr.KDF_KEY_SIZE, 42))
    assert derive(ta, _A.HKDF, ikm, *attrs) == (results.SUCCESS, okm)
    assert derive(ta, _A.HKDF, ikm, *attrs, (Attr.HKDF_HASH_ALGORITHM, _A.SHA256)) == (results.SUCCESS, okm)
    # A.7: SHA-1, no salt, no info
    okm = bytes.fromhex("2c91117204d745f3500d636a62f64f0ab3bae548aa53d423b0d1f27ebba6f5e5673a081d70cce7acfc48")
    assert derive(ta, _A.HKDF_SHA1_DERIVE_KEY, b"\x0c" * 22, (Attr.HKDF_OKM_LENGTH, 42)) == (results.SUCCESS, okm)


@pytest.mark.parametrize(
    ("algo", "hash_"),
    [
        (_A.HKDF_MD5_DERIVE_KEY, hashes.MD5()),
        (_A.HKDF_SHA224_DERIVE_KEY, hashes.SHA224()),
        (_A.HKDF_SHA384_DERIVE_KEY, hashes.SHA384()),
        (_A.HKDF_SHA512_DERIVE_KEY, hashes.SHA512()),
    ],
)
def test_hkdf_of_every_hash(ta: FakeTask, algo: Algorithm, hash_: hashes.HashAlgorithm) -> None:
    expected = HKDF(hash_, 512, b"salt", b"info").derive(b"ikm")
    attrs = ((Attr.HKDF_SALT, b"salt"), (Attr.HKDF_INFO, b"info"), (Attr.HKDF_OKM_LENGTH, 512))
    assert derive(ta, algo, b"ikm", *attrs) == (results.SUCCESS, expected)


@pytest.mark.parametrize(
    ("algo", "hash_"),
    [
        (_A.CONCAT_KDF_SHA1_DERIVE_KEY, hashes.SHA1()),
        (_A.CONCAT_KDF_SHA256_DERIVE_KEY, hashes.SHA256()),
        (_A.CONCAT_KDF_SHA512_DERIVE_KEY, hashes.SHA512()),
    ],
)
def test_concat_kdf(ta: FakeTask, algo: Algorithm, hash_: hashes.HashAlgorithm) -> None:
    for size in (1, 64, 100):
        expected = ConcatKDFHash(hash_, size, b"other").derive(b"z" * 32)
        attrs = ((Attr.CONCAT_KDF_OTHER_INFO, b"other"), (Attr.CONCAT_KDF_DKM_LENGTH, size))
        assert derive(ta, algo, b"z" * 32, *attrs) == (results.SUCCESS, expected)


def test_pbkdf2(ta: FakeTask) -> None:
    attrs: tuple[tuple[int, bytes | int], ...] = (
        (Attr.PBKDF2_SALT, b"saltSALTsaltSALTsaltSALTsaltSALTsalt"),
        (Attr.PBKDF2_ITERATION_COUNT, 4096),
        (Attr.PBKDF2_DKM_LENGTH, 25),
    )
    rfc_6070 = bytes.fromhex("3d2eec4fe41c849b80c8d83662c0e44a8b291a964cf2f07038")
    assert derive(ta, _A.PBKDF2_HMAC_SHA1_DERIVE_KEY, b"passwordPASSWORDpassword", *attrs) == (
        results.SUCCESS,
        rfc_6070,
    )
    expected = PBKDF2HMAC(hashes.SHA384(), 25, b"saltSALTsaltSALTsaltSALTsaltSALTsalt", 4096).derive(b"p")
    assert derive(ta, _A.PBKDF2_HMAC_SHA384_DERIVE_KEY, b"p", *attrs) == (results.SUCCESS, expected)
    attrs = ((Attr.PBKDF2_ITERATION_COUNT, 0), (Attr.PBKDF2_DKM_LENGTH, 25))
    assert derive(ta, _A.PBKDF2_HMAC_SHA1_DERIVE_KEY, b"p", *attrs)[0] == results.BAD_PARAMETERS


def test_refusals(ta: FakeTask) -> None:
    algo = _A.HKDF_SHA256_DERIVE_KEY
    length = (Attr.HKDF_OKM_LENGTH, 16)
    for attrs, result in (
        ((), results.BAD_PARAMETERS),
        ((length, (Attr.PBKDF2_SALT, b"s")), results.BAD_PARAMETERS),
        (((Attr.HKDF_OKM_LENGTH, 513),), results.BAD_PARAMETERS),
        (((Attr.HKDF_OKM_LENGTH, 0xFFFFFFFF),), results.BAD_PARAMETERS),
        ((length, (Attr.HKDF_SALT, bytes(0x10001))), results.OUT_OF_MEMORY),
    ):
        assert derive(ta, algo, b"ikm", *attrs)[0] == result
    assert derive(ta, algo, b"ikm", length, into=ta.alloc(_T.AES, 128))[0] == results.SUCCESS
    assert derive(ta, algo, b"ikm", (Attr.HKDF_OKM_LENGTH, 33), into=ta.alloc(_T.AES, 128))[0] == results.BAD_PARAMETERS
    assert derive(ta, algo, b"ikm", length, into=ta.alloc(_T.RSA_KEYPAIR, 512))[0] == results.NOT_SUPPORTED
    assert derive(ta, algo, b"ikm", length, into=ta.alloc(_T.HKDF_IKM, 512))[0] == results.NOT_SUPPORTED
    assert derive(ta, _A.HKDF, b"ikm", length, (Attr.HKDF_HASH_ALGORITHM, 0xFF))[0] == results.NOT_SUPPORTED
    assert ta.call("cryp_derive_key", 999, 0, 0, 0) == results.BAD_PARAMETERS
    digest = ta.state(_A.SHA256, Mode.DIGEST)[1]
    assert ta.call("cryp_derive_key", digest, 0, 0, ta.alloc(_T.GENERIC_SECRET, 8)) == results.BAD_STATE
    mac = ta.state(_A.HMAC_SHA1, Mode.MAC, ta.alloc(_T.HMAC_SHA1, 80))[1]
    assert ta.call("cryp_derive_key", mac, 0, 0, ta.alloc(_T.GENERIC_SECRET, 8)) == results.NOT_SUPPORTED
