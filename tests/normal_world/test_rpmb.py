"""The emulated RPMB against frames made here with struct and hmac from the standard's text (eMMC 5.1 §6.6.22)."""

from __future__ import annotations

import hashlib
import hmac
import os
import resource
import struct
import tempfile
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from normal_world.supplicant.rpmb import EmulatedRpmb, model_cid
from normal_world.supplicant.rpmb_store import State
from south.errors import UsageError
from tee.abi.results import BAD_PARAMETERS, GENERIC, ITEM_NOT_FOUND, Result
from tee.errors import TeeError
from tests.threads import together

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

KEY = bytes(range(32))
NONCE = bytes(range(100, 116))
CID = bytes.fromhex("fe014e4d4d4330344742c8f6552a6115")


class Reply(NamedTuple):
    stuff: bytes
    mac: bytes
    data: bytes
    nonce: bytes
    counter: int
    address: int
    blocks: int
    result: int
    kind: int


def frame(kind: int, *, address: int = 0, count: int = 0, counter: int = 0, **fields: bytes) -> bytes:
    return (
        bytes(196)
        + fields.get("mac", bytes(32))
        + fields.get("data", bytes(256))
        + fields.get("nonce", bytes(16))
        + counter.to_bytes(4, "big")
        + address.to_bytes(2, "big")
        + count.to_bytes(2, "big")
        + bytes(2)
        + kind.to_bytes(2, "big")
    )


def mac(frames: bytes, key: bytes = KEY) -> bytes:
    covered = b"".join(frames[at + 228 : at + 512] for at in range(0, len(frames), 512))
    return hmac.new(key, covered, hashlib.sha256).digest()


def write(blocks: Sequence[bytes], address: int, counter: int, key: bytes = KEY, count: int | None = None) -> bytes:
    count = len(blocks) if count is None else count
    raw = b"".join(frame(3, address=address, count=count, counter=counter, data=data) for data in blocks)
    last = len(raw) - 512
    return raw[: last + 196] + mac(raw, key) + raw[last + 228 :]


def replies(raw: bytes) -> list[Reply]:
    return [Reply(*struct.unpack(">196s32s256s16sIHHHH", raw[at : at + 512])) for at in range(0, len(raw), 512)]


def ask(device: EmulatedRpmb, request: bytes) -> Reply:
    (reply,) = replies(device.request(0, request, 1))
    return reply


def program(device: EmulatedRpmb) -> None:
    assert ask(device, frame(1, mac=KEY)).result == 0


def counter(device: EmulatedRpmb) -> int:
    raw = device.request(0, frame(2, nonce=NONCE), 1)
    (reply,) = replies(raw)
    assert (reply.kind, reply.nonce, reply.mac) == (0x0200, NONCE, mac(raw))
    return reply.counter


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rpmb"


@pytest.fixture
def device(path: Path) -> Iterator[EmulatedRpmb]:
    made = EmulatedRpmb(path, cid=CID, reliable_sectors=2)
    yield made
    made.close()


@pytest.fixture
def keyed(device: EmulatedRpmb) -> EmulatedRpmb:
    program(device)
    return device


def test_device_information(device: EmulatedRpmb) -> None:
    assert device.info(0) == (CID, 1, 2)
    for call in (lambda: device.info(1), lambda: device.request(1, frame(2), 1)):
        with pytest.raises(TeeError) as found:
            call()
        assert found.value.result == ITEM_NOT_FOUND


def crc7(data: bytes) -> int:
    """x^7 + x^3 + 1 by long division of the whole number."""
    value, bits = int.from_bytes(data, "big") << 7, len(data) * 8 + 7
    for bit in range(bits - 1, 6, -1):
        if value >> bit & 1:
            value ^= 0x89 << (bit - 7)
    return value


def test_the_model_cid_has_its_checksum() -> None:
    assert crc7(bytes.fromhex("4000000000")) == 0x4A  # CMD0 and CMD17, as in the standard's examples
    assert crc7(bytes.fromhex("5100000000")) == 0x2A
    register = model_cid(b"\1\2\3\4")
    assert register[3:9] == b"EMULAT"
    assert len(register) == 16
    assert register[15] == crc7(register[:15]) << 1 | 1


def test_without_a_key_nothing_is_done(device: EmulatedRpmb) -> None:
    reply = ask(device, frame(2, nonce=NONCE))
    assert (reply.kind, reply.result, reply.nonce, reply.mac) == (0x0200, 7, NONCE, bytes(32))
    assert ask(device, write([b"x" * 256], 0, 0))[6:] == (0, 7, 0x0300)
    assert [(r.kind, r.result, r.mac) for r in replies(device.request(0, frame(4), 2))] == [(0x0400, 7, bytes(32))] * 2


def test_the_key_is_programmed_once(device: EmulatedRpmb) -> None:
    reply = ask(device, frame(1, mac=KEY))
    assert reply == (bytes(196), bytes(32), bytes(256), bytes(16), 0, 0, 0, 0, 0x0100)
    assert ask(device, frame(1, mac=bytes(32))).result == 1
    assert counter(device) == 0


def test_write_and_read(keyed: EmulatedRpmb) -> None:
    blocks = [bytes([n]) * 256 for n in range(1, 5)]
    raw = keyed.request(0, write(blocks, 7, 0), 1)
    (reply,) = replies(raw)
    assert (reply.kind, reply.result, reply.counter, reply.address, reply.mac) == (0x0300, 0, 1, 7, mac(raw))
    assert keyed.request(0, frame(5), 1) == raw
    raw = keyed.request(0, frame(4, address=6, nonce=NONCE), 6)
    found = replies(raw)
    assert [r.data for r in found] == [bytes(256), *blocks, bytes(256)]
    assert {(r.kind, r.result, r.address, r.blocks, r.nonce) for r in found} == {(0x0400, 0, 6, 6, NONCE)}
    assert [r.mac for r in found] == [bytes(32)] * 5 + [mac(raw)]
    assert counter(keyed) == 1


@pytest.mark.parametrize(
    ("request_frames", "result"),
    [
        (write([b"x" * 256], 0, 0, key=bytes(32)), 2),
        (write([b"x" * 256], 0, 1), 3),
        (write([b"x" * 256], 512, 0), 4),
        (write([b"x" * 256] * 2, 511, 0), 4),
        (write([b"x" * 256] * 5, 0, 0), 1),
        (write([b"x" * 256], 0, 0, count=2), 1),
        (write([b"x" * 256], 0, 0, count=0), 1),
        (write([b"x" * 256], 0, 0, key=KEY)[:512] + write([b"x" * 256], 1, 0)[:512], 1),
    ],
)
def test_what_a_write_is_refused_for(keyed: EmulatedRpmb, request_frames: bytes, result: int) -> None:
    raw = keyed.request(0, request_frames, 1)
    (reply,) = replies(raw)
    assert (reply.kind, reply.result, reply.counter, reply.mac) == (0x0300, result, 0, mac(raw))
    assert all(r.data == bytes(256) for r in replies(keyed.request(0, frame(4), 512)))


@given(bit=st.integers(0, 512 * 8 - 1))
def test_every_bit_under_the_mac_matters(tmp_path_factory: pytest.TempPathFactory, bit: int) -> None:
    device = EmulatedRpmb(tmp_path_factory.mktemp("bit") / "rpmb", cid=CID)
    program(device)
    raw = bytearray(write([b"x" * 256], 3, 0))
    raw[bit // 8] ^= 1 << bit % 8
    try:
        if bit // 8 >= 510 and bytes(bytes(raw[510:])) not in (b"\0\1", b"\0\2"):
            assert refused(device, bytes(raw), 1) == GENERIC
        else:
            reply = ask(device, bytes(raw))
            assert ((reply.kind, reply.result) == (0x0300, 0)) == (bit // 8 < 196)
        assert counter(device) == (bit // 8 < 196)
    finally:
        device.close()


def test_a_read_beyond_the_end(keyed: EmulatedRpmb) -> None:
    for address, count in ((512, 1), (511, 2), (0, 513), (65535, 65535)):
        raw = keyed.request(0, frame(4, address=address, nonce=NONCE), count)
        found = replies(raw)
        assert len(found) == count
        assert (found[-1].result, found[-1].nonce, found[-1].mac) == (4, NONCE, mac(raw))


def test_an_expired_counter(path: Path) -> None:
    device = EmulatedRpmb(path, cid=CID)
    program(device)
    device._store.commit(State(KEY, 0xFFFFFFFE))
    assert ask(device, write([b"x" * 256], 0, 0xFFFFFFFE))[4:8] == (0xFFFFFFFF, 0, 0, 0x80)
    assert ask(device, write([b"y" * 256], 0, 0xFFFFFFFF))[4:8] == (0xFFFFFFFF, 0, 0, 0x85)
    (reply,) = replies(device.request(0, frame(4), 1))
    assert (reply.result, reply.data) == (0x80, b"x" * 256)
    assert ask(device, frame(2)).result == 0x80
    assert ask(device, frame(1)).result == 0x81
    device.close()


@contextmanager
def full_disk() -> Iterator[None]:
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


def test_a_host_that_cannot_write(path: Path) -> None:
    device = EmulatedRpmb(path, cid=CID)
    with full_disk():
        key = ask(device, frame(1, mac=KEY)).result
    device.close()
    device = EmulatedRpmb(path, cid=CID)
    program(device)
    with full_disk():
        first = ask(device, write([b"x" * 256], 0, 0)).result
    assert (key, first) == (5, 5)
    # What the medium has is not known now, so nothing is promised until the file is opened anew.
    assert ask(device, write([b"x" * 256], 0, 0)).result == 5
    assert replies(device.request(0, frame(4), 1))[0].result == 6
    device.close()
    device = EmulatedRpmb(path)
    assert counter(device) == 0
    assert ask(device, write([b"x" * 256], 0, 0)).result == 0
    device.close()


def test_a_damaged_block_is_never_data(keyed: EmulatedRpmb, path: Path) -> None:
    assert ask(keyed, write([b"x" * 256], 9, 0)).result == 0
    raw = bytearray(path.read_bytes())
    raw[raw.rindex(b"x" * 256) + 17] ^= 4
    path.write_bytes(raw)
    response = keyed.request(0, frame(4, address=8), 3)
    assert [r.result for r in replies(response)] == [6] * 3
    assert replies(response)[-1].mac == mac(response)
    assert replies(keyed.request(0, frame(4, address=8), 1))[0].result == 0


def refused(device: EmulatedRpmb, request: bytes, count: int) -> Result:
    with pytest.raises(TeeError) as found:
        device.request(0, request, count)
    return found.value.result


def test_what_a_host_would_not_send(keyed: EmulatedRpmb) -> None:
    for request in (b"", bytes(511), frame(2) + b"\0", frame(3) + frame(4), frame(2) * 2, frame(4) * 2, frame(1) * 2):
        assert refused(keyed, request, 1) == BAD_PARAMETERS
    for kind in range(1, 6):
        for count in (0, -1, 1 << 16, 1 << 40) + (() if kind == 4 else (2,)):
            assert refused(keyed, frame(kind), count) == BAD_PARAMETERS
    for kind in (0, 6, 0x0100, 0xFFFF):
        assert refused(keyed, frame(kind), 1) == GENERIC
    assert ask(keyed, frame(5)).kind == 0x0100


def test_the_result_register_starts_empty(device: EmulatedRpmb) -> None:
    assert ask(device, frame(5))[7:] == (1, 0)


def test_what_op_tee_does(path: Path) -> None:
    """The calls of optee_os core/tee/tee_rpmb_fs.c with CFG_RPMB_WRITE_KEY: legacy_rpmb_init, then blocks."""
    device = EmulatedRpmb(path, size_mult=2)
    cid, size_mult, _ = device.info(0)
    highest = size_mult * (128 * 1024 // 256) - 1
    huk = bytes(16)
    masked = bytearray(cid)
    masked[9] = masked[15] = 0
    key = hmac.new(huk, bytes(masked), hashlib.sha256).digest()
    for boot in range(2):
        raw = device.request(0, frame(2, nonce=NONCE), 1)
        (reply,) = replies(raw)
        if boot == 0:
            assert reply.result & 0x3F == 7
            (reply,) = replies(device.request(0, frame(1, mac=key), 1))
            assert (reply.result & 0x3F, reply.kind) == (0, 0x0100)
            raw = device.request(0, frame(2, nonce=NONCE), 1)
            (reply,) = replies(raw)
        assert (reply.result & 0x3F, reply.kind, reply.nonce) == (0, 0x0200, NONCE)
        assert reply.mac == mac(raw, key)
        written = reply.counter
        for block in (0, 1, highest):
            data = bytes([boot, block & 0xFF]) * 128
            raw = device.request(0, write([data], block, written, key), 1)
            (reply,) = replies(raw)
            assert (reply.result & 0x3F, reply.kind, reply.address, reply.counter) == (0, 0x0300, block, written + 1)
            assert reply.mac == mac(raw, key)
            written = reply.counter
            raw = device.request(0, frame(4, address=block, nonce=NONCE), 1)
            (reply,) = replies(raw)
            assert (reply.address, reply.nonce, reply.mac, reply.data) == (block, NONCE, mac(raw, key), data)
        assert written == 3 * (boot + 1)
        device.close()
        device = EmulatedRpmb(path, size_mult=2)
        assert device.info(0).cid == cid
    device.close()


def test_threads(keyed: EmulatedRpmb) -> None:
    done: list[int] = []

    def work(number: int) -> None:
        wins = 0
        while wins < 20:
            at = counter(keyed)
            if ask(keyed, write([bytes([number]) * 256] * 4, 0, at)).result == 0:
                wins += 1
            assert len({r.data for r in replies(keyed.request(0, frame(4), 4))}) == 1
        done.append(wins)

    together(work, range(3))
    assert done == [20] * 3
    assert counter(keyed) == 60


def test_bad_arguments(path: Path) -> None:
    for arguments in ({"size_mult": 0}, {"size_mult": 129}, {"reliable_sectors": 0}, {"reliable_sectors": 256}):
        with pytest.raises(UsageError):
            EmulatedRpmb(path, **arguments)  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        EmulatedRpmb(path, cid=b"short")
    with pytest.raises(UsageError):
        EmulatedRpmb(path / "not" / "there")
    assert not path.exists()


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="no tmpfs at /dev/shm")
def test_a_write_is_quick() -> None:
    times = []
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        device = EmulatedRpmb(folder + "/rpmb")
        program(device)
        for number in range(50):
            request = write([b"q" * 256], number, number)
            start = time.perf_counter()
            assert ask(device, request).result == 0
            times.append(time.perf_counter() - start)
        device.close()
    assert sorted(times)[10] < 0.002
