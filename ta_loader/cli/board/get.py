"""`litebox-ta board get BOARD PATH FILE`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from boards.board import Board
from boards.catalogue import Stage, find_board
from boards.shell_files import Report, get
from south.errors import UsageError
from south.replacing import replace
from ta_loader.cli import exits
from ta_loader.cli.board import BOARD_OPTIONS, say, variables
from ta_loader.cli.options import Command
from ta_loader.outputs import require_file

if TYPE_CHECKING:
    from boards.console_shell import Shell
    from ta_loader.cli.options import Arguments


def run(arguments: Arguments) -> int:
    name, source, target = arguments.words
    place(source, target)
    with Board(find_board(name), None, variables(arguments)) as board:
        board.advance_to(Stage.SHELL)
        fetch(board.shell, source, target)
    return exits.OK


def fetch(shell: Shell, source: str, target: str) -> None:
    """target: as of `place`. UsageError, TargetError."""
    path = place(source, target)
    data = get(shell, source, tell=Report(source, say))
    try:
        replace(str(path), data)
    except OSError as problem:
        raise UsageError(f"{path}: {problem.strerror}") from None


def place(source: str, target: str) -> Path:
    """The file of ours. target: ending with a slash or a folder, the folder for it. UsageError: it takes no file."""
    path = Path(target, os.path.basename(source)) if target.endswith("/") or os.path.isdir(target) else Path(target)
    require_file(str(path), "get")
    return path


COMMAND = Command(
    name="board get",
    summary="Fetch a file from a board, over its console.",
    words=("BOARD", "PATH", "FILE"),
    options=BOARD_OPTIONS,
    run=run,
    epilog="""\
PATH is on the board. Each block and the whole are compared by checksum. A board that is off is turned on for it, and
off afterwards; `board run --get PATH=FILE` does it after a command.

examples:
  litebox-ta board get ./desk.toml /var/log/messages logs/
  litebox-ta board run ./desk.toml --get /tmp/gmon.out=gmon.out -- ./measure""",
)
