"""What takes long in C: right results, and stops when it is told to."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM
from hypothesis import given
from hypothesis import strategies as st

from tee.abi import results
from tee.abi.algorithms import Algorithm, MainAlgorithm
from tee.crypto.keys import rsa_generate
from tee.crypto.oneshot import Pbkdf2
from tee.crypto.task import Task
from tee.errors import TeeError
from tee.services.crypto_derive import HASH_NAMES
from tee.services.lasting import to_its_end
from tests.tee.crypto.c_guest import Guest
from tests.tee.fake_ta import FakeTask
from tests.tee.key_kit import octets

if TYPE_CHECKING:
    from collections.abc import Callable

HASHES = {Algorithm[MainAlgorithm(main).name]: name for main, name in HASH_NAMES.items()}
LOOK = 1024
"""HMACs between two looks: pbkdf2.c."""
RSA_SIZES = (256, 496, 512, 1024, 2048, 4096)

# RFC 6070 (SHA-1, but for the one of 2^24 iterations) and RFC 7914 section 11 (SHA-256)
VECTORS = [
    ("sha1", "password", "salt", 1, "0c60c80f961f0e71f3a9b524af6012062fe037a6"),
    ("sha1", "password", "salt", 2, "ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957"),
    ("sha1", "password", "salt", 4096, "4b007901b765489abead49d926f721d065a429c1"),
    (
        "sha1",
        "passwordPASSWORDpassword",
        "saltSALTsaltSALTsaltSALTsaltSALTsalt",
        4096,
        "3d2eec4fe41c849b80c8d83662c0e44a8b291a964cf2f07038",
    ),
    ("sha1", "pass\0word", "sa\0lt", 4096, "56fa6aa75548099dcc37d7f03425e0c3"),
    (
        "sha256",
        "passwd",
        "salt",
        1,
        "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"
        "49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783",
    ),
    (
        "sha256",
        "Password",
        "NaCl",
        80000,
        "4ddcd8f60b98be21830cee5ef22701f9641a4418d04c0414aeff08876b34ab56"
        "a1d425a1225833549adb841b51c9b3176a272bdebba1d078478f62b397f33c8d",
    ),
]


@pytest.fixture
def task() -> Task:
    return Task()


@pytest.mark.parametrize(("name", "password", "salt", "iterations", "key"), VECTORS)
def test_pbkdf2_vectors(name: str, password: str, salt: str, iterations: int, key: str) -> None:
    hash_ = next(algo for algo, known in HASHES.items() if known == name)
    expected = bytes.fromhex(key)
    assert Pbkdf2(hash_, password.encode(), salt.encode(), iterations, len(expected)).run() == expected


@given(
    hash_=st.sampled_from(sorted(HASHES)),
    password=st.binary(max_size=300),
    salt=st.binary(max_size=300),
    iterations=st.integers(1, 3 * LOOK),
    size=st.integers(1, 200),
)
def test_pbkdf2_is_that_of_hashlib(hash_: Algorithm, password: bytes, salt: bytes, iterations: int, size: int) -> None:
    expected = hashlib.pbkdf2_hmac(HASHES[hash_], password, salt, iterations, size)
    assert Pbkdf2(hash_, password, salt, iterations, size).run() == expected


@pytest.mark.slow
def test_pbkdf2_of_2_to_the_24_iterations(task: Task) -> None:
    """RFC 6070: the most that a TA is served."""
    key = Pbkdf2(Algorithm.SHA1, b"password", b"salt", 1 << 24, 20).run(task)
    assert key.hex() == "eefe3d61cd4da4e4e9945b3d6ba2158c2634e984"


@given(iterations=st.integers(1, 4 * LOOK), size=st.integers(1, 70), every=st.integers(2, 4))
def test_pbkdf2_goes_on_where_it_was(iterations: int, size: int, every: int) -> None:
    task = Task()
    guest = Guest(task)
    guest.stops = lambda look: look % every == 0
    derivation = Pbkdf2(Algorithm.SHA256, b"password", b"salt", iterations, size)
    key = to_its_end(FakeTask(task), lambda: derivation.run(task))
    assert key == hashlib.pbkdf2_hmac("sha256", b"password", b"salt", iterations, size)
    pieces = -(-size // 32) * -(-iterations // LOOK)
    assert pieces < guest.looks <= 2 * pieces + 1


@pytest.mark.parametrize("hash_", [0x50000000, Algorithm.SHAKE128, Algorithm.AES_CBC_NOPAD, 0x50000FFF])
def test_pbkdf2_on_what_is_no_hash(hash_: int) -> None:
    with pytest.raises(TeeError) as error:
        Pbkdf2(hash_, b"p", b"s", 1, 16).run()
    assert error.value.result == results.NOT_SUPPORTED


def test_pbkdf2_without_iterations() -> None:
    with pytest.raises(TeeError) as error:
        Pbkdf2(Algorithm.SHA256, b"p", b"s", 0, 16).run()
    assert error.value.result == results.BAD_PARAMETERS


MIB = 1 << 20
LONG = [2 * MIB - 16, 2 * MIB, 2 * MIB + 16, 3 * MIB + 4096]
KEY, KEY2, IV = bytes(range(32)), bytes(range(32, 64)), bytes(range(64, 80))


def message(size: int) -> bytes:
    return hashlib.shake_128(b"message").digest(size)


@pytest.mark.parametrize("last", [False, True], ids=["update", "final"])
@pytest.mark.parametrize("size", LONG)
@pytest.mark.parametrize("algo", ["AES_CTR", "AES_CBC_NOPAD", "AES_ECB_NOPAD", "AES_XTS", "AES_CTS"])
def test_long_messages_of_ciphers(task: Task, algo: str, size: int, last: bool) -> None:
    """In pieces inside, as pyca has them whole; CTS, which it lacks, is CBC but for the end."""
    if algo == "AES_CTR" or (last and algo in ("AES_XTS", "AES_CTS")):
        size += 5  # an end that is no block
    data = message(size)
    state = task.state_alloc(Algorithm[algo], 0)
    task.cipher_init(state, KEY, KEY2 if algo == "AES_XTS" else b"", b"" if algo == "AES_ECB_NOPAD" else IV)
    out = task.cipher_final(state, data) if last else task.cipher_update(state, data)
    oracles: dict[str, modes.CTR | modes.CBC | modes.ECB | modes.XTS] = {
        "AES_CTR": modes.CTR(IV),
        "AES_CBC_NOPAD": modes.CBC(IV),
        "AES_ECB_NOPAD": modes.ECB(),
        "AES_XTS": modes.XTS(IV),
        "AES_CTS": modes.CBC(IV),
    }
    whole = data if algo != "AES_CTS" else data + bytes(-len(data) % 16)
    expected = Cipher(algorithms.AES(KEY + KEY2 if algo == "AES_XTS" else KEY), oracles[algo]).encryptor().update(whole)
    if algo == "AES_CTS" and last:
        head = len(whole) - 32
        expected = (expected[:head] + expected[-16:] + expected[head : head + 16])[: len(data)]
    assert out == expected


@pytest.mark.parametrize("size", [2 * MIB, 3 * MIB + 5])
@pytest.mark.parametrize(("algo", "oracle"), [("AES_GCM", AESGCM), ("AES_CCM", AESCCM)])
def test_long_messages_of_authenticated_encryption(
    task: Task, algo: str, oracle: type[AESGCM] | type[AESCCM], size: int
) -> None:
    data, aad = message(size), message(100)
    for mode in (0, 1):
        state = task.state_alloc(Algorithm[algo], mode)
        task.ae_init(state, KEY, IV[:12], 16, len(aad), len(data))
        task.ae_update_aad(state, aad)
        if not mode:
            sealed, tag = task.ae_enc_final(state, data)
            assert sealed + tag == oracle(KEY).encrypt(IV[:12], data, aad)
        else:
            assert task.ae_dec_final(state, sealed, tag) == data


@pytest.mark.parametrize("algo", ["DES3_CBC_NOPAD", "AES_XTS", "AES_GCM", "AES_CCM"])
@pytest.mark.parametrize("after", [0, 3])
def test_long_messages_are_given_up(task: Task, algo: str, after: int) -> None:
    state = task.state_alloc(Algorithm[algo], 0)
    data = bytes(8 * MIB)
    if algo in ("AES_GCM", "AES_CCM"):
        task.ae_init(state, KEY, IV[:12], 16, 0, len(data))
        assert stopped(task, lambda: task.ae_update(state, data), after) == after + 1
    else:
        keys = (KEY[:24], b"", IV[:8]) if algo == "DES3_CBC_NOPAD" else (KEY, KEY2, IV)
        task.cipher_init(state, *keys)
        assert stopped(task, lambda: task.cipher_update(state, data), after) == after + 1


HASH_UPDATE, RANDOM = 19, 33  # optee_os tee_syscall_numbers.h


def test_what_handlers_in_c_are_fed_is_given_up(task: Task) -> None:
    guest = Guest(task)
    text = message(4 * MIB + 5)
    memory = guest.map(0x10000000, text)
    state = task.state_alloc(Algorithm.SHA256, 5)
    task.hash_init(state)
    assert guest.call(HASH_UPDATE, state, 0x10000000, len(text)) == results.SUCCESS
    assert task.hash_final(state) == hashlib.sha256(text).digest()
    assert guest.looks == 4
    guest.stops = lambda look: look >= 6
    task.hash_init(state)
    assert guest.call(HASH_UPDATE, state, 0x10000000, len(text)) == results.CANCEL
    assert guest.call(RANDOM, 0x10000000, len(text)) == results.CANCEL
    assert memory == text
    guest.stops = lambda look: look >= 9
    assert guest.call(RANDOM, 0x10000000, len(text)) == results.CANCEL
    assert memory[MIB:] == text[MIB:]
    assert memory[:MIB] != text[:MIB]


def stopped(task: Task, compute: Callable[[], object], after: int) -> int:
    """How often it looked, if it is told to stop at the look after so many, and ever after."""
    guest = Guest(task)
    guest.stops = lambda look: look >= after
    with pytest.raises(TeeError) as error:
        compute()
    assert error.value.result == results.CANCEL
    return guest.looks


@pytest.mark.parametrize("exponent", [65537, (1 << 64) + 13], ids=["F4", "of 65 bits"])
@pytest.mark.parametrize("bits", RSA_SIZES)
def test_rsa_generation_stops(task: Task, bits: int, exponent: int) -> None:
    for after in (0, 1, 5):
        assert stopped(task, lambda: rsa_generate(bits, octets(exponent), task), after) == after + 1


def test_rsa_generation_is_taken_up_again(task: Task) -> None:
    guest = Guest(task)
    guest.stops = lambda look: look in (0, 3, 9)
    key = to_its_end(FakeTask(task), lambda: rsa_generate(512, octets(65537), task))
    p, q, n = (int.from_bytes(number, "big") for number in (key.p, key.q, key.n))
    assert p * q == n
    assert n.bit_length() == 512


def test_what_is_refused_is_not_taken_up_again(task: Task) -> None:
    Guest(task)
    ta = FakeTask(task)
    with pytest.raises(TeeError) as error:
        to_its_end(ta, lambda: rsa_generate(512, b"\2", task))
    assert error.value.result == results.BAD_PARAMETERS


def test_what_may_not_go_on_ends(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise TeeError(results.CANCEL, "killed")

    ta = FakeTask(task)
    monkeypatch.setattr(ta, "go_on", refuse)
    derivation = Pbkdf2(Algorithm.SHA256, b"password", b"salt", 10 * LOOK, 32)
    assert stopped(task, lambda: to_its_end(ta, lambda: derivation.run(task)), 3) == 4
