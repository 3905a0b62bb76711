"""Files appear whole or not at all, and what killed writers left goes."""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from south.replacing import OLD, SUFFIX, replace, replacing, sweep
from ta_loader.cli.output import write_file

if TYPE_CHECKING:
    from pathlib import Path

WRITER = """
import sys, time
from south.replacing import replacing
with replacing(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    print("ready", flush=True)
    time.sleep(100)
"""


def age(path: Path) -> None:
    then = path.stat().st_mtime - 2 * OLD
    os.utime(path, (then, then))


def test_a_killed_writer_leaves_the_old_file_and_the_next_one_sweeps(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_bytes(b"old")
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(out)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"
    (left,) = (entry for entry in tmp_path.iterdir() if entry != out)
    age(left)
    replace(str(out), b"other")  # the writer lives: its file stays
    assert left.exists()
    writer.send_signal(signal.SIGKILL)
    writer.communicate(timeout=30)
    assert out.read_bytes() == b"other"
    replace(str(out), b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]
    assert out.read_bytes() == b"new"


def test_what_is_swept_and_what_is_not(tmp_path: Path) -> None:
    mine = tmp_path / f".out.1234{SUFFIX}"
    young, held = (tmp_path / f".out.{name}{SUFFIX}" for name in ("young", "held"))
    old_folder, young_folder, held_folder = (
        tmp_path / f".out.{name} folder{SUFFIX}" for name in ("old", "young", "held")
    )
    others = [tmp_path / name for name in (f".other.1{SUFFIX}", ".out.1", "out")]
    for file in (mine, young, held, *others):
        file.touch()
    for folder in (old_folder, young_folder, held_folder):
        (folder / "in it").mkdir(parents=True)
        (folder / "file").write_bytes(b"x")
    (tmp_path / f".out.link{SUFFIX}").symlink_to(others[2])
    os.mkfifo(tmp_path / f".out.fifo{SUFFIX}")
    for file in (mine, held, old_folder, held_folder, *others):
        age(file)
    locks = [os.open(held, os.O_RDWR), os.open(held_folder, os.O_RDONLY)]
    for lock in locks:
        fcntl.flock(lock, fcntl.LOCK_EX)
    place = os.open(tmp_path, os.O_RDONLY)
    before = {entry.name for entry in tmp_path.iterdir()}
    sweep(place, "out")
    assert before - {entry.name for entry in tmp_path.iterdir()} == {mine.name, old_folder.name}
    for fd in (place, *locks):
        os.close(fd)


def test_a_write_that_fails_changes_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for there in (False, True):
        if there:
            out.write_bytes(b"old")
        with pytest.raises(TypeError), replacing(str(out)) as file:
            file.writelines([b"half", "no bytes"])  # type: ignore[list-item]
        assert [entry.read_bytes() for entry in tmp_path.iterdir()] == [b"old"] * there


def test_permissions_and_links_stay(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        replace(str(tmp_path / "fresh"), b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "fresh").stat().st_mode) == 0o640
    (tmp_path / "out").touch()
    (tmp_path / "out").chmod(0o604)
    (tmp_path / "link").symlink_to("out")
    replace(str(tmp_path / "link"), b"y")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "out").read_bytes() == b"y"
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o604
    for letter in "n€":  # as long as a name may be, in bytes
        replace(str(tmp_path / (letter * (255 // len(letter.encode())))), b"z")


def test_devices_and_pipes_are_written_to(tmp_path: Path) -> None:
    replace(os.devnull, b"x")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)
    fifo, got = tmp_path / "fifo", []
    os.mkfifo(fifo)
    reader = threading.Thread(target=lambda: got.append(fifo.read_bytes()))
    reader.start()
    write_file(str(fifo), b"through")
    reader.join(30)
    assert got == [b"through"]


def test_outputs_do_not_write_into_the_file_that_is_there(tmp_path: Path) -> None:
    """Whoever has the old file open, or a link to it, keeps it whole."""
    out, kept = tmp_path / "out", tmp_path / "kept"
    out.write_bytes(b"old and longer")
    os.link(out, kept)
    write_file(str(out), b"new")
    assert (out.read_bytes(), kept.read_bytes()) == (b"new", b"old and longer")
