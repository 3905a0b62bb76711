"""Digests and MACs of tee.crypto against NIST, RFC and GM/T vectors, hashlib and pyca."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator

import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC
from hypothesis import given, settings
from hypothesis import strategies as st

from tee.abi import results
from tee.abi.algorithms import Mode
from tee.crypto import oneshot
from tee.crypto.task import Task
from tee.errors import TeeError
from tests.tee.crypto.vectors import records, sample

DIGESTS = {
    0x50000001: "md5",
    0x50000002: "sha1",
    0x50000003: "sha224",
    0x50000004: "sha256",
    0x50000005: "sha384",
    0x50000006: "sha512",
    0x50000007: "sm3",
    0x50000008: "sha3_224",
    0x50000009: "sha3_256",
    0x5000000A: "sha3_384",
    0x5000000B: "sha3_512",
}
SHAKES = {0x50000101: "shake_128", 0x50000102: "shake_256"}
AES_CMAC, DES3_CMAC = 0x30000610, 0xF0000613
CBC_MACS = {
    # algorithm: (key size, block, PKCS5)
    0x30000110: (16, 16, False),
    0x30000510: (32, 16, True),
    0x30000111: (8, 8, False),
    0x30000511: (8, 8, True),
    0x30000113: (24, 8, False),
    0x30000513: (16, 8, True),
}


@pytest.fixture
def task() -> Iterator[Task]:
    task = Task()
    yield task
    task.close()


def started(task: Task, algo: int, key: bytes = b"") -> int:
    handle = task.state_alloc(algo, Mode.MAC if key else Mode.DIGEST)
    task.hash_init(handle, key)
    return handle


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted(cut % (len(data) + 1) for cut in cuts)
    return [data[a:b] for a, b in zip([0, *at], [*at, len(data)], strict=True)]


def fed(task: Task, algo: int, message: bytes, where: list[int], key: bytes = b"") -> int:
    """A state that took `message` in pieces; after each a copy goes on, whatever becomes of the original."""
    handle = started(task, algo, key)
    for piece in pieces(message, where):
        task.hash_update(handle, memoryview(piece))
        other = task.state_alloc(algo, Mode.MAC if key else Mode.DIGEST)
        task.state_copy(other, handle)
        task.hash_update(handle, b"not in the copy")
        task.state_free(handle)
        handle = other
    return handle


cuts = st.lists(st.integers(0, 1 << 16), max_size=6)
data = st.binary(max_size=700)


@given(st.sampled_from(sorted(DIGESTS)), data, cuts)
def test_digest_in_pieces_with_copies(algo: int, message: bytes, where: list[int]) -> None:
    task = Task()
    handle = fed(task, algo, message, where)
    expected = hashlib.new(DIGESTS[algo], message).digest()
    assert task.hash_final(handle) == expected
    assert oneshot.digest(algo, *pieces(message, where)) == expected
    assert oneshot.digest(DIGESTS[algo].replace("_", "-"), message) == expected


@given(st.sampled_from(sorted(DIGESTS)), st.binary(min_size=1, max_size=200), data, cuts)
def test_hmac_in_pieces_with_copies(digest: int, key: bytes, message: bytes, where: list[int]) -> None:
    task = Task()
    algo = 0x30000000 | digest & 0xFF
    handle = fed(task, algo, message, where, key)
    assert task.hash_final(handle) == hmac.new(key, message, DIGESTS[digest]).digest()


@given(st.sampled_from(sorted(SHAKES)), data, st.lists(st.integers(0, 400), min_size=1, max_size=6))
def test_shake_extracts_again_and_again(algo: int, message: bytes, sizes: list[int]) -> None:
    task = Task()
    handle = started(task, algo)
    expected = hashlib.new(SHAKES[algo], message).digest(sum(sizes))  # type: ignore[call-arg]
    got, rest = b"", message
    for i, size in enumerate(sizes):
        if i % 2:
            other = task.state_alloc(algo, Mode.DIGEST)
            task.state_copy(other, handle)
            assert task.hash_final(other, rest, size) == expected[len(got) : len(got) + size]
            task.state_free(other)
        got += task.hash_final(handle, rest, size)
        rest = b""
    assert got == expected
    assert oneshot.digest(algo, message, size=50) == hashlib.new(SHAKES[algo], message).digest(50)  # type: ignore[call-arg]
    with pytest.raises(TeeError) as info:
        task.hash_update(handle, b"too late")
    assert info.value.result == results.BAD_STATE


def cbc_mac(key: bytes, block: int, pkcs5: bool, message: bytes) -> bytes:
    if pkcs5:
        n = block - len(message) % block
        message += bytes([n]) * n
    cipher = algorithms.AES(key) if block == 16 else TripleDES((key * 3)[:24])
    out = Cipher(cipher, modes.CBC(bytes(block))).encryptor().update(message)
    return out[-block:]


@given(st.sampled_from(sorted(CBC_MACS)), st.binary(min_size=32, max_size=32), st.binary(max_size=9000), cuts)
@settings(max_examples=60)
def test_cbc_mac(algo: int, key: bytes, message: bytes, where: list[int]) -> None:
    size, block, pkcs5 = CBC_MACS[algo]
    task = Task()
    handle = fed(task, algo, message, where, key[:size])
    if not pkcs5 and (not message or len(message) % block):
        with pytest.raises(TeeError) as info:
            task.hash_final(handle)
        assert info.value.result == results.BAD_STATE
    else:
        assert task.hash_final(handle) == cbc_mac(key[:size], block, pkcs5, message)


@given(st.sampled_from([16, 24, 32]), st.binary(min_size=32, max_size=32), data, cuts)
def test_cmac_in_pieces(size: int, key: bytes, message: bytes, where: list[int]) -> None:
    task = Task()
    handle = fed(task, AES_CMAC, message, where, key[:size])
    oracle = CMAC(algorithms.AES(key[:size]))
    oracle.update(message)
    assert task.hash_final(handle) == oracle.finalize()


@pytest.mark.parametrize(
    ("algo", "path"),
    [
        (0x50000002, ("hashes", "SHA1", "SHA1LongMsg.rsp")),
        (0x50000004, ("hashes", "SHA2", "SHA256ShortMsg.rsp")),
        (0x50000006, ("hashes", "SHA2", "SHA512LongMsg.rsp")),
        (0x50000009, ("hashes", "SHA3", "SHA3_256LongMsg.rsp")),
        (0x50000007, ("hashes", "SM3", "oscca.txt")),
    ],
)
def test_digest_vectors(task: Task, algo: int, path: tuple[str, ...]) -> None:
    handle = task.state_alloc(algo, Mode.DIGEST)
    done = 0
    for r in sample((r for r in records(*path) if "msg" in r and "md" in r), 60):
        message = bytes.fromhex(r["msg"])[: int(r["len"]) // 8 if "len" in r else None]
        task.hash_init(handle)
        assert task.hash_final(handle, message).hex() == r["md"].lower()
        done += 1
    assert done


def test_cmac_vectors(task: Task) -> None:
    for name in ("aes128", "aes192", "aes256"):
        for r in records("CMAC", f"nist-800-38b-{name}.txt"):
            handle = started(task, AES_CMAC, bytes.fromhex(r["key"]))
            assert task.hash_final(handle, bytes.fromhex(r["message"])).hex() == r["output"]
    for r in records("CMAC", "nist-800-38b-3des.txt"):
        key = bytes.fromhex(r["key1"] + r["key2"] + r["key3"])
        keys = [key, key[:16]] if key[:8] == key[16:] else [key]
        for one in keys:
            handle = started(task, DES3_CMAC, one)
            assert task.hash_final(handle, bytes.fromhex(r["message"])).hex() == r["output"]


def test_hmac_sm3_gmt_0042(task: Task) -> None:
    # GM/T 0042-2015 appendix D.3, example 1
    key = bytes(range(1, 33))
    message = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq" * 2
    expected = "ca05e144ed05d1857840d1f318a4a8669e559fc8391f414485bfdf7bb408963a"
    assert task.hash_final(started(task, 0x30000007, key), message).hex() == expected


def test_hmac_sha256_helper() -> None:
    # RFC 4231 test case 2; an empty key
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert oneshot.hmac_sha256(b"Jefe", b"what do ya want for nothing?").hex() == expected
    assert oneshot.hmac_sha256(b"", b"x") == hmac.new(b"", b"x", "sha256").digest()


def result_of(call: object, *args: object) -> int:
    with pytest.raises(TeeError) as info:
        call(*args)  # type: ignore[operator]
    return info.value.result


def test_states_and_their_errors(task: Task) -> None:
    sha = task.state_alloc(0x50000004, Mode.DIGEST)
    assert result_of(task.hash_update, sha, b"x") == results.BAD_STATE
    assert result_of(task.hash_final, sha) == results.BAD_STATE
    assert not task.state_info(sha).initialised
    task.hash_init(sha)
    assert task.state_info(sha) == (0x50000004, Mode.DIGEST, 32, 0, True)
    task.hash_update(sha, b"a")
    assert result_of(task.hash_final, sha, b"b", 31) == results.SHORT_BUFFER
    assert task.hash_final(sha, b"c", 32) == hashlib.sha256(b"ac").digest()  # the short one fed nothing
    assert result_of(task.hash_update, sha, b"x") == results.BAD_STATE
    task.hash_init(sha)
    task.state_reset(sha)
    assert result_of(task.hash_update, sha, b"x") == results.BAD_STATE
    assert result_of(task.hash_update, sha + 1, b"") == results.BAD_PARAMETERS
    assert result_of(task.hash_update, 0, b"") == results.BAD_PARAMETERS
    assert result_of(task.hash_update, (1 << 64) - 1, b"") == results.BAD_PARAMETERS
    mac = task.state_alloc(0x30000004, Mode.MAC)
    assert result_of(task.hash_init, mac) == results.BAD_STATE
    assert result_of(task.state_copy, mac, sha) == results.BAD_PARAMETERS
    cipher = task.state_alloc(0x10000010, Mode.ENCRYPT)
    assert result_of(task.hash_init, cipher, bytes(16)) == results.BAD_PARAMETERS
    task.cipher_init(cipher, bytes(16))
    assert result_of(task.hash_update, cipher, b"x") == results.BAD_PARAMETERS
    assert result_of(started, task, AES_CMAC, bytes(17)) == results.BAD_STATE


@pytest.mark.parametrize(
    ("algo", "result"),
    [
        (0x5000000F, results.NOT_IMPLEMENTED),  # MD5SHA1: crypto_hash_alloc_ctx() has none
        (0x50000099, results.NOT_IMPLEMENTED),
        (0x10000710, results.NOT_IMPLEMENTED),
        (0x40000910, results.NOT_IMPLEMENTED),
        (0x30000199, results.NOT_SUPPORTED),
        (0x00000000, results.NOT_SUPPORTED),
        (0xFFFFFFFF, results.NOT_SUPPORTED),
    ],
)
def test_unknown_algorithms(task: Task, algo: int, result: int) -> None:
    assert result_of(task.state_alloc, algo, 0) == result
    assert task.state_count == 0


def test_opaque_states(task: Task) -> None:
    for algo in (0x60000130, 0x70414930, 0x80000042, 0x80000046, 0xF0111930):
        handle = task.state_alloc(algo, Mode.SIGN)
        assert task.state_info(handle).algo == algo
        assert result_of(task.hash_init, handle) == results.BAD_PARAMETERS
        assert result_of(task.hash_update, handle, b"x") == results.BAD_STATE
        assert result_of(task.cipher_init, handle, bytes(16)) == results.BAD_STATE
        assert result_of(task.cipher_update, handle, bytes(16)) == results.BAD_STATE
        assert result_of(task.ae_init, handle, bytes(16), bytes(12), 16) == results.BAD_STATE
        assert result_of(task.ae_dec_final, handle, b"", b"") == results.BAD_STATE
        assert result_of(task.state_copy, handle, handle) == results.BAD_STATE


def test_handles_are_bounded_and_not_reused_soon() -> None:
    task = Task(max_states=3)
    first = [task.state_alloc(0x50000004, 5) for _ in range(3)]
    assert result_of(task.state_alloc, 0x50000004, 5) == results.OUT_OF_MEMORY
    seen = set(first)
    handle = first[1]
    for _ in range(100):
        task.state_free(handle)
        assert result_of(task.state_info, handle) == results.BAD_PARAMETERS
        handle = task.state_alloc(0x50000004, 5)
        assert handle not in seen
        assert 0 < handle < 1 << 31
        seen.add(handle)
    assert task.state_count == 3
    task.close()
    task.close()


def test_unknown_digest_name() -> None:
    for name in ("", "sha257", 0, 0x30000004):
        assert result_of(oneshot.digest, name, b"") == results.NOT_SUPPORTED


def test_digest_takes_any_buffer() -> None:
    expected = hashlib.sha256(b"abcd").digest()
    assert oneshot.digest("sha256", b"ab", bytearray(b"c"), memoryview(b"xdx")[1:2]) == expected
    words = memoryview(b"abcd").cast("I")
    assert oneshot.digest("SHA256", words) == expected
