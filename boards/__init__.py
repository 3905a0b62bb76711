"""Boards and virtual machines that boot a secure world of their own.

Consoles (serial lines, QEMU's sockets, programs) are read from the moment they open into one log; a TOML description
says how a board gets power and which stages it boots through; `Board.advance_to` takes it there and says which stage
failed; `Shell.run` runs commands over lines that may be bad; a pytest plugin hands a booted target to a test.

It may import every other package but the command line, which alone imports it. What goes wrong on a board is a
`boards.errors.TargetError`, told apart from a mistake of the caller, a `south.errors.UsageError`.

Serial ports and RFC 2217 need pyserial, the extra `boards`: `pip install '.[boards]'` in a checkout.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from boards.board import Board
    from boards.catalogue import Stage, find_board, read_board
    from boards.console import Console
    from boards.console_shell import Completed, Shell
    from boards.errors import TargetError

__all__ = ["Board", "Completed", "Console", "Shell", "Stage", "TargetError", "find_board", "read_board"]

_PLACES = {
    "Board": "boards.board",
    "Completed": "boards.console_shell",
    "Console": "boards.console",
    "Shell": "boards.console_shell",
    "Stage": "boards.catalogue",
    "TargetError": "boards.errors",
    "find_board": "boards.catalogue",
    "read_board": "boards.catalogue",
}


def __getattr__(name: str) -> Any:
    # On first use: each run of pytest and each `litebox-ta --help` loads this package.
    if name in _PLACES:
        return getattr(importlib.import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
