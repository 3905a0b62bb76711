"""`litebox-ta board put BOARD FILE PATH`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from boards.board import Board
from boards.catalogue import Stage, find_board
from boards.shell_files import Report, local_file, put
from ta_loader.cli import exits
from ta_loader.cli.board import BOARD_OPTIONS, say, variables
from ta_loader.cli.options import Command

if TYPE_CHECKING:
    from boards.console_shell import Shell
    from ta_loader.cli.options import Arguments


def run(arguments: Arguments) -> int:
    name, source, target = arguments.words
    data, mode = local_file(Path(source))
    with Board(find_board(name), None, variables(arguments)) as board:
        board.advance_to(Stage.SHELL)
        send(board.shell, data, mode, source, target)
        board.shell.run("sync", 300.0)  # the power may go off a moment later
    return exits.OK


def send(shell: Shell, data: bytes, mode: int, source: str, target: str) -> None:
    """target: ending with a slash, the folder for it."""
    path = target + os.path.basename(source) if target.endswith("/") else target
    put(shell, data, path, mode=mode, tell=Report(f"{source}", say))


COMMAND = Command(
    name="board put",
    summary="Send a file to a board, over its console.",
    words=("BOARD", "FILE", "PATH"),
    options=BOARD_OPTIONS,
    run=run,
    epilog="""\
PATH is on the board; with a slash at its end, the folder for the file. The file has its permissions there, replaces
another wholly or not at all, and is compared by checksum. A board that is off is turned on for it, and off afterwards;
`board run --put FILE=PATH` does it before a command.

examples:
  litebox-ta board put ./desk.toml out/ta/8aaaf200-2450-11e4-abe2-0002a5d5c51b.ta /lib/optee_armtz/
  litebox-ta board put host notes.txt /tmp/notes.txt""",
)
