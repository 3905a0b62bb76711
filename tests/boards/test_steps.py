"""Stages of several steps, at a bootloader that forgets what is typed too early."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from boards.board import Board
from boards.catalogue import Stage, read_board
from boards.errors import TargetError
from south.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

BOOTLOADER = """\
import os, sys, termios, time, tty

tty.setraw(0)

def say(text):
    os.write(1, text.encode())

def line():
    got = b""
    while not got.endswith(b"\\n"):
        got += os.read(0, 1)
    return got.decode().strip()

time.sleep(1)  # what comes before the power is forgotten
say("\\r\\nU-Boot 2026.01\\r\\nHit any key to stop autoboot:  2 \\r\\n")
os.read(0, 1)
say("starting USB...\\r\\n")
time.sleep(0.4)
termios.tcflush(0, termios.TCIFLUSH)  # U-Boot drops what came meanwhile
say("=> ")
while (words := line()) != "boot":
    say(f"{words}\\r\\nPassword: " if words == "unlock" else f"did {words}\\r\\n=> ")
say("[    0.000000] Booting Linux\\r\\n")
time.sleep(600)
"""
DESCRIPTION = """\
schema = 1
summary = "s"
[variables.key]
help = "h"
default = "sEcr3t"
[consoles.normal]
link = "process:{python} {folder}/bootloader.py"
[power]
kind = "command"
on = ["true"]
off = ["true"]
settle = 0.0
[stages.bootloader]
timeout = {timeout}
steps = [{steps}]
[stages.kernel]
pattern = "Booting Linux"
timeout = 60
"""
STOP = """{ expect = 'stop autoboot', send = "\\n" }"""


def at_prompt(command: str) -> str:
    return f"{{ expect = '=> $', send = \"{command}\\n\" }}"


def described(folder: Path, *steps: str, timeout: float = 60) -> Path:
    (folder / "bootloader.py").write_text(BOOTLOADER)
    path = folder / "boot.toml"
    text = DESCRIPTION.format(python=sys.executable, folder=folder, steps=", ".join(steps), timeout=timeout)
    path.write_text(text)
    return path


def test_each_step_waits_for_its_own(tmp_path: Path) -> None:
    steps = (
        STOP,
        at_prompt("setenv bootargs quiet"),
        '{ expect = "did setenv bootargs quiet" }',
        at_prompt("unlock"),
        '{ expect = "Password: $", send = "${key}\\n", secret = true, timeout = 20 }',
        at_prompt("boot"),
    )
    with Board(read_board(described(tmp_path, *steps)), tmp_path / "run") as board:
        board.advance_to("kernel")
        assert [record.stage for record in board.records] == [Stage.BOOTLOADER, Stage.KERNEL]
    log = (tmp_path / "run/console.log").read_text()
    assert "> (not shown)" in log
    assert "> sEcr3t" not in log


def test_what_is_sent_need_not_be_utf_8(tmp_path: Path) -> None:
    steps = (STOP, "{ expect = '=> $', send = \"${key}\\n\" }")
    entry = read_board(described(tmp_path, *steps))
    with Board(entry, tmp_path / "run", {"key": os.fsdecode(b"set \xff")}) as board:
        board.advance_to("bootloader")
    log = (tmp_path / "run/console.log").read_text()
    assert r"> set \xff\x0a" in log


@pytest.mark.parametrize(
    ("limit", "timeout"), [("timeout = 0.5", 60.0), ("timeout = 100", 8.0)], ids=["its own", "the stage's"]
)
def test_a_step_that_is_not_reached_is_named(tmp_path: Path, limit: str, timeout: float) -> None:
    steps = (STOP, f"{{ expect = 'SPL> $', send = 'x', {limit} }}")
    with Board(read_board(described(tmp_path, *steps, timeout=timeout)), tmp_path / "run") as board:
        with pytest.raises(TargetError, match=r"stage bootloader: step 2 of 2: console normal: 'SPL> \$' did not come"):
            board.advance_to("kernel")


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        ("{ expect = '(' }", r"stages.bootloader.steps\[0\].expect: '\(' is no regular expression"),
        ("{ }", r"steps\[0\].expect: is missing; a step needs expect, send or both"),
        ("{ expct = 'x', send = 'y' }", r"steps\[0\].expct: is not known here; did you mean expect"),
        ("{ expect = 'x', send = '${nil}' }", r"steps\[0\].send: names no variable"),
        ("{ expect = 'x', timeout = 'y' }", r"steps\[0\].timeout: is a string"),
        ("'x'", r"steps\[0\]: is a string; write it as a table"),
    ],
)
def test_mistakes_in_steps(tmp_path: Path, steps: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        read_board(described(tmp_path, steps))


def test_steps_stand_alone(tmp_path: Path) -> None:
    path = described(tmp_path, STOP)
    path.write_text(path.read_text().replace("[stages.kernel]", "send = 'x'\n[stages.kernel]"))
    with pytest.raises(UsageError, match="steps: cannot stand beside pattern, send or run"):
        read_board(path)
    path.write_text(path.read_text().replace(f"steps = [{STOP}]", "steps = 'x'"))
    with pytest.raises(UsageError, match="steps: is a string; write a list of tables"):
        read_board(path)
