"""Boards of this machine for tests: a shell on a pty, and a switch that writes down when it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SHELL = "process:/bin/sh -i"
LATE_SHELL = "process:sh -c 'sleep 1; exec sh -i'"
"""What a board says before it is turned on is forgotten: a program on a pty must not speak at once."""


def desk(folder: Path, link: str = SHELL, *, secure: str = "", on: str = "", timeout: float = 240) -> Path:
    """A description of a board: its shell's console, perhaps a second one at the link `secure`.

    on: a command of the switch's, instead of a line in `power`. timeout: seconds of the shell's stage.
    """
    path = folder / "desk.toml"
    log = folder / "power"
    path.write_text(
        'schema = 1\nsummary = "desk"\n'
        f'[consoles.normal]\nlink = "{link}"\n'
        + (f'[consoles.secure]\nlink = "{secure}"\n' if secure else "")
        + '[power]\nkind = "command"\n'
        f'on = ["sh", "-c", "{on or f"echo on >>{log}"}"]\noff = ["sh", "-c", "echo off >>{log}"]\nsettle = 0.0\n'
        f"[shell]\nprompt = '[#$] $'\ntimeout = {timeout}\n"
    )
    return path


def switched(folder: Path) -> list[str]:
    """What the desk's switch did, in order."""
    log = folder / "power"
    return log.read_text().split() if log.exists() else []
