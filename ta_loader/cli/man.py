"""`litebox-ta man`: manual pages, made of the commands' own declarations."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from south.errors import UsageError
from ta_loader.cli import exits
from ta_loader.cli.options import Command, Option
from ta_loader.cli.tree import Node, nodes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ta_loader.cli.options import Arguments

SECTION = 1


def escaped(text: str) -> str:
    """Plain text as roff has it: hyphens that can be searched for, no line that is a request."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    return "\n".join("\\&" + line if line.startswith((".", "\\(aq")) else line for line in text.split("\n"))


def page(node: Node, version: str) -> str:
    """man(7) source of one command's page."""
    command = node.command
    name = "-".join(("litebox-ta", *node.words))
    usage = " ".join((*node.words, *command.words, "[OPTION...]" if command.options else "")).strip()
    lines = [
        f'.TH {escaped(name.upper())} {SECTION} "" "litebox-ta {escaped(version)}" "LiteBox"',
        ".SH NAME",
        f"{escaped(name)} \\- {escaped(command.summary.rstrip('.'))}",
        ".SH SYNOPSIS",
        f".B litebox\\-ta {escaped(usage)}",
    ]
    if node.actions:
        lines += [".SH ACTIONS", *(f".BR {escaped('-'.join((name, each)))} ({SECTION})\n.br" for each in node.actions)]
    if command.options:
        lines.append(".SH OPTIONS")
        for option in command.options:
            lines += [".TP", f".B {escaped(f'{option.names} {option.metavar}'.rstrip())}", escaped(option.help)]
    if command.epilog:
        lines += [".SH DESCRIPTION", ".nf", escaped(command.epilog.strip("\n")), ".fi"]
    lines += [".SH SEE ALSO", f".BR litebox\\-ta ({SECTION})"]
    return "\n".join(lines) + "\n"


def overview(table: Sequence[Node], version: str) -> str:
    from ta_loader.cli.dispatch import EXIT_CODES

    lines = [
        f'.TH LITEBOX\\-TA {SECTION} "" "litebox-ta {escaped(version)}" "LiteBox"',
        ".SH NAME",
        "litebox\\-ta \\- run trusted applications of OP\\-TEE on this host",
        ".SH SYNOPSIS",
        ".B litebox\\-ta COMMAND ...",
        ".SH COMMANDS",
    ]
    for node in table:
        name = escaped("-".join(("litebox-ta", *node.words)))
        lines += [".TP", f".BR {name} ({SECTION})", escaped(node.command.summary)]
    return "\n".join([*lines, ".SH EXIT STATUS", escaped(EXIT_CODES)]) + "\n"


def pages() -> Iterable[tuple[str, str]]:
    """(file name, source) of every page."""
    from importlib.metadata import version

    table, ours = list(nodes()), version("litebox-ta")
    yield f"litebox-ta.{SECTION}", overview(table, ours)
    for node in table:
        yield f"{'-'.join(('litebox-ta', *node.words))}.{SECTION}", page(node, ours)


def run(arguments: Arguments) -> int:
    folder = arguments.one("--out")
    if folder is not None:
        if arguments.words:
            raise UsageError("man --out writes every page; name no command")
        from south.replacing import replace

        os.makedirs(folder, exist_ok=True)
        for name, text in pages():
            replace(os.path.join(folder, name), text.encode())
        print(folder)
        return exits.OK
    wanted = f"{'-'.join(('litebox-ta', *arguments.words))}.{SECTION}"
    for name, text in pages():
        if name == wanted:
            print(text, end="")
            return exits.OK
    raise UsageError(f"there is no command {' '.join(arguments.words)}")


COMMAND = Command(
    name="man",
    summary="Print a command's manual page, or write all of them to a folder.",
    words=("[COMMAND...]",),
    options=(Option("--out", "DIR", "write every page there, as man looks for them: DIR is a man1", out=True),),
    run=run,
    epilog="""\
examples:
  litebox-ta man run | man -l -
  litebox-ta man --out ~/.local/share/man/man1""",
)
