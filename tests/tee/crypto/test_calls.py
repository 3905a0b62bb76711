"""System calls that C answers, called as an engine calls them, on memory that is in pieces and hostile."""

from __future__ import annotations

import hashlib
import multiprocessing
import struct
import threading
import time
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM
from hypothesis import given
from hypothesis import strategies as st

from tee.abi import results
from tee.abi.algorithms import Mode
from tee.crypto.task import Task
from tee.errors import TeeError
from tests.tee.crypto.c_guest import NONSECURE, PRIVATE, READ, WRITE, Guest

LOG, CHECK, GET_CANCEL, UNMASK, MASK, GET_TIME = 1, 8, 9, 10, 11, 13
HASH_UPDATE, CIPHER_UPDATE, RANDOM, AE_AAD, AE_UPDATE = 19, 22, 33, 35, 36
ANY_OWNER, ACCESS_NONSECURE, ACCESS_SECURE = 4, 0x10000000, 0x20000000

RO, RW, SPLIT, SHARED, XO, TOP = 0x10000, 0x20000, 0x30000, 0x50000, 0x60000, (1 << 64) - 0x100
WORD, OUT = RW, RW + 0x100


@pytest.fixture
def guest() -> Iterator[Guest]:
    """RO and RW private memory, two private runs that meet at SPLIT, client memory, execute-only, the very top."""
    task = Task(max_states=8)
    g = Guest(task)
    g.map(RO, 0x1000, READ)
    g.map(RW, 0x1000)
    g.map(SPLIT - 0x1000, 0x1000)
    g.map(SPLIT, 0x1000)
    g.map(SHARED, 0x1000, flags=NONSECURE)
    g.map(XO, 0x1000, 4)
    g.map(TOP, 0x100)
    yield g
    task.close()


def data_of(guest: Guest, va: int) -> bytearray:
    return next(r.data for r in guest.regions if r.va == va)


def word(guest: Guest, size: int = 8) -> int:
    return int.from_bytes(data_of(guest, RW)[:size], "little")


# --- check_access_rights ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "va", "size", "result"),
    [
        (READ, RO, 0x1000, results.SUCCESS),
        (READ | WRITE, RO, 1, results.ACCESS_DENIED),
        (READ | WRITE, RW, 0x1000, results.SUCCESS),
        (READ, RW, 0x1001, results.ACCESS_DENIED),
        (READ, RW - 1, 2, results.ACCESS_DENIED),
        (READ | WRITE, SPLIT - 1, 2, results.SUCCESS),
        (READ, SHARED, 1, results.ACCESS_DENIED),  # another's, and nobody said ANY_OWNER
        (READ | ANY_OWNER, SHARED, 1, results.SUCCESS),
        (READ | ANY_OWNER | ACCESS_NONSECURE, SHARED, 1, results.SUCCESS),
        (READ | ANY_OWNER | ACCESS_SECURE, SHARED, 1, results.ACCESS_DENIED),
        (READ | ACCESS_SECURE, RW, 1, results.SUCCESS),
        (READ | ANY_OWNER | ACCESS_NONSECURE, RW, 1, results.ACCESS_DENIED),
        (ACCESS_NONSECURE | ACCESS_SECURE, RW, 1, results.ACCESS_DENIED),
        (READ, XO, 1, results.ACCESS_DENIED),
        (0, XO, 1, results.SUCCESS),
        (READ, 0, 1, results.ACCESS_DENIED),
        (READ, 0, 0, results.SUCCESS),
        (READ | WRITE, TOP, 0xFF, results.SUCCESS),
        (READ, TOP, 0x100, results.ACCESS_DENIED),  # the end overflows
        (READ, 0x10, (1 << 64) - 1, results.ACCESS_DENIED),
        (0xF00000000 | READ, RO, 1, results.SUCCESS),  # flags are 32 bits
    ],
)
def test_check_access_rights(guest: Guest, flags: int, va: int, size: int, result: int) -> None:
    assert guest.call(CHECK, flags, va, size) == result


def test_a_32_bit_guest_has_32_bits() -> None:
    g = Guest(Task(), word_bits=32)
    g.map((1 << 32) - 0x100, 0x200)
    assert g.call(CHECK, READ, (1 << 32) - 0x100, 0x100) == results.SUCCESS
    assert g.call(CHECK, READ, (1 << 32) - 0x100, 0x101) == results.ACCESS_DENIED


@given(
    st.integers(0, 15), st.sampled_from([RO, RW, SPLIT, SHARED, XO, TOP]), st.integers(-20, 20), st.integers(0, 0x2020)
)
def test_check_access_rights_byte_by_byte(flags: int, base: int, offset: int, size: int) -> None:
    g = Guest(Task(max_states=1))
    for va, prot, kind in ((RO, READ, PRIVATE), (RW, 3, PRIVATE), (SPLIT - 0x1000, 3, PRIVATE), (SPLIT, 3, PRIVATE)):
        g.map(va, 0x1000, prot, kind)
    g.map(SHARED, 0x1000, 3, NONSECURE)
    va = (base + offset) % (1 << 64)

    def allowed(at: int) -> bool:
        return any(
            r.va <= at < r.va + len(r.data) and r.prot & flags & 3 == flags & 3 and (flags & 4 or r.flags & PRIVATE)
            for r in g.regions
        )

    edges = {a for r in g.regions for a in (r.va, r.va + len(r.data) - 1, r.va - 1, r.va + len(r.data))}
    ends = {va, va + size - 1, *(a for a in edges if va <= a < va + size)}
    fine = not size or (va + size < 1 << 64 and all(allowed(a) for a in ends))
    assert (g.call(CHECK, flags, va, size) == results.SUCCESS) == fine


# --- cancellation, time, random, log ---------------------------------------------------------


def test_cancellation(guest: Guest) -> None:
    task = guest.task
    assert task.masked
    task.cancel()
    assert guest.call(GET_CANCEL, WORD) == results.SUCCESS
    assert word(guest, 4) == 0  # masked
    assert guest.call(UNMASK, WORD) == results.SUCCESS
    assert word(guest, 4) == 1  # it was
    assert guest.call(GET_CANCEL, WORD) == results.SUCCESS
    assert word(guest, 4) == 1
    task.cancelled = False
    assert guest.call(GET_CANCEL, WORD) == results.SUCCESS
    assert word(guest, 4) == 0
    task.set_cancel_deadline(time.monotonic() - 1)
    assert guest.call(GET_CANCEL, WORD) == results.SUCCESS
    assert word(guest, 4) == 1
    task.set_cancel_deadline(time.monotonic() + 1000)
    assert guest.call(GET_CANCEL, WORD) == results.SUCCESS
    assert word(guest, 4) == 0
    assert guest.call(MASK, WORD) == results.SUCCESS
    assert word(guest, 4) == 0
    assert task.masked
    for va in (0, RO, RW + 0xFFD, 0xFFFFFFFFFFFFFFFE):
        assert guest.call(GET_CANCEL, va) == results.ACCESS_DENIED
    assert guest.call(UNMASK, RO) == results.ACCESS_DENIED
    assert not task.masked  # as in OP-TEE, the mask changed all the same
    assert guest.call(MASK, SHARED) == results.SUCCESS


def test_time(guest: Guest) -> None:
    guest.task.set_system_clock(time.monotonic() - 5000)
    assert guest.call(GET_TIME, 0, WORD) == results.SUCCESS
    seconds, millis = struct.unpack_from("<II", data_of(guest, RW))
    assert 5000 <= seconds < 5060
    assert millis < 1000
    assert guest.call(GET_TIME, 0, SPLIT - 4) == results.SUCCESS
    assert struct.unpack("<I", data_of(guest, SPLIT - 0x1000)[-4:])[0] in (seconds, seconds + 1)
    assert guest.call(GET_TIME, 0, SHARED) == results.ACCESS_DENIED  # copy_to_user_private()
    assert guest.call(GET_TIME, 0, RO) == results.ACCESS_DENIED
    assert guest.call(GET_TIME, 1, WORD) is None
    assert guest.call(GET_TIME, 2, WORD) is None
    guest.task.set_system_clock(time.monotonic() + 5000)
    assert guest.call(GET_TIME, 0, WORD) == results.SUCCESS
    assert word(guest) == 0
    guest.task.set_system_clock(None)
    assert guest.call(GET_TIME, 0, WORD) is None


def test_system_time_keeps_up_with_the_clock(guest: Guest) -> None:
    guest.task.set_system_clock(0.0)
    end = time.monotonic() + 0.02
    before = 0.0
    while before < end:
        before = time.monotonic()
        assert guest.call(GET_TIME, 0, WORD) == results.SUCCESS
        after = time.monotonic()
        seconds, millis = struct.unpack_from("<II", data_of(guest, RW))
        assert int(before * 1000) - 1 <= 1000 * seconds + millis <= after * 1000


def test_random(guest: Guest) -> None:
    seen = set()
    for _ in range(300):
        assert guest.call(RANDOM, OUT, 16) == results.SUCCESS
        seen.add(bytes(data_of(guest, RW)[0x100:0x110]))
    assert len(seen) == 300
    assert guest.call(RANDOM, SPLIT - 0x1000, 0x2000) == results.SUCCESS
    both = data_of(guest, SPLIT - 0x1000) + data_of(guest, SPLIT)
    assert len(set(both)) == 256
    assert guest.call(RANDOM, 0, 0) == results.SUCCESS
    for va, size in ((0, 1), (RO, 1), (RW, 0x1001), (RW, (1 << 64) - 1), (TOP, 1 << 20)):
        assert guest.call(RANDOM, va, size) == results.ACCESS_DENIED


def _child(guest: Guest, out: multiprocessing.SimpleQueue[bytes]) -> None:
    guest.call(RANDOM, OUT, 16)
    out.put(bytes(data_of(guest, RW)[0x100:0x110]))


def test_random_differs_after_fork(guest: Guest) -> None:
    guest.call(RANDOM, OUT, 16)
    context = multiprocessing.get_context("fork")
    out = context.SimpleQueue()
    children = [context.Process(target=_child, args=(guest, out)) for _ in range(2)]
    for child in children:
        child.start()
    got = {out.get() for _ in children}
    for child in children:
        child.join()
    guest.call(RANDOM, OUT, 16)
    assert len({*got, bytes(data_of(guest, RW)[0x100:0x110])}) == 3


def test_log(guest: Guest) -> None:
    data_of(guest, RW)[:6] = b"hello\n"
    assert guest.call(LOG, RW, 6) == 0
    data_of(guest, RW)[:6] = b"a\0bcd\n"  # a C string to OP-TEE
    assert guest.call(LOG, RW, 6) == 0
    data_of(guest, SPLIT - 0x1000)[-2:] = b"\xffx"
    data_of(guest, SPLIT)[:2] = b"y\n"
    assert guest.call(LOG, SPLIT - 2, 4) == 0
    for va, size in ((RW, 0), (0, 5), (XO, 5), (RW, 0x1001), (RW, (1 << 64) - 1)):
        assert guest.call(LOG, va, size) == 0
    assert guest.task.take_log() == ("hello\na\N{REPLACEMENT CHARACTER}xy\n", 0)
    assert guest.task.take_log() == ("", 0)
    data_of(guest, RW)[:] = b"L" * 0x1000
    guest.call(LOG, RW, 0x1000)
    assert guest.task.take_log() == ("L" * 1024, 0)


def test_log_is_bounded_and_rate_limited() -> None:
    g = Guest(Task(log_room=100, log_rate=1, log_burst=12))
    g.map(RW, b"0123456789")
    assert [g.call(LOG, RW, 10) for _ in range(10)] == [0] * 10
    assert g.call(LOG, RW, 10) is None  # full: Python drains, then prints it
    assert g.task.take_log() == ("0123456789" * 10, 0)
    assert [g.call(LOG, RW, 10) for _ in range(9)] == [0] * 9
    text, dropped = g.task.take_log()
    assert (text, dropped) in (("0123456789" * 2, 7), ("0123456789" * 3, 6))
    assert g.task.take_log() == ("", 0)


def test_log_tokens_come_back() -> None:
    g = Guest(Task(log_rate=200, log_burst=1))
    g.map(RW, b"x")
    g.call(LOG, RW, 1)
    time.sleep(0.02)
    g.call(LOG, RW, 1)
    assert g.task.take_log() == ("xx", 0)


def test_log_drained_by_another_thread() -> None:
    g = Guest(Task(log_rate=1 << 30, log_burst=1 << 30, log_room=1 << 20))
    g.map(RW, b"abcdefgh")
    got: list[str] = []
    stop = threading.Event()

    def drain() -> None:
        while not stop.is_set():
            got.append(g.task.take_log().text)

    thread = threading.Thread(target=drain)
    thread.start()
    for _ in range(2000):
        g.call(LOG, RW, 8)
    stop.set()
    thread.join()
    assert "".join(got) + g.task.take_log().text == "abcdefgh" * 2000


def test_a_closed_task_serves_other_threads_still(guest: Guest) -> None:
    state = guest.task.state_alloc(0x50000004, Mode.DIGEST)
    guest.task.hash_init(state)
    data_of(guest, RW)[:4] = b"last"
    guest.call(LOG, RW, 4)
    guest.task.close()
    guest.task.cancel()
    assert guest.task.cancelled
    assert guest.task.state_count == 0
    assert guest.task.take_log().text == "last"
    assert guest.call(HASH_UPDATE, state, RW, 4) == results.BAD_PARAMETERS
    with pytest.raises(TeeError) as info:
        guest.task.state_alloc(0x50000004, Mode.DIGEST)
    assert info.value.result == results.OUT_OF_MEMORY


# --- hash, cipher, authenticated encryption --------------------------------------------------


def test_hash_update(guest: Guest) -> None:
    state = guest.task.state_alloc(0x50000004, Mode.DIGEST)
    assert guest.call(HASH_UPDATE, state, RO, 1) == results.BAD_STATE
    guest.task.hash_init(state)
    data_of(guest, SPLIT - 0x1000)[:] = bytes(range(256)) * 16
    data_of(guest, SPLIT)[:] = b"second" * 682 + b"1234"
    assert guest.call(HASH_UPDATE, state, SPLIT - 0x1000, 0x2000) == results.SUCCESS
    assert guest.call(HASH_UPDATE, state, SHARED, 16) == results.SUCCESS
    assert guest.call(HASH_UPDATE, 99, 0, 0) == results.SUCCESS  # nothing to do is looked at first
    assert guest.call(HASH_UPDATE, state, 0, 1) == results.BAD_PARAMETERS
    assert guest.call(HASH_UPDATE, state, XO, 1) == results.ACCESS_DENIED
    assert guest.call(HASH_UPDATE, 99, XO, 1) == results.ACCESS_DENIED
    assert guest.call(HASH_UPDATE, 99, RO, 1) == results.BAD_PARAMETERS
    assert guest.call(HASH_UPDATE, 1 << 32 | state, RO, 1) == results.BAD_PARAMETERS
    whole = data_of(guest, SPLIT - 0x1000) + data_of(guest, SPLIT) + bytes(16)
    assert guest.task.hash_final(state) == hashlib.sha256(whole).digest()
    cipher = guest.task.state_alloc(0x10000010, 0)
    guest.task.cipher_init(cipher, bytes(16))
    assert guest.call(HASH_UPDATE, cipher, RO, 1) == results.BAD_PARAMETERS


def test_cipher_update(guest: Guest) -> None:
    task = guest.task
    state = task.state_alloc(0x10000110, Mode.ENCRYPT)
    assert guest.call(CIPHER_UPDATE, state, RO, 16, OUT, WORD) == results.BAD_STATE
    assert guest.call(CIPHER_UPDATE, 77, RO, 16, OUT, WORD) == results.BAD_PARAMETERS
    task.cipher_init(state, bytes(16), b"", bytes(16))
    oracle = Cipher(algorithms.AES(bytes(16)), modes.CBC(bytes(16))).encryptor()
    memory = data_of(guest, RW)
    memory[:8] = (100).to_bytes(8, "little")
    assert guest.call(CIPHER_UPDATE, state, RO, 32, OUT, WORD) == results.SUCCESS
    assert word(guest) == 32
    assert memory[0x100:0x120] == oracle.update(bytes(32))
    assert guest.call(CIPHER_UPDATE, state, RO, 48, OUT, WORD) == results.SHORT_BUFFER
    assert word(guest) == 48
    assert guest.call(CIPHER_UPDATE, state, RO, 17, OUT, WORD) == results.BAD_PARAMETERS
    assert word(guest) == 48
    memory[:8] = (16).to_bytes(8, "little")
    before = bytes(memory[0x100:0x110])
    assert guest.call(CIPHER_UPDATE, state, OUT, 16, OUT, WORD) == results.SUCCESS  # in place
    assert memory[0x100:0x110] == oracle.update(before)
    for src, dst, size_at in ((XO, OUT, WORD), (RO, RO, WORD), (RO, OUT, 0xFFFFFFFFFFFFFFF8), (RO, OUT, RW + 0xFFC)):
        assert guest.call(CIPHER_UPDATE, state, src, 16, dst, size_at) == results.ACCESS_DENIED
    assert guest.call(CIPHER_UPDATE, state, RO, 16, OUT, RO) == results.ACCESS_DENIED  # the need cannot be told
    memory[:8] = (0x10000).to_bytes(8, "little")  # claims more than there is, though 16 would do
    assert guest.call(CIPHER_UPDATE, state, RO, 16, OUT, WORD) == results.ACCESS_DENIED
    assert guest.call(CIPHER_UPDATE, state, RO, 0, 0, 0) == results.SUCCESS
    assert guest.call(CIPHER_UPDATE, state, RO, 16, OUT, 0) == results.SHORT_BUFFER


def test_cipher_update_over_a_seam_is_pythons(guest: Guest) -> None:
    state = guest.task.state_alloc(0x10000210, 0)
    guest.task.cipher_init(state, bytes(16), b"", bytes(16))
    data_of(guest, RW)[:8] = (64).to_bytes(8, "little")
    assert guest.call(CIPHER_UPDATE, state, SPLIT - 8, 16, OUT, WORD) is None
    assert guest.call(CIPHER_UPDATE, state, RO, 16, SPLIT - 8, WORD) is None
    assert word(guest) == 64  # nothing was changed
    assert guest.call(CIPHER_UPDATE, state, SPLIT, 16, OUT, WORD) == results.SUCCESS
    first = Cipher(algorithms.AES(bytes(16)), modes.ECB()).encryptor().update(bytes(16))
    assert data_of(guest, RW)[0x100:0x110] == first


def test_authenc(guest: Guest) -> None:
    task = guest.task
    state = task.state_alloc(0x40000710, Mode.ENCRYPT)
    assert guest.call(AE_AAD, state, RO, 1) == results.BAD_STATE
    assert guest.call(AE_UPDATE, state, RO, 1, OUT, WORD) == results.BAD_STATE
    task.ae_init(state, bytes(16), bytes(12), 8, 24, 20)
    assert guest.call(AE_AAD, 77, RO, 1) == results.BAD_PARAMETERS
    assert guest.call(AE_AAD, state, XO, 1) == results.ACCESS_DENIED
    data_of(guest, SPLIT)[:8] = b"later123"
    assert guest.call(AE_AAD, state, SPLIT - 16, 24) == results.SUCCESS
    assert guest.call(AE_AAD, state, 0, 0) == results.SUCCESS
    assert guest.call(AE_AAD, state, RO, 1) == results.BAD_STATE  # more than declared
    memory = data_of(guest, RW)
    memory[:8] = (15).to_bytes(8, "little")
    assert guest.call(AE_UPDATE, state, RO, 16, OUT, WORD) == results.SHORT_BUFFER
    assert word(guest) == 16
    assert guest.call(AE_UPDATE, state, RO, 16, OUT, 0) == results.ACCESS_DENIED
    assert guest.call(AE_UPDATE, state, RO, 16, SPLIT - 8, WORD) is None
    assert guest.call(AE_UPDATE, state, RO, 16, OUT, WORD) == results.SUCCESS
    sealed = AESCCM(bytes(16), 8).encrypt(bytes(12), bytes(20), bytes(16) + b"later123")
    assert memory[0x100:0x110] == sealed[:16]
    assert task.ae_enc_final(state, bytes(4)) == (sealed[16:20], sealed[20:])
    ctr = task.state_alloc(0x10000210, 0)
    task.cipher_init(ctr, bytes(16), b"", bytes(16))
    assert guest.call(AE_AAD, ctr, RO, 1) == results.BAD_STATE
    assert guest.call(AE_UPDATE, ctr, RO, 1, OUT, WORD) == results.BAD_STATE
    assert guest.call(CIPHER_UPDATE, state, RO, 16, OUT, WORD) == results.BAD_STATE


word64 = st.one_of(
    st.integers(0, (1 << 64) - 1),
    st.integers(0, 40),
    st.sampled_from([RO, RW, SPLIT, SHARED, XO, TOP]).flatmap(lambda a: st.integers(-9, 0x1009).map(lambda o: a + o)),
)


@given(st.lists(st.tuples(st.sampled_from(sorted(Task.handlers())), st.lists(word64, min_size=5, max_size=5))))
def test_hostile_arguments(calls: list[tuple[int, list[int]]]) -> None:
    task = Task(max_states=4)
    g = Guest(task)
    for va, prot, kind in ((RO, READ, PRIVATE), (RW, 3, PRIVATE), (SPLIT, 3, PRIVATE), (SHARED, 3, NONSECURE)):
        g.map(va, 0x1000, prot, kind)
    hash_, ctr, gcm = (task.state_alloc(algo, 0) for algo in (0x50000004, 0x10000210, 0x40000810))
    task.hash_init(hash_)
    task.cipher_init(ctr, bytes(16), b"", bytes(16))
    task.ae_init(gcm, bytes(16), bytes(12), 16)
    for number, args in calls:
        result = g.call(number, *[a % (1 << 64) for a in args])
        assert result is None or 0 <= result < 1 << 32
    task.close()
