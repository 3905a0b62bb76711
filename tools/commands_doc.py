"""Writes docs/commands.md: every command of litebox-ta with its options, from their declarations.

python -m tools.commands_doc [--check] [FILE]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ta_loader.cli.options import help_text
from ta_loader.cli.tree import nodes
from tools import page

if TYPE_CHECKING:
    from collections.abc import Sequence

PAGE = Path(__file__).resolve().parent.parent / "docs" / "commands.md"

_INTRO = """\
# Every command and option

<!-- Made by `python -m tools.commands_doc`; change the commands' declarations instead. -->

What `litebox-ta COMMAND --help` prints. [cli.md](cli.md) explains the commands that run, make and check TAs,
[boards.md](boards.md), [daemon.md](daemon.md), [with.md](with.md), [storage.md](storage.md) and
[qemu-arm.md](qemu-arm.md) the others.
"""


def render() -> str:
    parts = [_INTRO]
    for node in nodes():
        name = " ".join(node.words)
        if node.actions:
            text = f"{node.command.summary} Actions: {', '.join(f'`{each}`' for each in node.actions)}.\n"
        else:
            text = f"```text\n{help_text(node.command)}\n```\n"
        parts.append(f"## `{name}`\n\n{text}")
    return "\n".join(parts)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.commands_doc")
    page.add_options(parser, PAGE)
    return page.put(render(), parser.parse_args(argv), "commands_doc")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
