"""The emulated RPMB's state file: wholly old or wholly new after any end, and damage is reported."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from normal_world.supplicant import rpmb_store
from normal_world.supplicant.rpmb import EmulatedRpmb
from normal_world.supplicant.rpmb_store import Geometry, RpmbStore, State
from south.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

KEY = bytes(range(32))
GEOMETRY = Geometry(1, 2, b"C" * 16)
OLD, NEW = State(KEY, 7), State(KEY, 8)


class Cut(BaseException):
    """The process ends here."""


def made(path: Path) -> RpmbStore:
    """A store whose blocks 3 and 4 are `o`, written by commit 7."""
    store = RpmbStore(str(path), GEOMETRY)
    store.commit(State(KEY, 6), 3, [b"x" * 256])
    store.commit(OLD, 3, [b"o" * 256] * 2)
    return store


def look(path: Path) -> tuple[State, bytes]:
    store = RpmbStore(str(path), GEOMETRY)
    try:
        return store.state, b"".join(store.read(3, 2))
    finally:
        store.close()


def test_an_end_after_any_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, path = tmp_path / "base", tmp_path / "rpmb"
    made(base).close()
    write = rpmb_store._write
    left = 0

    def short(fd: int, data: bytes, at: int) -> None:
        nonlocal left
        write(fd, data[:left], at)
        left -= len(data)
        if left < 0:
            raise Cut

    seen = []
    for budget in (*range(0, 900, 37), *range(600, 660), *range(1130, 1230), 5000):
        shutil.copyfile(base, path)
        store = RpmbStore(str(path), GEOMETRY)
        left = budget
        with monkeypatch.context() as patch:
            patch.setattr(rpmb_store, "_write", short)
            try:
                store.commit(NEW, 3, [b"n" * 256] * 2)
            except Cut:
                pass
        store.close()
        seen.append(look(path))
        assert seen[-1] == look(path)
    old, new = (OLD, b"o" * 512), (NEW, b"n" * 512)
    assert set(seen) == {old, new}
    assert seen[-1] == new
    assert seen[0] == old


@pytest.mark.parametrize("lost", [1, 2])
def test_blocks_that_did_not_reach_the_medium(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: int) -> None:
    """The writes of the last two commits to their records are lost, as at a power cut: the slots have them."""
    path = tmp_path / "rpmb"
    store = made(path)
    for left in (1, 0):
        with monkeypatch.context() as patch:
            if left < lost:
                patch.setattr(RpmbStore, "_write_records", lambda self, commit: None)
                patch.setattr(RpmbStore, "_write_mark", lambda self, number: None)
            store.commit(State(KEY, 9 - left), 4 - left, [bytes([9 - left]) * 256])
    store.close()
    assert look(path) == (State(KEY, 9), b"\x08" * 256 + b"\x09" * 256)


@settings(max_examples=60)
@given(at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), page=st.booleans())
def test_damage_is_reported_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, at: float, bit: int, page: bool
) -> None:
    path = tmp_path_factory.mktemp("damage") / "rpmb"
    made(path).close()
    before = look(path)
    raw = bytearray(path.read_bytes())
    raw[int(at * (2 * 4096 + 2 * GEOMETRY.slot_size if page else len(raw)))] ^= 1 << bit
    path.write_bytes(raw)
    try:
        found = look(path)
    except UsageError as error:
        said = str(error)
    else:
        assert found == before
        return
    assert "damaged" in said or "not an emulated RPMB" in said
    assert path.read_bytes() == raw


@pytest.mark.parametrize("at", [0, 5, 8192 + 4096 + 3, 8192 + 4096 + 60, -1, -5000])
def test_damage_that_matters(tmp_path: Path, at: int) -> None:
    path = tmp_path / "rpmb"
    store = made(path)
    store.commit(NEW)
    store.commit(NEW)
    assert store._number % 2
    store.close()
    raw = bytearray(path.read_bytes())
    raw[at] ^= 0x10
    path.write_bytes(raw)
    for _ in range(2):
        with pytest.raises(UsageError, match=r"damaged|not an emulated"):
            RpmbStore(str(path), GEOMETRY)


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"\0" * 300_000, b"something else\n" * 1000])
def test_other_files_are_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "rpmb"
    path.write_bytes(content)
    with pytest.raises(UsageError):
        EmulatedRpmb(path)
    assert path.read_bytes() == content


def test_shortened_or_lengthened(tmp_path: Path) -> None:
    path = tmp_path / "rpmb"
    made(path).close()
    size = path.stat().st_size
    for other in (size - 1, size + 1, 4096, 10):
        os.truncate(path, other)
        with pytest.raises(UsageError, match="damaged"):
            RpmbStore(str(path), GEOMETRY)


def test_neither_link_nor_fifo(tmp_path: Path) -> None:
    made(tmp_path / "real").close()
    (tmp_path / "link").symlink_to("real")
    os.mkfifo(tmp_path / "fifo")
    for name in ("link", "fifo", "."):
        with pytest.raises(UsageError):
            EmulatedRpmb(tmp_path / name)


def test_another_geometry_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rpmb"
    EmulatedRpmb(path, cid=b"a" * 16).close()
    wrong: list[dict[str, Any]] = [{"size_mult": 2}, {"reliable_sectors": 2}, {"cid": b"b" * 16}]
    for other in wrong:
        with pytest.raises(UsageError, match="made with size_mult 1"):
            EmulatedRpmb(path, **other)
    device = EmulatedRpmb(path)
    assert device.info(0).cid == b"a" * 16
    device.close()


def test_one_process_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "rpmb"
    device = EmulatedRpmb(path)
    code = (
        "import sys; from south.errors import UsageError; from normal_world.supplicant.rpmb import EmulatedRpmb\n"
        "try: EmulatedRpmb(sys.argv[1])\nexcept UsageError as e: print(e)\nelse: print('opened')"
    )
    run = [sys.executable, "-c", code, str(path)]
    assert "in use by another process" in subprocess.run(run, capture_output=True, text=True, timeout=30).stdout
    device.close()
    assert subprocess.run(run, capture_output=True, text=True, timeout=30).stdout == "opened\n"
    assert os.listdir(tmp_path) == ["rpmb"]
    assert path.stat().st_mode & 0o777 == 0o600


_WRITER = """
import sys
from normal_world.supplicant.rpmb_store import *
store = RpmbStore(sys.argv[1], Geometry(1, 2, b""))
while True:
    n = store.state.counter + 1
    store.commit(State(bytes(32), n), n % 500, [bytes([n & 255]) * 256] * 4)
    print(n, flush=True)
"""


def test_kill(tmp_path: Path) -> None:
    path = tmp_path / "rpmb"
    RpmbStore(str(path), GEOMETRY).close()
    chance, reached = random.Random(1), 0
    for _ in range(8):
        with subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE) as child:
            assert child.stdout
            child.stdout.readline()
            time.sleep(chance.random() * 0.03)
            child.send_signal(signal.SIGKILL)
            said = [int(line) for line in child.stdout.read().split(b"\n")[:-1]]
        store = RpmbStore(str(path), GEOMETRY)
        now = store.state.counter
        assert now > reached
        assert not said or now in (said[-1], said[-1] + 1)
        assert store.read(now % 500, 4) == [bytes([now & 255]) * 256] * 4
        reached = now
        store.close()
