"""Standard error that takes no more: text is dropped and counted, and nobody fails or waits."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from south.linux_host.log import Log

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def test_what_can_be_written_is_written(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w", encoding="ascii") as file:
        log = Log(lambda: file)
        log.write("a\n")
        file.write("between\n")
        file.flush()
        log.write("é\n" * 3000)
    assert (tmp_path / "log").read_text() == "a\nbetween\n" + "\\xe9\n" * 3000
    assert log.lost == 0
    text = io.StringIO()
    Log(lambda: text).write("no descriptor")
    assert text.getvalue() == "no descriptor"


def test_a_full_disk() -> None:
    with open("/dev/full", "w") as full:
        log = Log(lambda: full)
        for _ in range(3):
            log.write("text\n" * 5000)
        assert log.lost == 3


def test_a_stream_that_is_closed_or_not_there() -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (closed, None):
        log = Log(lambda stream=stream: stream)  # type: ignore[misc]
        log.write("text")
        assert log.lost == 1


def test_a_reader_that_has_gone_and_another_log_afterwards(tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    stream = os.fdopen(theirs, "w")
    log = Log(lambda: stream)
    os.close(ours)
    log.write("gone\n")
    assert log.lost == 1
    stream.close()
    with (tmp_path / "log").open("w") as file:
        stream = file
        log.write("there\n")
    assert (tmp_path / "log").read_text() == "there\n"
    assert log.lost == 1


@pytest.mark.parametrize("blocking", [True, False])
def test_a_reader_that_does_not_read_is_waited_for_once(blocking: bool) -> None:
    ours, theirs = os.pipe()
    os.set_blocking(theirs, blocking)
    with os.fdopen(theirs, "w") as stream:
        log = Log(lambda: stream, patience=0.2)
        start = time.monotonic()
        for _ in range(200):
            log.write("x" * 3999 + "\n")
        assert log.lost >= 200 - (1 << 16) // 4000 - 1
        assert time.monotonic() - start < 20, "as many waits as texts would be 36 s"
        while len(os.read(ours, 1 << 16)) == 1 << 16:
            pass
        before = log.lost
        log.write("again\n")
        assert log.lost == before
        assert os.read(ours, 1 << 16).endswith(b"again\n")
    os.close(ours)


def test_without_a_limit_a_slow_reader_gets_everything() -> None:
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    with os.fdopen(theirs, "w") as stream:
        log = Log(lambda: stream)
        writer = threading.Thread(target=lambda: log.write("y" * (1 << 20)))
        writer.start()
        got = 0
        while got < 1 << 20:
            got += len(os.read(ours, 1 << 16))
            time.sleep(0.001)
        writer.join(30)
        assert log.lost == 0
    os.close(ours)


def litebox(arguments: Sequence[str], stderr: int) -> int:
    command = [sys.executable, "-m", "ta_loader.cli", *arguments]
    return subprocess.run(command, stderr=stderr, stdout=subprocess.DEVNULL, timeout=120, check=False).returncode


@pytest.mark.parametrize(("command", "param", "code"), [("5", "in:str:hello", 0), ("2", "value:1", 3)])
@pytest.mark.parametrize("options", [[], ["--trace"]], ids=["", "trace"])
def test_run_ends_as_it_would(tmp_path: Path, command: str, param: str, code: int, options: list[str]) -> None:
    """Exit codes with a standard error that works, on a full disk, and with a reader that has gone."""
    arguments = ["run", "hello", "--state", str(tmp_path), *options, "--invoke", command, param]
    expected = litebox(arguments, subprocess.DEVNULL)
    with open("/dev/full", "w") as full:
        assert litebox(arguments, full.fileno()) == expected
    ours, theirs = os.pipe()
    os.close(ours)
    assert litebox(arguments, theirs) == expected
    os.close(theirs)
    assert expected == code


def test_a_refusal_has_its_exit_code_on_a_full_disk() -> None:
    with open("/dev/full", "w") as full:
        assert litebox(["run", "no-such-file"], full.fileno()) == litebox(["run", "no-such-file"], subprocess.DEVNULL)
