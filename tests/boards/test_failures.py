"""Nobody's failure ends a run or its reader: programs of the user's, lines that go while they are written to."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import threading
import time
from typing import TYPE_CHECKING

import pytest

from boards import hooks
from boards.catalogue import read_board
from boards.console import Console
from boards.console_link import DescriptorLink, SerialLink, link_maker
from boards.console_log import Log
from boards.errors import TargetError
from boards.power import CommandPower, ProcessPower
from boards.testing import FakeLine, fake_board
from boards.variables import resolve
from south.errors import UsageError
from tests.threads import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from boards.console_link import Link

LEAVES_A_CHILD = ["sh", "-c", "sleep 100 & echo $! >$0; echo said; echo wrong >&2; exit $1"]


def end(pid_file: Path) -> None:
    os.kill(int(pid_file.read_text()), 9)


def test_a_hook_that_leaves_a_child_keeps_nobody_waiting(tmp_path: Path) -> None:
    began = time.monotonic()
    CommandPower([*LEAVES_A_CHILD, str(tmp_path / "pid")], ["true"]).on()
    end(tmp_path / "pid")
    with pytest.raises(TargetError, match=r"(?s)ended with status 3\n.*wrong"):
        CommandPower(["true"], [*LEAVES_A_CHILD, str(tmp_path / "pid"), "3"]).off()
    end(tmp_path / "pid")
    assert time.monotonic() - began < 50


def test_a_variable_whose_maker_leaves_a_child(tmp_path: Path) -> None:
    path = fake_board(tmp_path)
    words = ", ".join(f'"{word}"' for word in [*LEAVES_A_CHILD, str(tmp_path / "pid")])
    path.write_text(f'{path.read_text()}\n[variables.made]\nhelp = "h"\nmake = [{words}]\n')
    began = time.monotonic()
    assert resolve(read_board(path), {}, tmp_path)["made"] == "said"
    assert time.monotonic() - began < 50
    end(tmp_path / "pid")


def test_a_hook_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        hooks.run(["sh", "-c", f"echo $$ >{tmp_path}/pid; exec sleep 100"], 1.0)
    with pytest.raises(ProcessLookupError):
        end(tmp_path / "pid")


def test_a_full_disk_keeps_no_power_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    CommandPower(["true"], ["sh", "-c", f"echo off >{tmp_path}/power; echo said"]).off()
    assert (tmp_path / "power").read_text() == "off\n"


def test_a_power_log_that_cannot_be_written_is_a_message(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file or directory"):
        ProcessPower(lambda: ["true"], tmp_path / "gone/power.log").on()


def test_a_power_log_that_is_gone_hides_no_death(tmp_path: Path) -> None:
    power = ProcessPower(lambda: ["sh", "-c", "exit 4"], tmp_path / "power.log")
    power.on()
    (tmp_path / "power.log").unlink()
    assert eventually(power.trouble)
    assert power.trouble() == "sh ended with status 4"
    power.off()


def write_all(link: Link, problems: list[BaseException]) -> None:
    try:
        for _ in range(1000):
            link.write(bytes(1 << 16))  # more than a line takes
    except BaseException as problem:
        problems.append(problem)


def test_a_line_that_is_closed_while_it_is_written_to() -> None:
    """The writer gets an error soon, and not a byte goes to a file that has the same number a moment later."""
    for _ in range(20):
        near, far = socket.socketpair()
        link = DescriptorLink(near.detach())
        problems: list[BaseException] = []

        thread = threading.Thread(target=write_all, args=(link, problems))
        thread.start()
        time.sleep(0.01)
        link.close()
        with tempfile.TemporaryFile() as other:
            thread.join(8.0)
            assert not thread.is_alive()
            assert os.fstat(other.fileno()).st_size == 0
        far.close()
        assert [type(problem) for problem in problems] == [OSError]


def test_a_port_that_is_closed_while_it_is_written_to() -> None:
    pytest.importorskip("serial")
    ours, theirs = os.openpty()
    link = SerialLink(os.ttyname(theirs), 115200)
    problems: list[BaseException] = []
    thread = threading.Thread(target=write_all, args=(link, problems))
    thread.start()
    time.sleep(0.2)
    began = time.monotonic()
    link.close()
    thread.join(30.0)
    assert time.monotonic() - began < 8, "a write that nobody takes is given up"
    os.close(ours)
    os.close(theirs)
    assert problems
    assert all(isinstance(problem, OSError) for problem in problems), problems


def test_unplugged_while_something_is_written() -> None:
    with FakeLine(link_maker("process:/bin/cat")) as line, Console("usb", line.make, Log()) as console:
        ended = threading.Event()
        problems: list[BaseException] = []

        def write() -> None:
            while not ended.is_set():
                try:
                    console.write(b"x" * 2000 + b"\n")
                except TargetError:
                    pass
                except BaseException as problem:
                    problems.append(problem)
                    return

        thread = threading.Thread(target=write)
        thread.start()
        for _ in range(10):
            time.sleep(0.05)
            line.unplug()
            assert eventually(lambda: not console.connected)
            line.plug()
            assert eventually(lambda: console.connected)
        ended.set()
        thread.join(60)
        assert not problems
        console.quiet(0.3, 20)
        console.write(b"still there\n")
        console.expect("still there", 20)
