"""The RPMB file system on the emulated device, read back by a reader made here from OP-TEE's description with pyca."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import random
import tempfile
import tracemalloc
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from normal_world.supplicant.rpmb import EmulatedRpmb
from tee.abi import results
from tee.abi.rpmb_fs import FILE_IS_LAST_ENTRY
from tee.errors import TeeError
from tee.storage.rpmb_device import RpmbDevice
from tee.storage.rpmb_fat import Entry, Fat
from tee.storage.rpmb_fs import RpmbFs, file_name
from tests.fakes import FixedRoot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TA = UUID("f4e750bb-1437-4fbf-8785-8d3580c34994")
OTHER = UUID("5b9e0e40-2636-11e1-ad9e-0002a5d5c51b")
SSK = bytes(range(32))


def _aes(key: bytes, mode: modes.ECB | modes.CBC, data: bytes, encrypt: bool) -> bytes:
    cipher = Cipher(algorithms.AES(key), mode)
    return (cipher.encryptor() if encrypt else cipher.decryptor()).update(data)


class Keys:
    """core/tee/tee_fs_key_manager.c, in terms of pyca."""

    def tsk(self, owner: UUID) -> bytes:
        return hmac.digest(SSK, owner.bytes_le[:8] + owner.bytes[8:], "sha256")

    def generate_fek(self, owner: UUID) -> bytes:
        return _aes(self.tsk(owner), modes.ECB(), os.urandom(16), True)

    def crypt_block(self, owner: UUID, fek: bytes, block: int, data: bytes, *, encrypt: bool) -> bytes:
        key = _aes(self.tsk(owner), modes.ECB(), fek, False)
        salt = hashlib.sha256(key).digest()[:16]
        iv = _aes(salt, modes.ECB(), block.to_bytes(16, "little"), True)
        return _aes(key, modes.CBC(iv), data, encrypt)


@pytest.fixture
def rpmb(tmp_path: Path) -> Iterator[EmulatedRpmb]:
    model = EmulatedRpmb(tmp_path / "rpmb")
    yield model
    model.close()


def mount(rpmb: EmulatedRpmb, root: FixedRoot | None = None) -> RpmbFs:
    return RpmbFs(RpmbDevice(rpmb, root or FixedRoot(), program_key=True), Keys())


def files(rpmb: EmulatedRpmb) -> dict[bytes, bytes]:
    """Names and contents, from the device's blocks."""
    device = RpmbDevice(rpmb, FixedRoot(), program_key=False)
    image = device.read(0, device.blocks)
    assert image[:12] == (0x52504D42).to_bytes(4, "little") + (2).to_bytes(4, "little") + bytes(4)
    found = {}
    at = int.from_bytes(image[12:16], "little")
    while True:
        start, size, flags = (int.from_bytes(image[at + n : at + n + 4], "little") for n in (0, 4, 8))
        fek, name = image[at + 16 : at + 32], image[at + 32 : at + 256].partition(b"\0")[0]
        if flags & 1:
            owner = UUID(bytes_le=bytes.fromhex(name[1:33].decode()))
            assert start % 256 == 0
            blocks = range(start // 256, -(-(start + size) // 256)) if size else ()
            data = b"".join(
                Keys().crypt_block(owner, fek, n, image[n * 256 : n * 256 + 256], encrypt=False) for n in blocks
            )
            found[name] = data[:size]
        if flags & 2:
            return found
        at += 256


def object_ids(store: RpmbFs, owner: UUID) -> list[bytes]:
    found: list[bytes] = []
    place = -1
    with contextlib.suppress(TeeError):
        while True:
            place, oid = store.next(owner, place)
            found.append(oid)
    return found


def test_files_are_where_op_tee_would_look(rpmb: EmulatedRpmb) -> None:
    store = mount(rpmb)
    name, temporary = file_name(TA, b"one"), file_name(TA, b"one", temporary=True)
    assert name == b"/BB50E7F43714BF4F87858D3580C34994/6F6E65"
    store.create(TA, name, temporary, b"a" * 700, overwrite=False)
    assert files(rpmb) == {name: b"a" * 700}
    store.write(TA, name, 690, b"b" * 20)
    store.write(TA, name, 10, b"in place")
    store.write(TA, name, 1000, b"far")
    expected = bytearray(b"a" * 690 + b"b" * 20 + bytes(290) + b"far")
    expected[10:18] = b"in place"
    store = mount(rpmb)
    assert files(rpmb) == {name: bytes(expected)}
    assert store.read(TA, name, 0, 5000) == expected
    assert store.read(TA, name, 255, 3) == expected[255:258]
    assert store.read(TA, name, 5000, 3) == b""
    assert object_ids(store, TA) == [b"one"]
    assert object_ids(store, OTHER) == []


def test_what_is_not_there_and_what_is(rpmb: EmulatedRpmb) -> None:
    store = mount(rpmb)
    one, two, dot = (file_name(TA, b"1"), file_name(TA, b"2"), file_name(TA, b"1", temporary=True))

    def refused(call: Callable[[], object]) -> int:
        with pytest.raises(TeeError) as error:
            call()
        return error.value.result

    assert refused(lambda: store.size(one)) == results.ITEM_NOT_FOUND
    assert refused(lambda: store.remove(one)) == results.ITEM_NOT_FOUND
    assert refused(lambda: store.rename(one, two)) == results.ITEM_NOT_FOUND
    store.create(TA, one, dot, b"", overwrite=False)
    store.create(TA, two, dot, b"2", overwrite=False)
    assert refused(lambda: store.create(TA, one, dot, b"", overwrite=False)) == results.ACCESS_CONFLICT
    assert refused(lambda: store.rename(one, two)) == results.ACCESS_CONFLICT
    store.remove(one)
    store.rename(two, one)
    assert files(rpmb) == {one: b"2"}
    assert refused(lambda: file_name(TA, bytes(100))) == results.BAD_PARAMETERS


@pytest.mark.parametrize(
    "far",
    [lambda store: store.truncate(TA, b"/a", 0x7FFFFFFF), lambda store: store.write(TA, b"/a", 0x7FFFFF00, b"x")],
    ids=["truncate", "write"],
)
def test_a_position_far_beyond_the_device_takes_no_memory(rpmb: EmulatedRpmb, far: Callable[[RpmbFs], None]) -> None:
    """Zeros up to there would be gigabytes."""
    store = mount(rpmb)
    store.create(TA, b"/a", b"/t", b"data", overwrite=False)
    tracemalloc.start()
    try:
        with pytest.raises(TeeError) as caught:
            far(store)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert caught.value.result == results.STORAGE_NO_SPACE
    assert store.read(TA, b"/a", 0, 100) == b"data"


def test_full_and_empty_again(rpmb: EmulatedRpmb) -> None:
    """128 KiB: many small files, then one that fills it; what fails leaves nothing behind."""
    store = mount(rpmb)
    names: list[bytes] = []

    def fill() -> None:
        for n in range(10_000):
            name = file_name(TA, n.to_bytes(4, "big"))
            store.create(TA, name, file_name(TA, b"t", temporary=True), bytes([n % 256]) * 3000, overwrite=False)
            names.append(name)

    with pytest.raises(TeeError) as full:
        fill()
    assert full.value.result == results.STORAGE_NO_SPACE
    assert len(names) > 30
    assert files(rpmb) == {name: bytes([n % 256]) * 3000 for n, name in enumerate(names)}
    for name in names:
        store.remove(name)
    assert files(rpmb) == {}
    store.create(TA, names[0], file_name(TA, b"t", temporary=True), bytes(100_000), overwrite=False)
    with pytest.raises(TeeError):
        store.write(TA, names[0], 100_000, bytes(50_000))
    assert store.size(names[0]) == 100_000


_OPERATIONS = st.lists(
    st.tuples(st.sampled_from("cwtdr"), st.integers(0, 4), st.integers(0, 1500), st.integers(0, 1500)), max_size=25
)


@settings(max_examples=25)
@given(_OPERATIONS, st.randoms(use_true_random=False))
def test_against_a_model(operations: list[tuple[str, int, int, int]], chance: random.Random) -> None:
    rpmb = MemoryRpmb()
    store = RpmbFs(RpmbDevice(rpmb, FixedRoot(), program_key=True), Keys())
    model: dict[bytes, bytes] = {}
    for what, which, pos, size in operations:
        name = file_name(TA, bytes([which]))
        data = chance.randbytes(size)
        if what == "c":
            store.create(TA, name, file_name(TA, bytes([which]), temporary=True), data, overwrite=True)
            model[name] = data
        elif name not in model:
            with pytest.raises(TeeError):
                store.size(name)
        elif what == "w":
            store.write(TA, name, pos, data)
            if data:
                model[name] = model[name][:pos].ljust(pos, b"\0") + data + model[name][pos + len(data) :]
        elif what == "t":
            store.truncate(TA, name, size)
            model[name] = model[name][:size].ljust(size, b"\0")
        elif what == "d":
            store.remove(name)
            del model[name]
        else:
            new = file_name(TA, bytes([which + 1]))
            if new in model:
                with pytest.raises(TeeError):
                    store.rename(name, new)
            else:
                store.rename(name, new)
                model[new] = model.pop(name)
        if chance.random() < 0.3:
            store = RpmbFs(RpmbDevice(rpmb, FixedRoot(), program_key=False), Keys())
        assert {n: store.read(TA, n, 0, 1 << 20) for n in model} == model


class MemoryRpmb(EmulatedRpmb):
    """The model without a file, for speed."""

    def __init__(self, cut: int = -1) -> None:
        self._folder = tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
        super().__init__(os.path.join(self._folder.name, "rpmb"))
        self.cut = cut
        self.writes = 0

    def request(self, device: int, frames: bytes, response_frames: int) -> bytes:
        if frames[510:512] == b"\0\3":
            self.writes += 1
            if 0 <= self.cut < self.writes:
                raise TeeError(results.COMMUNICATION, "power cut")
        return super().request(device, frames, response_frames)


@pytest.mark.parametrize("what", ["create", "overwrite", "write", "truncate", "rename", "remove"])
def test_a_cut_at_every_write_leaves_old_or_new(what: str) -> None:
    one, two, dot = file_name(TA, b"1"), file_name(TA, b"2"), file_name(TA, b"1", temporary=True)

    def prepare(rpmb: EmulatedRpmb) -> RpmbFs:
        store = RpmbFs(RpmbDevice(rpmb, FixedRoot(), program_key=True), Keys())
        if what != "create":
            store.create(TA, one, dot, b"o" * 600, overwrite=False)
        return store

    def change(store: RpmbFs) -> None:
        if what == "create":
            store.create(TA, one, dot, b"n" * 900, overwrite=False)
        elif what == "overwrite":
            store.create(TA, one, dot, b"n" * 900, overwrite=True)
        elif what == "write":
            store.write(TA, one, 100, b"n" * 800)
        elif what == "truncate":
            store.truncate(TA, one, 1000)
        elif what == "rename":
            store.rename(one, two)
        else:
            store.remove(one)

    whole = MemoryRpmb()
    store = prepare(whole)
    before, first = files(whole), whole.writes
    change(store)
    after, last = files(whole), whole.writes
    assert last > first
    for cut in range(first, last):
        rpmb = MemoryRpmb()
        store = prepare(rpmb)
        rpmb.cut = cut
        with pytest.raises(TeeError):
            change(store)
        rpmb.cut = -1
        RpmbFs(RpmbDevice(rpmb, FixedRoot(), program_key=False), Keys())  # as after a restart
        left = {name: data for name, data in files(rpmb).items() if name != dot}
        assert left in (before, after), cut
        again = RpmbFs(RpmbDevice(rpmb, FixedRoot(), program_key=False), Keys())
        again.create(TA, one, dot, b"fine", overwrite=True)
        assert again.read(TA, one, 0, 10) == b"fine"


def test_a_device_with_another_key(rpmb: EmulatedRpmb) -> None:
    with pytest.raises(TeeError) as none:
        RpmbDevice(rpmb, FixedRoot(), program_key=False)
    assert none.value.result == results.STORAGE_NOT_AVAILABLE
    mount(rpmb)
    with pytest.raises(TeeError) as other:
        mount(rpmb, FixedRoot(b"x" * 16))
    assert other.value.result == results.STORAGE_NOT_AVAILABLE


class Forger(MemoryRpmb):
    """Changes one byte of what the device answers; or repeats an old answer."""

    def __init__(self) -> None:
        super().__init__()
        self.flip: int | None = None
        self.kept: bytes | None = None

    def request(self, device: int, frames: bytes, response_frames: int) -> bytes:
        answer = bytearray(super().request(device, frames, response_frames))
        if self.kept is not None:
            return self.kept
        if self.flip is not None:
            answer[self.flip % len(answer)] ^= 1
        return bytes(answer)


@pytest.mark.parametrize("at", [228, 300, 484, 500, 504, 506, 508, 510, 200])
def test_forged_answers_are_found_out(at: int) -> None:
    rpmb = Forger()
    store = RpmbFs(RpmbDevice(rpmb, FixedRoot(), program_key=True), Keys())
    name = file_name(TA, b"1")
    store.create(TA, name, file_name(TA, b"1", temporary=True), b"secret", overwrite=False)
    rpmb.flip = at
    with pytest.raises(TeeError):
        store.read(TA, name, 0, 6)
    rpmb.flip = None
    device = RpmbDevice(rpmb, FixedRoot(), program_key=False)
    old = device.read(0, 1)
    assert old
    rpmb.kept = EmulatedRpmb.request(rpmb, 0, bytes(510) + b"\0\4", 1)
    with pytest.raises(TeeError) as replayed:
        device.read(0, 1)
    assert replayed.value.result == results.SECURITY


@settings(max_examples=60)
@given(st.lists(st.binary(min_size=256, max_size=256), min_size=1, max_size=6))
def test_any_table_is_read_or_refused(blocks: list[bytes]) -> None:
    """The device authenticates it, but a predecessor's bugs may have left anything."""

    class Device:
        blocks = 64

        def read(self, block: int, count: int) -> bytes:
            image = self.image
            return image[block * 256 : (block + count) * 256]

        def write(self, block: int, data: bytes) -> None:
            pass

        image = b""

    device = Device()
    head = (0x52504D42).to_bytes(4, "little") + (2).to_bytes(4, "little") + bytes(4) + (512).to_bytes(4, "little")
    device.image = (head.ljust(512, b"\0") + b"".join(blocks)).ljust(64 * 256, b"\0")
    entries: list[Entry] = []
    with contextlib.suppress(TeeError):
        entries = list(Fat(device))  # type: ignore[arg-type]
    assert all(entry.start + entry.size <= 63 * 256 for entry in entries)


def test_entry_round_trip() -> None:
    entry = Entry(256, 5, FILE_IS_LAST_ENTRY | 1, b"k" * 16, b"/name")
    assert Entry.parse(entry.pack()) == entry
