"""A run of a board in files: an HTML page that a person opens, JUnit XML that a CI system reads, one log of all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from boards.report_html import page
from boards.report_junit import junit
from boards.secure_log import findings, symbolised

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from uuid import UUID

    from boards.board import Board
    from boards.console_log import Entry


def merged(
    board: Board, find_elf: Callable[[UUID], bytes | None] = lambda _: None, core: bytes | None = None
) -> list[Entry]:
    """All consoles by time, with names beside the secure world's addresses; what follows a panic is awaited first."""
    board.settle()
    return symbolised(board.log.entries(), find_elf, core)


def write_report(folder: Path, board: Board, log: Sequence[Entry]) -> None:
    """report.html, junit.xml and merged.log; console.log, as it came, is the board's own. OSError."""
    found = findings(log)
    (folder / "report.html").write_text(page(board, log, found), encoding="utf-8")
    (folder / "junit.xml").write_bytes(junit(board, found))
    with (folder / "merged.log").open("w", encoding="utf-8", errors="replace") as file:
        if board.log.dropped:
            file.write(f"(the first {board.log.dropped} lines are in console.log alone)\n")
        file.writelines(map(board.log.line, log))
