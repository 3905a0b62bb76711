"""Ciphers of tee.crypto.task: NIST, IEEE, RFC 3962 and GB/T vectors, pyca in random pieces, OP-TEE's rules."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, CipherAlgorithm, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from tee.abi import results
from tee.abi.algorithms import Mode
from tee.crypto.task import Task
from tee.errors import TeeError
from tests.tee.crypto.vectors import records, sample

ENCRYPT, DECRYPT = Mode.ENCRYPT, Mode.DECRYPT
AES_ECB, AES_CBC, AES_CTR, AES_CTS, AES_XTS = 0x10000010, 0x10000110, 0x10000210, 0x10000310, 0x10000410
DES_ECB, DES_CBC, DES3_ECB, DES3_CBC = 0x10000011, 0x10000111, 0x10000013, 0x10000113
SM4_ECB, SM4_CBC, SM4_CTR, SM4_XTS = 0x10000014, 0x10000114, 0x10000214, 0xF0000414


def des(key: bytes) -> CipherAlgorithm:
    """DES is EDE with three equal keys; two keys are K1, K2, K1."""
    return TripleDES((key * 3)[:24])


PLAIN: dict[int, tuple[Callable[[bytes], CipherAlgorithm], list[int], int, str]] = {
    AES_ECB: (algorithms.AES, [16, 24, 32], 16, "ECB"),
    AES_CBC: (algorithms.AES, [16, 24, 32], 16, "CBC"),
    AES_CTR: (algorithms.AES, [16, 24, 32], 16, "CTR"),
    DES_ECB: (des, [8], 8, "ECB"),
    DES_CBC: (des, [8], 8, "CBC"),
    DES3_ECB: (des, [16, 24], 8, "ECB"),
    DES3_CBC: (des, [16, 24], 8, "CBC"),
    SM4_ECB: (algorithms.SM4, [16], 16, "ECB"),
    SM4_CBC: (algorithms.SM4, [16], 16, "CBC"),
    SM4_CTR: (algorithms.SM4, [16], 16, "CTR"),
}


def started(task: Task, algo: int, mode: int, key1: bytes, key2: bytes = b"", iv: bytes = b"") -> int:
    handle = task.state_alloc(algo, mode)
    task.cipher_init(handle, key1, key2, iv)
    return handle


def run(algo: int, mode: int, data: bytes, key1: bytes, key2: bytes = b"", iv: bytes = b"") -> bytes:
    """In one final call."""
    task = Task(max_states=1)
    out = task.cipher_final(started(task, algo, mode, key1, key2, iv), data)
    task.close()
    return out


def stream(
    algo: int, mode: int, parts: list[bytes], last: bytes, key1: bytes, key2: bytes = b"", iv: bytes = b""
) -> bytes:
    """In pieces, on a fresh copy of the state before each."""
    task = Task()
    handle = started(task, algo, mode, key1, key2, iv)
    out = b""
    for part in parts:
        other = task.state_alloc(algo, mode)
        task.state_copy(other, handle)
        task.cipher_update(handle, bytes(len(part)))
        out += task.cipher_update(other, part)
        handle = other
    out += task.cipher_final(handle, last)
    task.close()
    return out


def pyca(algo: int, encrypt: bool, key: bytes, iv: bytes, data: bytes) -> bytes:
    make, _, _, chain = PLAIN[algo]
    mode = {"ECB": modes.ECB(), "CBC": modes.CBC(iv), "CTR": None}[chain]
    if mode is None:
        mode = modes.CTR(iv)  # type: ignore[assignment]
    cipher = Cipher(make(key), mode)
    context = cipher.encryptor() if encrypt else cipher.decryptor()
    return context.update(data) + context.finalize()


def split(data: bytes, cuts: list[int], block: int) -> tuple[list[bytes], bytes]:
    """Whole blocks, and what remains for the final call."""
    at = sorted({cut % (len(data) // block + 1) * block for cut in cuts})
    edges = [0, *at]
    return [data[a:b] for a, b in zip(edges, at, strict=False)], data[edges[-1] :]


key32 = st.binary(min_size=32, max_size=32)
iv16 = st.binary(min_size=16, max_size=16)
cuts = st.lists(st.integers(0, 1000), max_size=5)


@given(st.sampled_from(sorted(PLAIN)), st.sampled_from([ENCRYPT, DECRYPT]), st.data())
def test_plain_modes_in_pieces(algo: int, mode: int, draw: st.DataObject) -> None:
    _, sizes, block, chain = PLAIN[algo]
    key = draw.draw(key32)[: draw.draw(st.sampled_from(sizes))]
    iv = draw.draw(iv16)[:block]
    data = draw.draw(st.binary(max_size=400))
    step = 1 if algo == AES_CTR else block
    data = data[: len(data) // step * step]
    parts, last = split(data, draw.draw(cuts), step)
    got = stream(algo, mode, parts, last, key, iv=b"" if chain == "ECB" else iv)
    assert got == pyca(algo, mode == ENCRYPT, key, iv, data)


# --- CTS -------------------------------------------------------------------------------------


def cs3(key: bytes, iv: bytes, data: bytes) -> bytes:
    """CBC-CS3 of pyca's CBC, by the words of NIST's addendum to SP 800-38A."""
    tail = len(data) % 16 or 16
    out = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor().update(data + bytes(16 - tail))
    head, before, final = out[:-32], out[-32:-16], out[-16:]
    return head + final + before[:tail]


@given(st.sampled_from([16, 24, 32]), key32, iv16, st.binary(min_size=17, max_size=200), cuts)
def test_cts(size: int, key: bytes, iv: bytes, data: bytes, where: list[int]) -> None:
    key = key[:size]
    # the final call needs two blocks, begun at least
    fits = [c % ((len(data) - 17) // 16 + 1) for c in where]
    parts, last = split(data, [], 16)
    if fits:
        at = sorted({c * 16 for c in fits})
        parts, last = [data[a:b] for a, b in zip([0, *at], at, strict=False)], data[at[-1] :]
    expected = cs3(key, iv, data)
    assert stream(AES_CTS, ENCRYPT, parts, last, key, iv=iv) == expected
    parts = [expected[sum(map(len, parts[:i])) :][: len(p)] for i, p in enumerate(parts)]
    assert stream(AES_CTS, DECRYPT, parts, expected[-len(last) :], key, iv=iv) == data


def test_cts_rfc_3962() -> None:
    key, text = b"chicken teriyaki", b"I would like the General Gau's Chicken, please, and wonton soup."
    expected = {
        17: "c6353568f2bf8cb4d8a580362da7ff7f97",
        31: "fc00783e0efdb2c1d445d4c8eff7ed2297687268d6ecccc0c07b25e25ecfe5",
        32: "39312523a78662d5be7fcbcc98ebf5a897687268d6ecccc0c07b25e25ecfe584",
        47: "97687268d6ecccc0c07b25e25ecfe584b3fffd940c16a18c1b5549d2f838029e39312523a78662d5be7fcbcc98ebf5",
        48: "97687268d6ecccc0c07b25e25ecfe5849dad8bbb96c4cdc03bc103e1a194bbd839312523a78662d5be7fcbcc98ebf5a8",
        64: "97687268d6ecccc0c07b25e25ecfe58439312523a78662d5be7fcbcc98ebf5a8"
        "4807efe836ee89a526730dbc2f7bc8409dad8bbb96c4cdc03bc103e1a194bbd8",
    }
    for size, cipher_text in expected.items():
        assert run(AES_CTS, ENCRYPT, text[:size], key, iv=bytes(16)).hex() == cipher_text
        assert run(AES_CTS, DECRYPT, bytes.fromhex(cipher_text), key, iv=bytes(16)) == text[:size]


# --- XTS -------------------------------------------------------------------------------------


@given(st.sampled_from([16, 32]), st.binary(min_size=64, max_size=64), iv16, st.binary(min_size=16, max_size=300), cuts)
def test_xts_keeps_its_tweak(size: int, key: bytes, iv: bytes, data: bytes, where: list[int]) -> None:
    key1, key2 = key[:size], key[32 : 32 + size]
    limit = len(data) // 16 - (1 if len(data) % 16 else 0)  # a partial block needs a whole one before it
    at = sorted({c % (limit + 1) * 16 for c in where})
    edges = [0, *at]
    parts, last = [data[a:b] for a, b in zip(edges, at, strict=False)], data[edges[-1] :]
    if key1 != key2:  # pyca and OpenSSL refuse equal halves
        oracle = Cipher(algorithms.AES(key1 + key2), modes.XTS(iv))
        expected = oracle.encryptor().update(data)
        assert stream(AES_XTS, ENCRYPT, parts, last, key1, key2, iv) == expected
    cipher_text = run(AES_XTS, ENCRYPT, data, key1, key2, iv)
    pieces = [cipher_text[a:b] for a, b in zip(edges, at, strict=False)]
    assert stream(AES_XTS, DECRYPT, pieces, cipher_text[edges[-1] :], key1, key2, iv) == data


def test_xts_long() -> None:
    key1, key2, iv, data = bytes(32), b"\1" * 32, b"\2" * 16, bytes(range(256)) * 100 + b"tail"
    expected = Cipher(algorithms.AES(key1 + key2), modes.XTS(iv)).encryptor().update(data)
    assert stream(AES_XTS, ENCRYPT, [data[:4112], data[4112:12304]], data[12304:], key1, key2, iv) == expected


@pytest.mark.parametrize("bits", [128, 256])
def test_xts_vectors(bits: int) -> None:
    path = ("ciphers", "AES", "XTS", "tweak-128hexstr", f"XTSGenAES{bits}.rsp")
    done = 0
    for r in sample((r for r in records(*path) if int(r.get("dataunitlen", 1)) % 8 == 0), 100):
        key, iv = bytes.fromhex(r["key"]), bytes.fromhex(r["i"])
        key1, key2 = key[: len(key) // 2], key[len(key) // 2 :]
        text, cipher_text = bytes.fromhex(r["pt"]), bytes.fromhex(r["ct"])
        assert run(AES_XTS, ENCRYPT, text, key1, key2, iv) == cipher_text
        assert run(AES_XTS, DECRYPT, cipher_text, key1, key2, iv) == text
        done += 1
    assert done


def test_xts_equal_keys_ieee_1619_vector_1() -> None:
    expected = "917cf69ebd68b2ec9b9fe9a3eadda692cd43d2f59598ed858c02c2652fbf922e"
    assert run(AES_XTS, ENCRYPT, bytes(32), bytes(16), bytes(16), bytes(16)).hex() == expected


def xts_by_hand(key1: bytes, key2: bytes, iv: bytes, data: bytes) -> bytes:
    """IEEE 1619 5.3.2 with SM4, whole blocks."""
    one = Cipher(algorithms.SM4(key1), modes.ECB()).encryptor()
    tweak = int.from_bytes(Cipher(algorithms.SM4(key2), modes.ECB()).encryptor().update(iv), "little")
    out = b""
    for at in range(0, len(data), 16):
        mask = tweak.to_bytes(16, "little")
        block = bytes(a ^ b for a, b in zip(data[at : at + 16], mask, strict=True))
        out += bytes(a ^ b for a, b in zip(one.update(block), mask, strict=True))
        tweak = tweak << 1 ^ (0x87 if tweak >> 127 else 0)
        tweak &= (1 << 128) - 1
    return out


@given(st.binary(min_size=16, max_size=16), iv16, iv16, st.binary(max_size=200), cuts)
def test_sm4_xts(key1: bytes, key2: bytes, iv: bytes, data: bytes, where: list[int]) -> None:
    data = data[: len(data) // 16 * 16]
    parts, last = split(data, where, 16)
    expected = xts_by_hand(key1, key2, iv, data)
    assert stream(SM4_XTS, ENCRYPT, parts, last, key1, key2, iv) == expected
    parts, last = split(expected, where, 16)
    assert stream(SM4_XTS, DECRYPT, parts, last, key1, key2, iv) == data


def test_sm4_xts_stealing_round_trip_against_definition() -> None:
    key1, key2, iv, data = b"1" * 16, b"2" * 16, b"3" * 16, bytes(range(45))
    out = run(SM4_XTS, ENCRYPT, data, key1, key2, iv)
    # IEEE 1619 5.3.2: the whole blocks before, then C_m-1 over P_m and the end of CC
    whole = xts_by_hand(key1, key2, iv, data[:32])
    assert out[:16] == whole[:16]
    assert out[32:] == whole[16:29]
    stolen = xts_by_hand(key1, key2, iv, bytes(32) + data[32:] + whole[29:32])[32:]
    assert out[16:32] == stolen
    assert run(SM4_XTS, DECRYPT, out, key1, key2, iv) == data


# --- vectors of plain modes ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("algo", "path"),
    [
        (AES_ECB, ("AES", "ECB", "ECBMMT192.rsp")),
        (AES_CBC, ("AES", "CBC", "CBCMMT256.rsp")),
        (SM4_ECB, ("SM4", "draft-ribose-cfrg-sm4-10-ecb.txt")),
        (SM4_CBC, ("SM4", "draft-ribose-cfrg-sm4-10-cbc.txt")),
        (SM4_CTR, ("SM4", "draft-ribose-cfrg-sm4-10-ctr.txt")),
    ],
)
def test_vectors(algo: int, path: tuple[str, ...]) -> None:
    rows = list(records("ciphers", *path))
    assert len(rows) >= 2
    for r in rows:
        key, iv = bytes.fromhex(r["key"]), bytes.fromhex(r.get("iv", ""))
        text, cipher_text = bytes.fromhex(r["plaintext"]), bytes.fromhex(r["ciphertext"])
        assert run(algo, ENCRYPT, text, key, iv=iv) == cipher_text
        assert run(algo, DECRYPT, cipher_text, key, iv=iv) == text


def test_des3_vectors() -> None:
    for r in records("ciphers", "3DES", "CBC", "TCBCMMT3.rsp"):
        key = bytes.fromhex(r["key1"] + r["key2"] + r["key3"])
        got = run(DES3_CBC, ENCRYPT, bytes.fromhex(r["plaintext"]), key, iv=bytes.fromhex(r["iv"]))
        assert got.hex() == r["ciphertext"]


def test_des_fips_46_example() -> None:
    # NBS SP 500-20; the key with and without right parity
    for key in ("10316e028c8f3b4a", "11306f038d8e3a4b"):
        assert run(DES_ECB, ENCRYPT, bytes(8), bytes.fromhex(key)).hex() == "82dcbafbdeab6602"


# --- OP-TEE's rules --------------------------------------------------------------------------


def result_of(call: Callable[..., object], *args: object) -> int:
    with pytest.raises(TeeError) as info:
        call(*args)
    return info.value.result


@pytest.mark.parametrize("algo", sorted(PLAIN))
def test_partial_blocks(algo: int) -> None:
    _, sizes, block, chain = PLAIN[algo]
    task = Task()
    iv = b"" if chain == "ECB" else bytes(block)
    handle = started(task, algo, ENCRYPT, bytes(sizes[0]), iv=iv)
    if algo == AES_CTR:
        assert len(task.cipher_update(handle, bytes(5))) == 5
        assert len(task.cipher_final(handle, bytes(3))) == 3
        return
    assert result_of(task.cipher_update, handle, bytes(block + 1)) == results.BAD_PARAMETERS
    wrong = results.NOT_SUPPORTED if algo == SM4_CTR else results.BAD_PARAMETERS
    assert result_of(task.cipher_final, handle, bytes(1)) == wrong
    # a final call ends the operation, even one that fails
    assert result_of(task.cipher_update, handle, b"") == results.BAD_STATE


def test_cts_and_xts_need_enough() -> None:
    task = Task()
    handle = started(task, AES_CTS, ENCRYPT, bytes(16), iv=bytes(16))
    assert result_of(task.cipher_update, handle, bytes(17)) == results.BAD_PARAMETERS
    assert result_of(task.cipher_final, handle, bytes(16)) == results.BAD_STATE
    handle = started(task, AES_XTS, ENCRYPT, bytes(16), bytes(16), bytes(16))
    assert result_of(task.cipher_update, handle, bytes(17)) == results.BAD_PARAMETERS
    assert task.cipher_update(handle, b"") == b""
    assert result_of(task.cipher_final, handle, bytes(15)) == results.BAD_STATE


def test_bad_init() -> None:
    task = Task()
    for algo, mode, key1, key2, iv, result in [
        (AES_CBC, ENCRYPT, 16, 0, 15, results.BAD_PARAMETERS),
        (AES_CBC, ENCRYPT, 16, 0, 0, results.BAD_PARAMETERS),
        (AES_CBC, ENCRYPT, 17, 0, 16, results.BAD_STATE),
        (AES_CBC, Mode.MAC, 16, 0, 16, results.BAD_PARAMETERS),
        (AES_XTS, ENCRYPT, 16, 32, 16, results.BAD_PARAMETERS),
        (SM4_XTS, ENCRYPT, 16, 0, 16, results.BAD_STATE),
        (AES_XTS, ENCRYPT, 16, 16, 8, results.BAD_PARAMETERS),
        (DES3_ECB, ENCRYPT, 8, 0, 0, results.BAD_STATE),
    ]:
        handle = task.state_alloc(algo, mode)
        assert result_of(task.cipher_init, handle, bytes(key1), bytes(key2), bytes(iv)) == result
        assert result_of(task.cipher_update, handle, bytes(16)) == results.BAD_STATE


def test_a_failed_init_ends_the_operation_before_it() -> None:
    task = Task()
    handle = started(task, AES_CBC, ENCRYPT, bytes(16), iv=bytes(16))
    assert result_of(task.cipher_init, handle, bytes(16), b"", bytes(3)) == results.BAD_PARAMETERS
    assert result_of(task.cipher_update, handle, bytes(16)) == results.BAD_STATE
    task.cipher_init(handle, bytes(32), b"", bytes(16))
    assert task.cipher_final(handle, bytes(16)) == pyca(AES_CBC, True, bytes(32), bytes(16), bytes(16))
