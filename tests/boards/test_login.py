"""Logins on boards that misbehave: each is sound, and each ends at a shell."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from boards.board import Board
from boards.catalogue import read_board
from boards.console_login import Screen
from boards.errors import TargetError

if TYPE_CHECKING:
    from pathlib import Path

GETTY = r"""
import json, os, select, sys, termios, time, tty
steps, typed = json.load(open(sys.argv[1])), open(sys.argv[2], "ab", 0)
saved = termios.tcgetattr(0)

def line():
    got = b""
    while not got.endswith(b"\n"):
        got += os.read(0, 1)
    typed.write(got)
    return got[:-1].decode("latin-1")

def echo(on):
    mode = termios.tcgetattr(0)
    mode[3] = mode[3] | termios.ECHO if on else mode[3] & ~termios.ECHO
    termios.tcsetattr(0, termios.TCSANOW, mode)

def run(steps):
    for what, *given in steps:
        if what == "out":
            os.write(1, given[0].encode("latin-1"))
        elif what == "sleep":
            time.sleep(given[0])
        elif what == "flush":
            termios.tcflush(0, termios.TCIFLUSH)
        elif what == "byte":
            typed.write(os.read(0, 1))
        elif what == "line":
            line()
        elif what == "echo":
            echo(given[0])
        elif what == "keys":  # a bootloader: for so long any key stops it
            tty.setraw(0)
            ready, _, _ = select.select([0], [], [], given[0])
            if ready:
                os.write(1, b"=> ")
                time.sleep(600)
            termios.tcsetattr(0, termios.TCSANOW, saved)
        elif what == "deaf":
            end = time.monotonic() + given[0]
            tty.setraw(0)
            while time.monotonic() < end:
                if select.select([0], [], [], 0.05)[0]:
                    os.read(0, 1000)
            termios.tcsetattr(0, termios.TCSANOW, saved)
        elif what == "until":  # prompt, then a name; again until it is the right one
            prompt, ask, name, word = given
            while True:
                os.write(1, prompt.encode())
                got = line()
                if not got:
                    continue
                echo(False)
                os.write(1, ask.encode())
                secret = line()
                echo(True)
                os.write(1, b"\r\n")
                if (got, secret) == (name, word):
                    break
                time.sleep(0.1)
                os.write(1, b"\r\nLogin incorrect\r\n")
    os.execvpe("/bin/sh", ["sh", "-i"], {**os.environ, "PS1": os.environ.get("FAKE_PS1", "root@board:~# "), "ENV": ""})

run(steps)
"""
MESSAGE = "[   12.345678] usb 1-1: new high-speed USB device number 2\r\n"
SECURE = "D/TC:0 0 tee_entry_std:545 open session\r\n"
LOGIN: Any = ["until", "board login: ", "Password: ", "root", "secret"]


def board(folder: Path, steps: list[Any], shell: str = "login = 'login: $'", power: str = "command") -> Board:
    program, plan = folder / "getty.py", folder / "plan.json"
    program.write_text(GETTY)
    plan.write_text(json.dumps(steps))
    path = folder / "fake.toml"
    switch = 'on = ["true"]\noff = ["true"]\nsettle = 0.0' if power == "command" else ""
    path.write_text(
        f'schema = 1\nsummary = "s"\n[consoles.normal]\n'
        f'link = "process:{sys.executable} {program} {plan} {folder / "typed"}"\n'
        f'[power]\nkind = "{power}"\n{switch}\n'
        f"[shell]\nuser = 'root'\npassword = 'secret'\nsilence = 1.0\n"
        f"{shell}\n"
        + ("" if "prompt =" in shell else "prompt = '[#$] $'\n")
        + ("" if "timeout" in shell else "timeout = 90\n")
    )
    return Board(read_board(path), folder / "run")


SOUND: dict[str, tuple[list[Any], str]] = {
    "message after login": ([["out", f"board login: {MESSAGE}"], ["line"], LOGIN], ""),
    "OP-TEE after login": ([["out", f"board login: {SECURE}{MESSAGE}"], ["line"], LOGIN], ""),
    "other words after login": ([["out", "board login: \r\nrandom: crng init done\r\n"], ["line"], LOGIN], ""),
    "message within login": ([["out", f"board log{MESSAGE}in: "], ["line"], LOGIN], ""),
    "message after password": (
        [
            ["out", "board login: "],
            ["line"],
            ["echo", False],
            ["out", f"Password: {MESSAGE}"],
            ["line"],
            ["echo", True],
        ],
        "",
    ),
    "message after prompt": ([["out", f"root@board:~# {MESSAGE}"]], "login = ''"),
    "flushed": ([["out", "board login: "], ["sleep", 0.4], ["flush"], LOGIN], ""),
    "flushed three times": ([*[["out", "board login: "], ["sleep", 0.4], ["flush"], ["line"]] * 3, LOGIN], ""),
    "a lost byte": ([["out", "board login: "], ["byte"], LOGIN], ""),
    "a late prompt": ([LOGIN, ["sleep", 4]], ""),
    "no prompt of its own": ([["line"], LOGIN], ""),
    "German": ([["until", "board Anmeldung: ", "Passwort: ", "root", "secret"]], "login = 'Anmeldung: $'"),
    "Japanese": ([["until", "board login: ", "パスワード: ", "root", "secret"]], ""),
    "a pattern of its own": (
        [["until", "name> ", "word> ", "root", "secret"]],
        "login = '^name> $'\nask_password = '^word> $'",
    ),
    "no password": ([["out", "board login: "], ["line"]], ""),
    "a countdown": ([["out", "U-Boot 2026.01\r\nHit any key to stop autoboot:  2 "], ["keys", 4.0], LOGIN], ""),
    "a countdown that counts": (
        [
            *[["out", "Hit any key to stop autoboot:  3 "], ["keys", 1.5], ["out", "\b\b\b 2 "], ["keys", 1.5]],
            *[["out", "\b\b\b 1 \r\n"], ["keys", 1.5], LOGIN],
        ],
        "",
    ),
    "like a prompt": (
        [["out", "Loading modules # \r\n"], ["deaf", 1.0], ["out", "Progress # "], ["deaf", 4.0]],
        "login = ''",
    ),
    "carriage returns alone": ([["out", "BL1: v1\rBL2: next\r\r"], LOGIN], "login = '^board login: $'"),
    "noise before it": ([["out", "\xff\x00\xf3\x8f\x1b]"], LOGIN], "login = '^?board login: $'".replace("^?", "")),
    "the terminal is asked": (
        [["out", "\x1bP+q544E\x1b\\\x1b[c\x1b]11;?\x07\r\n"], LOGIN],
        "login = '^board login: $'",
    ),
    "flags of a pattern": ([LOGIN], "login = '(?i)LOGIN: $'\nprompt = '(?i)ROOT@board.*# $'"),
    "groups of a pattern": ([LOGIN], "login = '(?P<login>login): $'\nprompt = '(?P<login>ro(o)\\2?t)@board.*# $'"),
}


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_board(name: str, tmp_path: Path) -> None:
    steps, shell = SOUND[name]
    shell = shell if "login =" in shell else f"login = 'login: $'\n{shell}"
    with board(tmp_path, steps, shell) as found:
        found.advance_to("shell")
        done = found.run("echo hello; (exit 3)")
        assert (done.exit_code, done.output) == (3, "hello\n")
    assert "secret" not in (tmp_path / "run/console.log").read_text().replace("'secret'", "")


def test_a_wrong_password_ends_soon(tmp_path: Path) -> None:
    """After three attempts: more may lock the account."""
    steps: list[Any] = [["until", "board login: ", "Password: ", "root", "another"]]
    with board(tmp_path, steps) as found:
        began = time.monotonic()
        with pytest.raises(TargetError, match="was refused 3 times"):
            found.advance_to("shell")
        assert time.monotonic() - began < 60
    assert (tmp_path / "typed").read_text().split("\n").count("secret") == 3


def test_no_shell_ever(tmp_path: Path) -> None:
    with board(tmp_path, [["deaf", 60.0]], "login = 'login: $'\ntimeout = 4") as found:
        with pytest.raises(TargetError, match=r"no shell within 4 s: seen and answered were \d x newline") as caught:
            found.advance_to("shell")
        assert caught.value.stage == "shell"


@pytest.mark.parametrize("before", [[], [["out", "LBP:01234567:"]]], ids=["nothing", "another run's marker"])
def test_a_board_that_is_always_on(tmp_path: Path, before: list[Any]) -> None:
    """The prompt came long ago."""
    with board(tmp_path, [*before, ["line"]], "login = 'login: $'", power="none") as found:
        found.advance_to("shell")
        assert found.run("echo $((6 * 7))").output == "42\n"


def test_screen() -> None:
    screen = Screen(b"old\n")
    for byte in b"BL1\rBL2\r\r\n\x1b[1mlo\x1b]0;title\x07gin: \r":
        screen.feed(bytes([byte]))
    assert screen.text() == "old\nBL1\nBL2\nlogin: "
    screen.feed(b"x" * 100_000)
    assert len(screen.text()) < 10_000
    screen.forget()
    assert screen.text() == ""
