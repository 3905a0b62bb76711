"""Writes docs/gp-functions.md: each function of GP's Internal Core API, and the system calls that it comes down to.

python -m tools.gp_functions_doc [--check] LIBUTEE.A [FILE]

The functions are libutee's, which runs inside the TA. They are read out of the library of a TA development kit for
aarch64, with the cross-compiler's objdump.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

from tee.syscalls.table import TABLE
from tools import page

PAGE = Path(__file__).resolve().parent.parent / "docs" / "gp-functions.md"
OBJDUMP = "aarch64-linux-gnu-objdump"

_INTRO = """\
# Functions of the TEE Internal Core API

<!-- Made by `python -m tools.gp_functions_doc libutee.a` from Debian's OP-TEE 4.5 kit; change tee/syscalls instead. -->

Every `TEE_*` function of libutee, which is linked into a TA, runs there as on a board. What it asks of the secure world
are the system calls beside it; panics and log messages, which nearly all can make, are left out, and so is what the
bignum library asks by itself (random numbers, to look for primes). *Served* is `yes` if all of these calls are answered
([syscalls.md](syscalls.md)).
"""
_EVERYWHERE = {"panic", "log", "return"}
_LABEL = re.compile(r"^[0-9a-f]+ <(\w+)>:$")
_CALL = re.compile(r"\tbl?\t[0-9a-f]+ <(\w+)(?:\+0x[0-9a-f]+)?>")
_RELOCATION = re.compile(r"R_AARCH64_(?:CALL26|JUMP26|ADR_PREL_PG_HI21)\t(?:\.text\.)?(\w+)")


def call_graph(listing: str) -> dict[str, set[str]]:
    """Function: what it calls, or takes the address of."""
    graph: dict[str, set[str]] = {}
    current: set[str] = set()
    for line in listing.splitlines():
        label = _LABEL.match(line)
        if label:
            current = graph.setdefault(label[1], set())
            continue
        for pattern in (_CALL, _RELOCATION):
            found = pattern.search(line)
            if found:
                current.add(found[1])
    return graph


def system_calls(graph: dict[str, set[str]], function: str) -> list[str]:
    """Those that the function, or what it calls, can make."""
    seen: set[str] = set()
    waiting = [function]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += graph.get(name, ())
    return sorted(name.removeprefix("_utee_") for name in seen if name.startswith("_utee_"))


def render(listing: str) -> str:
    """The whole page."""
    graph = call_graph(listing)
    rows = {call.name: call for call in TABLE.values()}
    lines = [_INTRO, "| function | system calls | served |", "|---|---|---|"]
    for function in sorted(name for name in graph if name.startswith("TEE_")):
        calls = [name for name in system_calls(graph, function) if name not in _EVERYWHERE]
        gaps = [f"{name}: {rows[name].reason}" for name in calls if not (rows[name].handler or rows[name].native)]
        lines.append(f"| {function} | {', '.join(calls) or '–'} | {'; '.join(gaps) or 'yes'} |")
    return "\n".join([*lines, ""])


def disassembled(library: Path) -> str:
    command = [OBJDUMP, "-dr", "--no-show-raw-insn", str(library)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="gp_functions_doc", description="docs/gp-functions.md from libutee.a")
    parser.add_argument("library", type=Path, help="libutee.a of a TA development kit for aarch64")
    page.add_options(parser, PAGE)
    options = parser.parse_args(argv)
    return page.put(render(disassembled(options.library)), options, "gp_functions_doc")


if __name__ == "__main__":
    sys.exit(main())
