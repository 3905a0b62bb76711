"""Writes docs/syscalls.md from the system-call table; with --check, says whether it is up to date.

python -m tools.syscalls_doc [--check] [FILE]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from north.syscalls.declare import Cell, Handle, In, Pointer, Text, Value
from tee.abi import results
from tee.syscalls.arguments import Out, OutFixed
from tee.syscalls.table import DEPRECATED, TABLE, UNKNOWN
from tools import page

if TYPE_CHECKING:
    from north.syscalls.declare import Argument, Syscall

PAGE = Path(__file__).resolve().parent.parent / "docs" / "syscalls.md"

_INTRO = """\
# System calls of trusted applications

<!-- Made by `python -m tools.syscalls_doc`; change tee/syscalls instead. -->

Every call of OP-TEE 4.5, from the table that also decodes, checks and traces them. *Source* is the
file of optee_os that defines the meaning. *Answered by*: C first where it says so, with Python for
what C leaves; a dash where nothing answers, and the call returns what is written beside it.
"""

_KINDS: tuple[tuple[type[Argument], str], ...] = (
    (Handle, "{} handle"),
    (Pointer, "{} *"),
    (Value, "{}"),
    (Text, "{} text, length"),
    (In, "{} in, length"),
    (Out, "{} out, *length"),
    (OutFixed, "{} out, length"),
    (Cell, "{} out word"),
)


def _argument(arg: Argument) -> str:
    for kind, form in _KINDS:
        if isinstance(arg, kind):
            return form.format(arg.name)
    words = "pointer, length" if arg.registers == 2 else f"{arg.registers} words"
    return f"{arg.name} {type(arg).__name__.lower()} ({words})"


def _answered(call: Syscall) -> str:
    by = ["C"] if call.native else []
    if call.handler:
        by.append(f"`{call.handler}`")
    return ", ".join(by) or f"– `{results.NOT_IMPLEMENTED if call.unserved is None else call.unserved}`"


def _row(call: Syscall) -> str:
    arguments = "; ".join(_argument(arg) for arg in call.args)
    return f"| {call.number} | {call.name} | {arguments} | {_answered(call)} | {call.reason} | {call.source} |"


def render() -> str:
    """The whole page."""
    served = sum(bool(call.handler or call.native) for call in TABLE.values())
    native = sum(bool(call.native) for call in TABLE.values())
    lines = [
        _INTRO,
        f"{served} of {len(TABLE)} calls are answered, {native} of them in C first.",
        "",
        "| number | name | arguments | answered by | limits | source |",
        "|---|---|---|---|---|---|",
        *(_row(call) for call in TABLE.values()),
        "",
        f"Numbers {DEPRECATED.start} to {DEPRECATED.stop - 1} were the Secure Element API, which OP-TEE removed.",
        f"They and every number that is not in the table answer `{UNKNOWN}`.",
        "",
    ]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="syscalls_doc", description="docs/syscalls.md from the system-call table")
    page.add_options(parser, PAGE)
    options = parser.parse_args(argv)
    return page.put(render(), options, "syscalls_doc")


if __name__ == "__main__":
    sys.exit(main())
