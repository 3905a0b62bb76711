"""A page of documentation that a tool makes: written, or compared with what is there."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def add_options(parser: argparse.ArgumentParser, page: Path) -> None:
    """--check, and where the page goes instead of `page`; these come after the tool's own words."""
    parser.add_argument("--check", action="store_true", help="change nothing; 1 if the file is out of date")
    parser.add_argument("file", nargs="?", type=Path, default=page)


def put(text: str, options: argparse.Namespace, tool: str) -> int:
    """The process's exit code."""
    file: Path = options.file
    if not options.check:
        file.write_text(text, encoding="utf-8")
        return 0
    if file.is_file() and file.read_text(encoding="utf-8") == text:
        return 0
    print(f"{file} is out of date: run python -m tools.{tool}", file=sys.stderr)
    return 1
