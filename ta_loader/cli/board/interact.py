"""A person at a console: what is typed goes there, what it says comes here, until Ctrl-]."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from boards.console import Console

ESCAPE = b"\x1d"
"""Ctrl-], as telnet and miniterm have it."""
POLL = 0.2
QUIET = 1.0
"""Seconds of silence after the end of an input that is no terminal."""


def interact(console: Console, seconds: float | None = None, *, prompt: bool = False) -> None:
    """seconds: leave after so many. prompt: have a shell show its prompt again. TargetError if the target dies."""
    typed = sys.stdin.fileno()
    terminal = os.isatty(typed)
    before = termios.tcgetattr(typed) if terminal else None
    console.tap = _show
    try:
        if before is not None:
            print(f"console {console.name}; leave it with Ctrl-]", file=sys.stderr)
            tty.setraw(typed)
        if prompt:
            console.write(b"\n")  # not before the tap is there, or the prompt might be lost
        _pump(console, typed, None if seconds is None else time.monotonic() + seconds)
    finally:
        console.tap = None
        if before is not None:
            termios.tcsetattr(typed, termios.TCSADRAIN, before)
            print(file=sys.stderr)


def _show(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _pump(console: Console, typed: int, deadline: float | None) -> None:
    while deadline is None or time.monotonic() < deadline:
        ready, _, _ = select.select([typed], [], [], POLL)
        if console.tap is None:
            return  # nobody reads our output any more
        if not ready:
            console.wait_connected()
            continue
        data = os.read(typed, 1024)
        keys, escape, _ = data.partition(ESCAPE)
        if keys:
            console.write(keys)
        if escape:
            return
        if not data:
            console.quiet(QUIET, 60.0 if deadline is None else max(0.0, deadline - time.monotonic()))
            return
