"""Files that a user names: what never ends, or waits, or is too large, is refused before it is read."""

from __future__ import annotations

import io
import os
import resource
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from south.errors import UsageError
from ta_loader import inputs
from ta_loader.inputs import read_input, read_stdin

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 60


def test_a_file(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"abc")
    assert read_input(str(tmp_path / "data"), "x", 3) == b"abc"
    with pytest.raises(UsageError, match=r"x .*data: 3 bytes, more than the limit of 2"):
        read_input(str(tmp_path / "data"), "x", 2)
    assert read_input("/dev/null", "x") == b""
    assert read_input("/proc/self/cmdline", "x")  # a regular file whose size is said to be 0


def refused(path: str) -> str:
    """The refusal, by a process of its own: one that hangs or eats memory must not take the tests with it."""
    command = [sys.executable, "-m", "ta_loader.cli", "run", "hello", "--invoke", "1", f"in:@{path}", "out:32"]

    def little_memory() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))

    done = subprocess.run(
        command, capture_output=True, text=True, timeout=SECONDS, preexec_fn=little_memory, check=False
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("kind", "says"),
    [("/dev/zero", "a device"), ("/dev/full", "a device"), ("fifo", "a named pipe"), ("folder", "a folder"),
     ("socket", "cannot be read"), ("sparse", "more than the limit"), ("nothing", "No such file"),
     ("link-to-zero", "a device"), ("a\0b", "")],
)  # fmt: skip
def test_what_has_no_end_is_refused(kind: str, says: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link-to-zero").symlink_to("/dev/zero")
    with open(tmp_path / "sparse", "wb") as sparse:
        sparse.truncate(inputs.MAX_FILE + 1)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        path = str(tmp_path / kind)
        if "\0" in kind:
            with pytest.raises(UsageError):
                read_input(path, "x")
            return
        assert says in refused(path)


@pytest.mark.parametrize("option", ["--trust", "--elf", "--script"])
def test_every_option_that_reads_a_file(option: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    ta = [] if option == "--script" else ["hello"]
    for path, says in (("/dev/zero", "a device"), (str(tmp_path / "fifo"), "a named pipe")):
        command = [sys.executable, "-m", "ta_loader.cli", "run", *ta, option, path]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        assert (done.returncode, says in done.stderr) == (2, True), done.stderr


def test_a_pipe_that_a_shell_makes(tmp_path: Path) -> None:
    """`in:@<(command)`: it has an end, and somebody at the other one."""
    command = f"{sys.executable} -m ta_loader.cli run hello --invoke 1 in:@<(sleep 0.2; printf abc) out:32"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    assert "ba 78 16 bf" in done.stdout


def test_streams_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "MAX_STREAM", 10)
    for size, fits in ((10, True), (11, False)):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(bytes(size))))
        read, write = os.pipe()
        os.write(write, bytes(size))
        os.close(write)
        if fits:
            assert read_stdin("x") == bytes(size)
            assert read_input(f"/dev/fd/{read}", "x") == bytes(size)
        else:
            with pytest.raises(UsageError, match="standard input: more than the limit of 10 bytes"):
                read_stdin("x")
            with pytest.raises(UsageError, match="more than the limit of 10 bytes"):
                read_input(f"/dev/fd/{read}", "x")
        os.close(read)
