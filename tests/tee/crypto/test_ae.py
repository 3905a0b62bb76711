"""AES-GCM and AES-CCM of tee.crypto.task: NIST vectors, pyca in random pieces with copies, OP-TEE's rules."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM
from hypothesis import given
from hypothesis import strategies as st

from tee.abi import results
from tee.abi.algorithms import Mode
from tee.crypto import oneshot
from tee.crypto.task import Task
from tee.errors import TeeError
from tests.tee.crypto.vectors import records, sample

ENCRYPT, DECRYPT = Mode.ENCRYPT, Mode.DECRYPT
CCM, GCM = 0x40000710, 0x40000810


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted(cut % (len(data) + 1) for cut in cuts)
    return [data[a:b] for a, b in zip([0, *at], [*at, len(data)], strict=True)]


def result_of(call: Callable[..., object], *args: object) -> int:
    with pytest.raises(TeeError) as info:
        call(*args)
    return info.value.result


class Stream:
    """One message in pieces; the state is replaced by a copy of it before each piece."""

    def __init__(self, algo: int, mode: int, *init: object) -> None:
        self.task = Task(max_states=2)
        self.algo, self.mode = algo, mode
        self.handle = self.task.state_alloc(algo, mode)
        self.task.ae_init(self.handle, *init)  # type: ignore[arg-type]

    def move(self) -> int:
        other = self.task.state_alloc(self.algo, self.mode)
        self.task.state_copy(other, self.handle)
        self.task.state_free(self.handle)
        self.handle = other
        return other

    def body(self, aad: list[bytes], data: list[bytes]) -> bytes:
        for piece in aad:
            self.task.ae_update_aad(self.move(), piece)
        return b"".join(self.task.ae_update(self.move(), piece) for piece in data)

    def seal(self, aad: list[bytes], data: list[bytes]) -> tuple[bytes, bytes]:
        head = self.body(aad, data[:-1])
        tail, tag = self.task.ae_enc_final(self.move(), data[-1])
        return head + tail, tag

    def open(self, aad: list[bytes], data: list[bytes], tag: bytes) -> bytes:
        return self.body(aad, data[:-1]) + self.task.ae_dec_final(self.move(), data[-1], tag)


key32 = st.binary(min_size=32, max_size=32)
cuts = st.lists(st.integers(0, 10000), max_size=4)
small = st.binary(max_size=120)


@given(st.sampled_from([16, 24, 32]), key32, st.binary(min_size=8, max_size=64), small, small, cuts, cuts)
def test_gcm_in_pieces(
    size: int, key: bytes, nonce: bytes, aad: bytes, data: bytes, cut_aad: list[int], cut_data: list[int]
) -> None:
    key = key[:size]
    sealed = AESGCM(key).encrypt(nonce, data, aad)
    cipher_text, tag = sealed[:-16], sealed[-16:]
    init = (key, nonce, 16)
    got = Stream(GCM, ENCRYPT, *init).seal(pieces(aad, cut_aad), pieces(data, cut_data))
    assert got == (cipher_text, tag)
    assert Stream(GCM, DECRYPT, *init).open(pieces(aad, cut_aad), pieces(cipher_text, cut_data), tag) == data
    bad = bytes([tag[0] ^ 1]) + tag[1:]
    assert result_of(Stream(GCM, DECRYPT, *init).open, [aad], [cipher_text], bad) == results.MAC_INVALID
    assert oneshot.gcm_decrypt(key, nonce, aad, cipher_text, tag) == data
    assert oneshot.gcm_decrypt(key, nonce, aad + b"x", cipher_text, tag) is None


@given(
    st.sampled_from([16, 24, 32]),
    key32,
    st.binary(min_size=7, max_size=13),
    st.sampled_from([4, 6, 8, 10, 12, 14, 16]),
    small,
    small,
    cuts,
    cuts,
)
def test_ccm_in_pieces(
    size: int, key: bytes, nonce: bytes, tag_size: int, aad: bytes, data: bytes, cut_aad: list[int], cut_data: list[int]
) -> None:
    key = key[:size]
    sealed = AESCCM(key, tag_size).encrypt(nonce, data, aad)
    cipher_text, tag = sealed[: len(data)], sealed[len(data) :]
    init = (key, nonce, tag_size, len(aad), len(data))
    got = Stream(CCM, ENCRYPT, *init).seal(pieces(aad, cut_aad), pieces(data, cut_data))
    assert got == (cipher_text, tag)
    assert Stream(CCM, DECRYPT, *init).open(pieces(aad, cut_aad), pieces(cipher_text, cut_data), tag) == data
    bad = tag[:-1] + bytes([tag[-1] ^ 0x80])
    assert result_of(Stream(CCM, DECRYPT, *init).open, [aad], [cipher_text], bad) == results.MAC_INVALID


@pytest.mark.parametrize("aad_size", [0xFEFF, 0xFF00, 0x10001])
def test_ccm_long_aad_and_payload(aad_size: int) -> None:
    aad, data, key, nonce = bytes(range(256)) * 257, b"payload " * 5000, bytes(16), bytes(12)
    aad = aad[:aad_size]
    sealed = AESCCM(key).encrypt(nonce, data, aad)
    seal = Stream(CCM, ENCRYPT, key, nonce, 16, len(aad), len(data)).seal
    assert seal(pieces(aad, [5, 70, 4101]), pieces(data, [1, 4097, 9000])) == (sealed[:-16], sealed[-16:])


def test_ccm_cuts_a_nonce_too_long_for_its_payload() -> None:
    """LibTomCrypt's ccm_add_nonce(): 65536 bytes need three length bytes, so 13 bytes of nonce become 12."""
    data, key, nonce = bytes(1 << 16), bytes(16), bytes(range(13))
    sealed = AESCCM(key).encrypt(nonce[:12], data, None)
    assert Stream(CCM, ENCRYPT, key, nonce, 16, 0, len(data)).seal([], [data]) == (sealed[:-16], sealed[-16:])


@pytest.mark.parametrize("bits", [128, 192, 256])
def test_gcm_vectors(bits: int) -> None:
    done = 0
    for r in sample(records("ciphers", "AES", "GCM", f"gcmDecrypt{bits}.rsp"), 400):
        if "key" not in r or len(r["iv"]) < 2:
            continue
        key, iv, aad, ct, tag = (bytes.fromhex(r[name]) for name in ("key", "iv", "aad", "ct", "tag"))
        stream = Stream(GCM, DECRYPT, key, iv, len(tag))
        if "fail" in r:
            assert result_of(stream.open, [aad], [ct], tag) == results.MAC_INVALID
            assert oneshot.gcm_decrypt(key, iv, aad, ct, tag) is None
        else:
            assert stream.open([aad], [ct], tag).hex() == r["pt"]
            assert Stream(GCM, ENCRYPT, key, iv, len(tag)).seal([aad], [bytes.fromhex(r["pt"])]) == (ct, tag)
        done += 1
    assert done > 100


@pytest.mark.parametrize("bits", [128, 192, 256])
@pytest.mark.parametrize("kind", ["VADT", "VNT", "VPT", "VTT"])
def test_ccm_vectors(kind: str, bits: int) -> None:
    """Parameters come in groups of their own before the cases that use them."""
    known: dict[str, str] = {}
    done = 0
    for r in records("ciphers", "AES", "CCM", f"{kind}{bits}.rsp"):
        known.update(r)
        if "payload" not in r or int(known["count"]) % 3:
            continue
        aad = bytes.fromhex(known["adata"])[: int(known["alen"])]
        data = bytes.fromhex(known["payload"])[: int(known["plen"])]
        key, nonce, sealed = (bytes.fromhex(known[name]) for name in ("key", "nonce", "ct"))
        init = (key, nonce, int(known["tlen"]), len(aad), len(data))
        cipher_text, tag = Stream(CCM, ENCRYPT, *init).seal([aad], [data])
        assert cipher_text + tag == sealed
        done += 1
    assert done > 10


def started(task: Task, algo: int, mode: int, *init: object) -> int:
    handle = task.state_alloc(algo, mode)
    task.ae_init(handle, *init)  # type: ignore[arg-type]
    return handle


def test_gcm_rules() -> None:
    task = Task()
    for mode, key, nonce, tag, result in [
        (ENCRYPT, 16, 12, 17, results.BAD_PARAMETERS),
        (ENCRYPT, 16, 12, 0, results.BAD_PARAMETERS),
        (ENCRYPT, 17, 12, 16, results.BAD_STATE),
        (Mode.MAC, 16, 12, 16, results.BAD_PARAMETERS),
    ]:
        handle = task.state_alloc(GCM, mode)
        assert result_of(task.ae_init, handle, bytes(key), bytes(nonce), tag) == result
        assert result_of(task.ae_update, handle, b"x") == results.BAD_STATE
    handle = started(task, GCM, ENCRYPT, bytes(16), bytes(12), 12)
    assert task.state_info(handle).tag_size == 12
    assert task.ae_update(handle, b"") == b""
    task.ae_update_aad(handle, b"aad after nothing")
    task.ae_update(handle, b"x")
    assert result_of(task.ae_update_aad, handle, b"late") == results.BAD_PARAMETERS
    assert result_of(task.ae_dec_final, handle, b"", bytes(12)) == results.BAD_PARAMETERS
    assert result_of(task.ae_enc_final, handle, b"", 11) == results.SHORT_BUFFER
    oracle = Cipher(algorithms.AES(bytes(16)), modes.GCM(bytes(12))).encryptor()
    oracle.authenticate_additional_data(b"aad after nothing")
    assert oracle.update(b"xy")[1:] == task.ae_enc_final(handle, b"y")[0]
    assert result_of(task.ae_update, handle, b"x") == results.BAD_STATE
    handle = started(task, GCM, DECRYPT, bytes(16), bytes(12), 16)
    assert result_of(task.ae_enc_final, handle) == results.BAD_PARAMETERS
    assert result_of(task.ae_dec_final, handle, b"", bytes(12)) == results.MAC_INVALID
    assert result_of(task.cipher_update, handle, b"") == results.BAD_PARAMETERS
    assert result_of(oneshot.gcm_decrypt, bytes(15), bytes(12), b"", b"", bytes(16)) == results.BAD_PARAMETERS


def times(a: int, b: int) -> int:
    """Product in the field of GHASH, as SP 800-38D section 6.3 writes it: the first bit is the highest."""
    out = 0
    for bit in range(127, -1, -1):
        out ^= b if a >> bit & 1 else 0
        b = b >> 1 ^ (0xE1 << 120 if b & 1 else 0)
    return out


def ghash(key: bytes, data: bytes) -> bytes:
    h = int.from_bytes(Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(bytes(16)), "big")
    y = 0
    for at in range(0, len(data), 16):
        y = times(y ^ int.from_bytes(data[at : at + 16], "big"), h)
    return y.to_bytes(16, "big")


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 16)


def gcm(key: bytes, nonce: bytes, aad: bytes, plain: bytes) -> tuple[bytes, bytes]:
    """GCM by the book, on pyca's AES in counter mode."""
    first = ghash(key, padded(nonce) + bytes(8) + (8 * len(nonce)).to_bytes(8, "big"))
    if len(nonce) == 12:
        first = nonce + b"\0\0\0\1"
    counter = first[:12] + (int.from_bytes(first[12:], "big") + 1 & 0xFFFFFFFF).to_bytes(4, "big")
    assert int.from_bytes(counter[12:], "big") < 0xFFFF0000  # pyca's counter has 128 bits
    sealed = Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor().update(plain)
    sizes = (8 * len(aad)).to_bytes(8, "big") + (8 * len(plain)).to_bytes(8, "big")
    mask = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(first)
    digest = ghash(key, padded(aad) + padded(sealed) + sizes)
    return sealed, bytes(a ^ b for a, b in zip(digest, mask, strict=True))


def test_the_gcm_by_the_book_is_right() -> None:
    for size in (8, 12, 13, 16, 17, 128):
        nonce = bytes(range(size))
        oracle = Cipher(algorithms.AES(bytes(24)), modes.GCM(nonce)).encryptor()
        oracle.authenticate_additional_data(b"aad")
        sealed = oracle.update(b"plain text of 24 octets!") + oracle.finalize()
        assert gcm(bytes(24), nonce, b"aad", b"plain text of 24 octets!") == (sealed, oracle.tag)


@pytest.mark.parametrize("size", [0, 1, 2, 7, 11, 12, 16, 127, 128, 129, 130, 144, 145, 257, 1000, 4096, 100_000])
@pytest.mark.parametrize("key_size", [16, 24, 32])
def test_gcm_takes_a_nonce_of_any_length(key_size: int, size: int) -> None:
    """OP-TEE's core/crypto/aes-gcm.c has no limit, and none at the lower end."""
    key, nonce = bytes(range(1, key_size + 1)), bytes(i * i % 251 for i in range(size))
    data, aad = b"a message of some length, and no whole blocks", b"what goes with it"
    expected = gcm(key, nonce, aad, data)
    assert Stream(GCM, ENCRYPT, key, nonce, 16).seal([aad[:3], aad[3:]], [data[:20], data[20:]]) == expected
    assert Stream(GCM, DECRYPT, key, nonce, 16).open([aad], [expected[0]], expected[1]) == data
    task = Task()
    handle = started(task, GCM, DECRYPT, key, nonce[:-1] + b"\xff" if nonce else b"x", 16)
    task.ae_update_aad(handle, aad)
    assert result_of(task.ae_dec_final, handle, *expected) == results.MAC_INVALID


def test_ccm_rules() -> None:
    task = Task()
    for nonce, tag, aad, payload, result in [
        (14, 16, 0, 0, results.BAD_PARAMETERS),
        (6, 16, 0, 0, results.BAD_STATE),
        (12, 16, 1 << 31, 0, results.BAD_PARAMETERS),
        (12, 16, 0, 1 << 31, results.BAD_PARAMETERS),
        (12, 16, (1 << 64) - 1, 0, results.BAD_PARAMETERS),
        (12, 3, 0, 0, results.NOT_SUPPORTED),
        (12, 5, 0, 0, results.NOT_SUPPORTED),
        (12, 18, 0, 0, results.NOT_SUPPORTED),
    ]:
        handle = task.state_alloc(CCM, ENCRYPT)
        assert result_of(task.ae_init, handle, bytes(16), bytes(nonce), tag, aad, payload) == result
    handle = started(task, CCM, ENCRYPT, bytes(16), bytes(12), 8, 4, 4)
    assert result_of(task.ae_update, handle, b"x") == results.BAD_STATE  # AAD outstanding
    assert result_of(task.ae_update_aad, handle, b"12345") == results.BAD_STATE
    task.ae_update_aad(handle, b"1234")
    assert result_of(task.ae_update_aad, handle, b"5") == results.BAD_STATE
    assert result_of(task.ae_update, handle, b"12345") == results.BAD_STATE
    assert result_of(task.ae_enc_final, handle, b"123") == results.BAD_STATE  # payload outstanding
    assert result_of(task.ae_enc_final, handle, b"4", 7) == results.SHORT_BUFFER
    sealed = AESCCM(bytes(16), 8).encrypt(bytes(12), b"1234", b"1234")
    assert task.ae_enc_final(handle, b"4") == (sealed[3:4], sealed[4:])
    handle = started(task, CCM, DECRYPT, bytes(16), bytes(12), 8, 0, 0)
    assert result_of(task.ae_dec_final, handle, b"", b"") == results.SHORT_BUFFER
    assert result_of(task.ae_dec_final, handle, b"", bytes(17)) == results.BAD_STATE
    assert result_of(task.ae_dec_final, handle, b"", bytes(4)) == results.MAC_INVALID


def test_into_a_buffer() -> None:
    task = Task()
    handle = started(task, GCM, ENCRYPT, bytes(16), bytes(12), 16)
    oracle = Cipher(algorithms.AES(bytes(16)), modes.GCM(bytes(12))).encryptor()
    data = bytearray(b"in place, and into a longer one")
    expected = [oracle.update(bytes(data)), oracle.update(b"abc")]
    task.ae_update_into(handle, data, data)
    assert data == expected[0]
    room = bytearray(8)
    task.ae_update_into(handle, b"abc", memoryview(room)[1:])
    assert room == b"\0" + expected[1] + bytes(4)
    assert result_of(task.ae_update_into, handle, bytes(9), room) == results.SHORT_BUFFER
    with pytest.raises((TypeError, BufferError)):
        task.ae_update_into(handle, b"x", b"read-only")  # type: ignore[arg-type]
    ctr = task.state_alloc(0x10000210, ENCRYPT)
    task.cipher_init(ctr, bytes(16), b"", bytes(16))
    task.cipher_update_into(ctr, bytes(4), room)
    assert room[:4] == Cipher(algorithms.AES(bytes(16)), modes.CTR(bytes(16))).encryptor().update(bytes(4))
