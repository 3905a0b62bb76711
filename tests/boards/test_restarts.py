"""A board that starts again, or whose shell ends, while tests run; and commands that only print what it would say."""

from __future__ import annotations

import re
import sys
import time
from typing import TYPE_CHECKING

import pytest

from boards.board import Board
from boards.catalogue import Stage, read_board
from boards.console_restart import Lookout
from boards.errors import TargetError, TargetRestarted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BOARD = r"""
import os, select, signal, sys, termios, time, tty
for number in (signal.SIGINT, signal.SIGTTOU, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
saved = termios.tcgetattr(0)

def out(text):
    os.write(1, text.encode())

boots = 0
while True:
    out("\r\nU-Boot SPL 2026.01\r\n")
    time.sleep(float(sys.argv[2]) if boots else 0)
    boots += 1
    out("\r\nU-Boot 2026.01\r\nHit any key to stop autoboot:  2 \r\n")
    tty.setraw(0)
    if select.select([0], [], [], 1.0)[0]:
        open(sys.argv[1], "ab").write(os.read(0, 100))
        out("=> ")
        time.sleep(600)
    out("[    0.000000] Booting Linux on physical CPU 0x0\r\n")
    time.sleep(0.3)
    termios.tcsetattr(0, termios.TCSANOW, saved)
    out("board login: ")
    while os.read(0, 100) == b"\n":
        out("board login: ")
    child = os.fork()
    if not child:
        for number in (signal.SIGINT, signal.SIGTTOU, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        os.execvpe("/bin/sh", ["sh", "-i"], {**os.environ, "PS1": "root@board:~# ", "ENV": ""})
    os.waitpid(child, 0)
    os.tcsetpgrp(0, os.getpgrp())
"""
STAGES = """
[stages.bootloader]
pattern = 'stop autoboot'
timeout = 30
[stages.kernel]
pattern = 'Booting Linux'
timeout = 30
"""


def description(folder: Path, stages: str, spl: float = 0.0) -> Path:
    program, path = folder / "board.py", folder / "fake.toml"
    program.write_text(BOARD)
    path.write_text(
        'schema = 1\nsummary = "s"\n[consoles.normal]\n'
        f'link = "process:{sys.executable} {program} {folder / "keys"} {spl}"\n'
        '[power]\nkind = "command"\non = ["true"]\noff = ["true"]\nsettle = 0.0\n'
        f"{stages}[shell]\nprompt = '# $'\nlogin = 'login: $'\nuser = 'root'\ntimeout = 60\nsilence = 20\n"
    )
    return path


@pytest.fixture(params=[STAGES, ""], ids=["stages", "no stages"])
def fake(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Board]:
    with Board(read_board(description(tmp_path, request.param)), tmp_path / "run") as made:
        made.advance_to("shell")
        yield made


@pytest.fixture(scope="module", params=[STAGES, ""], ids=["stages", "no stages"])
def lasting(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    """One for all tests after which it is as it was."""
    folder = tmp_path_factory.mktemp("lasting")
    with Board(read_board(description(folder, request.param)), folder / "run") as made:
        made.advance_to("shell")
        yield made


def test_a_reset_while_a_command_runs(fake: Board, tmp_path: Path) -> None:
    """It ends soon, nothing is typed at the bootloader, and the next command finds a shell."""
    began = time.monotonic()
    with pytest.raises(TargetRestarted, match="the board started again while"):
        fake.run("kill -9 $$; sleep 100", 100)
    assert time.monotonic() - began < 40
    assert fake.run("echo next; (exit 3)").exit_code == 3
    assert fake.run("echo third").output == "third\n"
    assert fake.stage is Stage.SHELL
    assert not (tmp_path / "keys").exists()
    assert "the board started again" in (tmp_path / "run/console.log").read_text()


def test_a_time_out_in_the_countdown(tmp_path: Path) -> None:
    with Board(read_board(description(tmp_path, STAGES, 3.0)), tmp_path / "run") as board:
        board.advance_to("shell")
        with pytest.raises(TargetError):
            board.run("kill -9 $$; sleep 100", 3.7)
        assert board.run("echo next").output == "next\n"
    assert not (tmp_path / "keys").exists()


def test_a_reset_between_commands(fake: Board, tmp_path: Path) -> None:
    assert fake.run("(sleep 1; kill -9 $$) >/dev/null 2>&1 &").exit_code == 0
    assert fake.console.seen("Booting Linux", 60)
    assert fake.run("echo next").output == "next\n"
    assert not (tmp_path / "keys").exists()


@pytest.mark.parametrize(
    "text",
    [
        "Hit any key to stop autoboot:  2",
        "U-Boot SPL 2026.01",
        "Kernel panic - not syncing: of old",
        "<0>[   10.1] Kernel panic - not syncing: from pstore",
        "[    0.000001] Kernel panic - not syncing: from dmesg",
        "PANIC at PC : 0x0",
        "### ERROR ### Please RESET the board ###",
    ],
)
def test_what_a_command_merely_prints(lasting: Board, text: str) -> None:
    done = lasting.run(f"echo '{text}'; sleep 1; echo on; sleep 0.7; echo end; (exit 3)", 60)
    assert done.exit_code == 3
    assert done.output.endswith("on\nend\n")
    assert lasting.run("echo next").output == "next\n"
    assert lasting.failure is None


def test_a_panic_while_a_command_runs(fake: Board) -> None:
    began = time.monotonic()
    with pytest.raises(TargetError, match="the kernel panicked"):
        fake.run("printf '[9999999.000000] Kernel panic - not syncing: now\\n'; sleep 100", 100)
    assert time.monotonic() - began < 40


def test_a_command_that_ends_the_shell(tmp_path: Path) -> None:
    path = tmp_path / "host.toml"
    path.write_text(
        'schema = 1\nsummary = "s"\n[consoles.normal]\nlink = "process:/bin/sh -i"\n[power]\nkind = "none"\n'
        "[shell]\nprompt = '[#$] $'\ntimeout = 60\n"
    )
    with Board(read_board(path), tmp_path / "run") as board:
        for command in ("exit 3", "kill -9 $$", "set -e; false"):
            began = time.monotonic()
            with pytest.raises(TargetRestarted, match="the program ended"):
                board.run(command, 100)
            assert time.monotonic() - began < 30
            assert board.run("echo next").output == "next\n"


def test_lookout(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("boards.console_restart.time.monotonic", lambda: now)
    signs = [re.compile(b"BL1"), re.compile(b"autoboot")]

    def made() -> Lookout:
        out = Lookout(signs, re.compile(b"login: $"))
        out.said()
        out.look(b"BL1: v1")
        return out

    one = made()
    assert one.line == "BL1: v1"
    for now in (0.1, 0.2, 0.3, 20.0):  # a long listing without a pause, then silence
        if now < 1:
            one.said()
            one.look(b"autoboot")
    assert not one.restarted("")
    now = 0.0
    one = made()
    now = 2.0
    one.said()
    assert not one.restarted("")
    one.look(b"autoboot")  # the boot goes on
    assert one.restarted("")
    one.forget()
    assert not one.line
    now = 0.0
    one = made()
    now = 2.0
    assert one.restarted("board login: ")
    assert not one.restarted("")
    one.ended("the program ended")
    one.forget()
    assert one.restarted("")
