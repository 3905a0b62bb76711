"""System calls on operation states, answered in Python on the C states; pyca and hashlib are the oracle."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tee.abi import results
from tee.abi.algorithms import Algorithm, Mode
from tee.abi.attributes import Attr
from tee.abi.objects import ObjectType
from tee.services.crypto_states import key_types
from tests.tee.fake_ta import BASE, SIZE, FakeTask

if TYPE_CHECKING:
    from collections.abc import Iterator

_A = Algorithm
_T = ObjectType
BAD_VA = BASE + SIZE
KEY = bytes(range(32))


@pytest.fixture
def ta() -> Iterator[FakeTask]:
    from tee.crypto.task import Task

    native = Task(max_states=8)
    yield FakeTask(native)
    native.close()


def started(ta: FakeTask, algo: int, mode: int, key1: int = 0, key2: int = 0) -> int:
    result, state = ta.state(algo, mode, key1, key2)
    assert result == results.SUCCESS
    return state


# --- allocation -------------------------------------------------------------------------------


def test_which_keys_an_algorithm_takes(ta: FakeTask) -> None:
    aes = ta.key(_T.AES, 256, KEY)
    for algo, mode, key1, key2, result in (
        (_A.AES_GCM, Mode.ENCRYPT, 0, 0, results.BAD_PARAMETERS),
        (_A.AES_GCM, Mode.ENCRYPT, 9999, 0, results.BAD_STATE),
        (_A.AES_XTS, Mode.ENCRYPT, aes, 0, results.BAD_PARAMETERS),
        (_A.AES_CBC_NOPAD, Mode.ENCRYPT, aes, aes, results.BAD_PARAMETERS),
        (_A.SHA256, Mode.DIGEST, aes, 0, results.BAD_PARAMETERS),
        (_A.SM4_CTR, Mode.ENCRYPT, aes, 0, results.BAD_PARAMETERS),
        (_A.HMAC_SHA256, Mode.MAC, aes, 0, results.BAD_PARAMETERS),
        (0x20000010, Mode.ENCRYPT, aes, 0, results.NOT_SUPPORTED),
        (0, Mode.ENCRYPT, 0, 0, results.NOT_SUPPORTED),
        (_A.AES_ECB_NOPAD | 0x900, Mode.ENCRYPT, aes, 0, results.NOT_IMPLEMENTED),
        (0x30000910, Mode.MAC, aes, 0, results.NOT_SUPPORTED),
    ):
        assert ta.state(algo, mode, key1, key2)[0] == result, (algo, key1, key2)
    assert len(ta.objects.operations) == ta.native.state_count == 0
    assert not ta.objects.get(aes).busy


def test_keys_by_mode() -> None:
    assert key_types(_A.RSAES_PKCS1_V1_5, Mode.ENCRYPT) == {_T.RSA_KEYPAIR, _T.RSA_PUBLIC_KEY}
    assert key_types(_A.RSAES_PKCS1_V1_5, Mode.DECRYPT) == {_T.RSA_KEYPAIR}
    assert key_types(_A.ECDSA_SHA256, Mode.VERIFY) == {_T.ECDSA_KEYPAIR, _T.ECDSA_PUBLIC_KEY}
    assert key_types(_A.SM2_PKE, Mode.ENCRYPT) == {_T.SM2_PKE_PUBLIC_KEY}
    assert key_types(_A.SM2_DSA_SM3, Mode.SIGN) == {_T.SM2_DSA_KEYPAIR}
    assert key_types(_A.SHAKE128, Mode.DIGEST) == frozenset()


def test_a_state_owns_its_keys(ta: FakeTask) -> None:
    key = ta.key(_T.AES, 256, KEY)
    state = started(ta, _A.AES_CTR, Mode.ENCRYPT, key)
    assert ta.call("cryp_obj_close", key) == results.ITEM_NOT_FOUND
    assert ta.state(_A.AES_CTR, Mode.ENCRYPT, key)[0] == results.BAD_PARAMETERS
    assert ta.call("cryp_state_free", state) == results.SUCCESS
    assert ta.call("cryp_obj_close", key) == results.BAD_STATE
    assert ta.call("cryp_state_free", state) == results.BAD_PARAMETERS
    assert ta.native.state_count == 0


def test_a_handle_that_cannot_be_written_leaves_nothing(ta: FakeTask) -> None:
    key = ta.key(_T.AES, 256, KEY)
    assert ta.call("cryp_state_alloc", _A.AES_CTR, Mode.ENCRYPT, key, 0, BAD_VA) == results.ACCESS_DENIED
    assert (ta.native.state_count, len(ta.objects.operations), ta.objects.get(key).busy) == (0, 0, False)


def test_states_are_limited(ta: FakeTask) -> None:
    for _ in range(8):
        started(ta, _A.SHA256, Mode.DIGEST)
    assert ta.state(_A.SHA256, Mode.DIGEST)[0] == results.OUT_OF_MEMORY


def test_asymmetric_states_exist(ta: FakeTask) -> None:
    key = ta.alloc(_T.ECDSA_KEYPAIR, 256)
    state = started(ta, 0x70003041, Mode.SIGN, key)  # __OPTEE_ALG_ECDSA_P256
    assert ta.objects.operations.get(state).algo == _A.ECDSA_SHA256
    other = started(ta, _A.ECDSA_SHA256, Mode.SIGN, ta.alloc(_T.ECDSA_KEYPAIR, 256))
    assert ta.call("cryp_state_copy", state, other) == results.BAD_STATE
    assert ta.call("hash_init", state, 0, 0) == results.BAD_PARAMETERS
    assert ta.call("cipher_init", state, 0, 0) == results.BAD_STATE


# --- digests and MACs -------------------------------------------------------------------------


def test_digest(ta: FakeTask) -> None:
    state = started(ta, _A.SHA256, Mode.DIGEST)
    data = ta.memory.place(b"abc" * 100)
    assert ta.call("hash_update", state, data, 300) == results.BAD_STATE
    assert ta.into("hash_final", state, b"", 32)[0] == results.BAD_STATE
    assert ta.call("hash_init", state, BAD_VA, 77) == results.SUCCESS  # an IV is not even looked at
    assert ta.call("hash_update", state, 0, 1) == results.BAD_PARAMETERS
    assert ta.call("hash_update", state, 0, 0) == results.SUCCESS
    assert ta.call("hash_update", state, BAD_VA, 1) == results.ACCESS_DENIED
    assert ta.call("hash_update", state + 50, data, 1) == results.BAD_PARAMETERS
    assert ta.call("hash_update", state, data, 300) == results.SUCCESS
    assert ta.into("hash_final", state, b"tail", 31) == (results.SHORT_BUFFER, bytes(31), 32)
    assert ta.call("hash_final", state, 0, 4, data, ta.cell(64, 8)) == results.BAD_PARAMETERS
    assert ta.call("hash_final", state, 0, 0, 0, ta.cell(64, 8)) == results.ACCESS_DENIED
    expected = hashlib.sha256(b"abc" * 100 + b"tail").digest()
    assert ta.into("hash_final", state, b"tail", 100) == (results.SUCCESS, expected, 32)


def test_copied_midway(ta: FakeTask) -> None:
    source, target = started(ta, _A.SHA1, Mode.DIGEST), started(ta, _A.SHA1, Mode.DIGEST)
    other = started(ta, _A.SHA224, Mode.DIGEST)
    ta.call("hash_init", source, 0, 0)
    ta.call("hash_update", source, ta.memory.place(b"half"), 4)
    assert ta.call("cryp_state_copy", other, source) == results.BAD_PARAMETERS
    assert ta.call("cryp_state_copy", target, source + 90) == results.BAD_PARAMETERS
    assert ta.call("cryp_state_copy", target, source) == results.SUCCESS
    for state in (source, target):
        assert ta.into("hash_final", state, b"way", 20)[1] == hashlib.sha1(b"halfway").digest()


def test_xof_fills_what_it_is_given(ta: FakeTask) -> None:
    state = started(ta, _A.SHAKE256, Mode.DIGEST)
    ta.call("hash_init", state, 0, 0)
    expected = hashlib.shake_256(b"message").digest(1500)
    assert ta.into("hash_final", state, b"message", 1000) == (results.SUCCESS, expected[:1000], 1000)
    assert ta.into("hash_final", state, b"", 500) == (results.SUCCESS, expected[1000:], 500)
    assert ta.into("hash_final", state, b"", 0)[0] == results.SUCCESS


def test_mac(ta: FakeTask) -> None:
    key = ta.alloc(_T.HMAC_SHA512, 1024)
    state = started(ta, _A.HMAC_SHA512, Mode.MAC, key)
    assert ta.call("hash_init", state, 0, 0) == results.BAD_PARAMETERS
    assert ta.populate(key, (Attr.SECRET_VALUE, KEY * 2)) == results.SUCCESS
    assert ta.call("hash_init", state, 0, 0) == results.SUCCESS
    assert ta.into("hash_final", state, b"text", 63) == (results.SHORT_BUFFER, bytes(63), 64)
    assert ta.into("hash_final", state, b"text", 64)[1] == hmac.digest(KEY * 2, b"text", "sha512")


# --- ciphers ----------------------------------------------------------------------------------


def test_cipher(ta: FakeTask) -> None:
    key = ta.alloc(_T.AES, 256)
    state = started(ta, _A.AES_CBC_NOPAD, Mode.ENCRYPT, key)
    iv = ta.memory.place(bytes(16))
    assert ta.call("cipher_init", state, iv, 16) == results.BAD_PARAMETERS
    ta.populate(key, (Attr.SECRET_VALUE, KEY))
    assert ta.into("cipher_update", state, bytes(16), 16)[0] == results.BAD_STATE
    assert ta.call("cipher_init", state, BAD_VA, 16) == results.ACCESS_DENIED
    assert ta.call("cipher_init", state, iv, 16) == results.SUCCESS
    text = bytes(range(64))
    assert ta.into("cipher_update", state, text[:32], 31) == (results.SHORT_BUFFER, bytes(31), 32)
    assert ta.into("cipher_update", state, text[:31], 32)[0] == results.BAD_PARAMETERS
    assert ta.call("cipher_update", state, BAD_VA, 16, iv, ta.cell(16, 8)) == results.ACCESS_DENIED
    assert ta.call("cipher_update", state, iv, 16, BAD_VA, ta.cell(16, 8)) == results.ACCESS_DENIED
    assert ta.call("cipher_update", state, iv, 16, iv, 0) == results.SHORT_BUFFER
    first = ta.into("cipher_update", state, text[:32], 40)
    last = ta.into("cipher_final", state, text[32:], 32)
    encryptor = Cipher(algorithms.AES(KEY), modes.CBC(bytes(16))).encryptor()
    expected = encryptor.update(text)
    assert (first, last) == ((results.SUCCESS, expected[:32], 32), (results.SUCCESS, expected[32:], 32))
    hash_ = started(ta, _A.SHA256, Mode.DIGEST)
    ta.call("hash_init", hash_, 0, 0)
    assert ta.into("cipher_update", hash_, bytes(16), 16)[0] == results.BAD_PARAMETERS
    assert ta.call("cipher_init", hash_, iv, 16) == results.BAD_STATE


def test_final_without_data_or_length(ta: FakeTask) -> None:
    state = started(ta, _A.AES_CTR, Mode.DECRYPT, ta.key(_T.AES, 128, KEY[:16]))
    ta.call("cipher_init", state, ta.memory.place(bytes(16)), 16)
    assert ta.call("cipher_final", state, 0, 0, 0, 0) == results.SUCCESS


def test_xts(ta: FakeTask) -> None:
    tweak = ta.alloc(_T.AES, 256)
    state = started(ta, _A.AES_XTS, Mode.ENCRYPT, ta.key(_T.AES, 256, KEY), tweak)
    iv = ta.memory.place(b"i" * 16)
    assert ta.call("cipher_init", state, iv, 16) == results.BAD_PARAMETERS
    ta.populate(tweak, (Attr.SECRET_VALUE, KEY[::-1]))
    assert ta.call("cipher_init", state, iv, 16) == results.SUCCESS
    expected = Cipher(algorithms.AES(KEY + KEY[::-1]), modes.XTS(b"i" * 16)).encryptor().update(bytes(50))
    first = ta.into("cipher_update", state, bytes(16), 16)[1]
    assert first + ta.into("cipher_final", state, bytes(34), 34)[1] == expected
    assert ta.call("cryp_state_free", state) == results.SUCCESS
    assert len(ta.objects) == 0


# --- authenticated encryption -----------------------------------------------------------------

NONCE = b"n" * 12
AAD = b"header" * 5
TEXT = bytes(range(50))


def ae(ta: FakeTask, mode: Mode) -> int:
    state = started(ta, _A.AES_GCM, mode, ta.key(_T.AES, 256, KEY))
    assert ta.call("authenc_init", state, ta.memory.place(NONCE), 12, 16, len(AAD), len(TEXT)) == results.SUCCESS
    return state


def test_ae_before_it_is_initialised(ta: FakeTask) -> None:
    key = ta.alloc(_T.AES, 256)
    state = started(ta, _A.AES_GCM, Mode.ENCRYPT, key)
    nonce = ta.memory.place(NONCE)
    assert ta.call("authenc_init", state, nonce, 12, 16, 0, 0) == results.BAD_PARAMETERS
    ta.populate(key, (Attr.SECRET_VALUE, KEY))
    assert ta.call("authenc_update_aad", state, nonce, 12) == results.BAD_STATE
    assert ta.into("authenc_update_payload", state, TEXT, 50)[0] == results.BAD_STATE
    assert ta.call("authenc_init", state, BAD_VA, 12, 16, 0, 0) == results.ACCESS_DENIED
    assert ta.call("authenc_init", state, nonce, 12, 17, 0, 0) == results.BAD_PARAMETERS
    digest = started(ta, _A.SHA256, Mode.DIGEST)
    assert ta.call("authenc_init", digest, nonce, 12, 16, 0, 0) == results.BAD_STATE
    ta.call("hash_init", digest, 0, 0)
    assert ta.call("authenc_update_aad", digest, nonce, 12) == results.BAD_STATE


def test_ae_round(ta: FakeTask) -> None:
    sealed = AESGCM(KEY).encrypt(NONCE, TEXT, AAD)
    state = ae(ta, Mode.ENCRYPT)
    assert ta.call("authenc_update_aad", state, ta.memory.place(AAD), len(AAD)) == results.SUCCESS
    assert ta.into("authenc_update_payload", state, TEXT[:20], 19) == (results.SHORT_BUFFER, bytes(19), 20)
    out = ta.into("authenc_update_payload", state, TEXT[:20], 20)[1]
    src, dst, dst_len = ta.memory.place(TEXT[20:]), ta.memory.place(bytes(30)), ta.cell(30, 8)
    tag, tag_len = ta.memory.place(bytes(16)), ta.cell(15, 8)
    assert ta.call("authenc_dec_final", state, src, 30, dst, dst_len, tag, 16) == results.BAD_PARAMETERS
    assert ta.call("authenc_enc_final", state, src, 30, dst, dst_len, tag, tag_len) == results.SHORT_BUFFER
    assert (ta.memory.word_at(dst_len, 8), ta.memory.word_at(tag_len, 8)) == (30, 16)
    assert ta.call("authenc_enc_final", state, src, 30, dst, ta.cell(29, 8), tag, tag_len) == results.SHORT_BUFFER
    assert ta.call("authenc_enc_final", state, src, 30, 0, 0, tag, tag_len) == results.SHORT_BUFFER
    assert ta.call("authenc_enc_final", state, src, 30, dst, dst_len, tag, tag_len) == results.SUCCESS
    assert out + ta.memory.copy_in(dst, 30) + ta.memory.copy_in(tag, 16) == sealed


def test_ae_opened_and_refused(ta: FakeTask) -> None:
    sealed = AESGCM(KEY).encrypt(NONCE, TEXT, AAD)
    body, mark = sealed[:-16], sealed[-16:]
    for tag, result in (
        (mark, results.SUCCESS),
        (mark[:-1] + b"x", results.MAC_INVALID),
        (mark[:8], results.MAC_INVALID),
    ):
        state = ae(ta, Mode.DECRYPT)
        ta.call("authenc_update_aad", state, ta.memory.place(AAD), len(AAD))
        dst = ta.memory.place(bytes(50))
        words = (ta.memory.place(body), 50, dst, ta.cell(50, 8), ta.memory.place(tag), len(tag))
        assert ta.call("authenc_enc_final", state, *words[:5], ta.cell(16, 8)) == results.BAD_PARAMETERS
        assert ta.call("authenc_dec_final", state, *words) == result
        assert ta.memory.copy_in(dst, 50) == (bytes(50) if result else TEXT)


def test_listing_of_algorithms() -> None:
    from tee.services.crypto_supported import supported

    listed = {row.algorithm: row for row in supported()}
    assert listed.keys() == set(Algorithm) - {_A.ILLEGAL_VALUE}
    assert all(bool(row.reason) != row.served for row in listed.values())
    for algo in (_A.AES_GCM, _A.SM4_XTS, _A.DES_CBC_MAC_PKCS5, _A.SHAKE128, _A.HMAC_SM3, _A.HKDF):
        assert listed[algo].served, listed[algo].reason
    assert not listed[_A.SM4_CBC_PKCS5].served
    assert listed[_A.ECDSA_SHA256].served
    assert {algo for algo, row in listed.items() if not row.served and algo >> 28 > 5} == {
        _A.ED448, _A.ECDSA_SHA3_224, _A.ECDSA_SHA3_256, _A.ECDSA_SHA3_384, _A.ECDSA_SHA3_512
    }  # fmt: skip
