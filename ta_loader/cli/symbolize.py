"""`litebox-ta symbolize`: names for the addresses in a real OP-TEE's log, as it comes from a console."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from south.errors import UsageError
from ta_loader.cli import exits
from ta_loader.cli.options import Command, Option
from ta_loader.inputs import read_input, stdin
from ta_loader.symbolise.finder import ElfFinder
from ta_loader.symbolise.log import symbolise_log

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO

    from ta_loader.cli.options import Arguments

_CHUNK = 1 << 16
"""Characters; a longer line is taken in pieces, and bears no address."""


def _lines(file: BinaryIO) -> Iterator[str]:
    while line := file.readline(_CHUNK):
        yield line.decode("utf-8", "surrogateescape")


def _write(lines: Iterable[str]) -> None:
    out = sys.stdout
    for line in lines:
        out.write(line.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
        out.flush()  # a live console is read line by line


def run(arguments: Arguments) -> int:
    finder = ElfFinder(arguments.many("--elf"), arguments.many("--dir"))
    core = arguments.one("--core")
    core_image = None if core is None else read_input(core, "--core")
    log = arguments.words[0] if arguments.words else "-"
    if log == "-":
        _write(symbolise_log(_lines(stdin("LOG")), finder.find, core_image))
        return exits.OK
    try:
        with open(log, "rb") as file:
            _write(symbolise_log(_lines(file), finder.find, core_image))
    except IsADirectoryError:
        raise UsageError(f"{log}: a folder, not a log") from None
    return exits.OK


COMMAND = Command(
    name="symbolize",
    summary="Add function names and source lines to a real OP-TEE's log of panics and aborts.",
    words=("[LOG]",),
    options=(
        Option("--dir", "DIR", "folder with UUID.elf (or .ta) files of TAs and libraries", many=True),
        Option("--elf", "FILE", "unstripped ELF file of a TA or library", many=True),
        Option("--core", "FILE", "tee.elf of the OP-TEE that wrote the log"),
    ),
    run=run,
    epilog="""\
LOG is a file; without it, or with '-', standard input is read line by line.

examples:
  litebox-ta symbolize --dir out/ta < console.log
  picocom /dev/ttyUSB1 | litebox-ta symbolize --dir out/ta --core out/core/tee.elf""",
)
