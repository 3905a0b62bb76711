"""`litebox-ta board console BOARD [CONSOLE]`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from boards.board import Board
from boards.catalogue import Stage, find_board
from south.errors import UsageError
from ta_loader.cli import exits
from ta_loader.cli.board import BOARD_OPTIONS, variables
from ta_loader.cli.board.interact import interact
from ta_loader.cli.options import Command, Option, seconds

if TYPE_CHECKING:
    from ta_loader.cli.options import Arguments


def run(arguments: Arguments) -> int:
    entry = find_board(arguments.words[0])
    name = arguments.words[1] if len(arguments.words) > 1 else None
    limit = arguments.one("--for")
    duration = None if limit is None else seconds(limit, "--for")
    folder = arguments.one("--log")
    power = arguments.switch("--on") or entry.power.kind == "qemu"
    with Board(entry, Path(folder) if folder else None, variables(arguments), keep=not power) as board:
        if name is not None and name not in board.consoles:
            raise UsageError(f"{board.name} has no console {name}; it has {', '.join(board.consoles)}")
        console = board.consoles[name] if name else board.console
        # What is piped in would be lost on a board that boots.
        booted = power or entry.power.kind == "none"
        wait = booted and entry.shell is not None and console is board.console and not sys.stdin.isatty()
        if wait:
            board.advance_to(Stage.SHELL)
        else:
            board.open(power=power)
            console.wait_connected()
        interact(console, duration, prompt=wait)
    return exits.OK


COMMAND = Command(
    name="board console",
    summary="Type at a board's console; its output comes here, with a log of all consoles.",
    words=("BOARD", "[CONSOLE]"),
    options=(
        *BOARD_OPTIONS,
        Option("--on", "", "turn the board on first, and off at the end (QEMU: always)"),
        Option("--log", "DIR", "keep console.log in this folder", out=True),
        Option("--for", "SECONDS", "leave after so long"),
    ),
    run=run,
    epilog="""\
Ctrl-] leaves. Without a terminal, standard input is sent, and the command ends when the console falls silent;
a board that is turned on here, or is always on, is taken to its shell first.

examples:
  litebox-ta board console ./myboard.toml secure
  echo 'uname -a' | litebox-ta board console ./myboard.toml --log logs --for 5""",
)
