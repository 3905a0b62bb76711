"""What the secure world says on a board's consoles: its panics and aborts found, and their addresses named.

Source of the texts: optee_os core/arch/arm/kernel/abort.c, core/kernel/panic.c, core/kernel/scall.c, ldelf/main.c;
tf-a common/debug.c and plat_panic_handler. Names come from the loader's `symbolise_log`.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from boards.console_log import Direction, Entry
from ta_loader.symbolise.log import symbolise_log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from uuid import UUID


class Kind(StrEnum):
    TA_PANIC = "TA panic"
    TA_ABORT = "TA abort"
    LOADER = "TA loader"
    """E/LD: ldelf's errors, and the state of a TA that died."""
    CORE_PANIC = "OP-TEE panic"
    CORE_ABORT = "OP-TEE abort"
    FIRMWARE = "firmware panic"
    KERNEL = "kernel panic"


class _Sign(NamedTuple):
    """Parts that a line has one after the other. As one pattern with `.*` between them they would take a time that
    grows with a power of the line's length."""

    kind: Kind
    parts: tuple[re.Pattern[str], ...]

    def on(self, text: str) -> bool:
        at = 0
        for part in self.parts:
            found = part.search(text, at)
            if found is None:
                return False
            at = found.end()
        return True


_CORE = re.compile(r"\b[EF]/TC:")
_SIGNS = (
    _Sign(Kind.TA_PANIC, (_CORE, re.compile(r"TA panicked with code 0x|Panic 0x"))),
    _Sign(Kind.TA_ABORT, (_CORE, re.compile(r"User (?:mode|TA) (?:data|prefetch|undef)"))),
    _Sign(Kind.CORE_ABORT, (_CORE, re.compile(r"Core (?:data|prefetch|undef)"))),
    _Sign(Kind.CORE_PANIC, (_CORE, re.compile(r"panic", re.IGNORECASE))),
    _Sign(Kind.CORE_PANIC, (_CORE, re.compile(r"assertion ", re.IGNORECASE), re.compile(r" failed"))),
    _Sign(Kind.LOADER, (re.compile(r"\bE/LD:"),)),
    _Sign(Kind.FIRMWARE, (re.compile(r"^PANIC (?:at|in) |^Unhandled Exception (?:in|from) EL3"),)),
    _Sign(Kind.KERNEL, (re.compile(r"Kernel panic - not syncing"),)),
)
_ERROR = re.compile(r"\b[EF]/(?:TC|LD|TA):")
_OTHER = re.compile(r"\b[DIM]/(?:TC|LD|TA):")
MAX_OTHER = 8
"""Lines of less weight, another core's or the watchdog's, that may stand within a dump."""
_FOLLOWS = {Kind.CORE_ABORT: Kind.CORE_PANIC}
"""OP-TEE panics on an abort of its own."""


class Finding(NamedTuple):
    """lines: from the sign to the end of the secure world's own output about it."""

    kind: Kind
    console: str
    time: float
    lines: tuple[str, ...]


def symbolised(
    entries: Sequence[Entry], find_elf: Callable[[UUID], bytes | None], core: bytes | None = None
) -> list[Entry]:
    """The same entries with names beside addresses; each console's lines are read as a log of their own."""
    out = list(entries)
    for console in {entry.console for entry in entries}:
        places = [i for i, e in enumerate(entries) if e.console == console and e.direction is Direction.IN]
        named = symbolise_log((entries[i].text for i in places), find_elf, core)
        for place, text in zip(places, named, strict=True):
            out[place] = out[place]._replace(text=text)
    return sorted(out, key=lambda entry: entry.time)


class _Dump:
    """One that is being read."""

    def __init__(self, kind: Kind, first: Entry) -> None:
        self.kind = kind
        self.lines = [first]
        self.loader = kind is Kind.LOADER
        self.other = 0

    def goes_on(self, kind: Kind) -> bool:
        """Whether a line with this sign belongs to it."""
        if kind is Kind.LOADER:
            self.loader = True
            return True
        # After ldelf's part the same words are about the next TA.
        return (kind is self.kind and not self.loader) or _FOLLOWS.get(self.kind) is kind

    def finding(self) -> Finding:
        first = self.lines[0]
        return Finding(self.kind, first.console, first.time, tuple(line.text for line in self.lines))


def findings(entries: Iterable[Entry]) -> list[Finding]:
    """In the order of their times. A dump is one finding, however many lines it has."""
    going: dict[str, _Dump] = {}
    out: list[Finding] = []
    for entry in entries:
        if entry.direction is not Direction.IN:
            continue
        dump = going.get(entry.console)
        kind = next((sign.kind for sign in _SIGNS if sign.on(entry.text)), None)
        if dump is not None and (dump.goes_on(kind) if kind else _ERROR.search(entry.text)):
            dump.lines.append(entry)
            continue
        if dump is not None and kind is None and _OTHER.search(entry.text) and dump.other < MAX_OTHER:
            dump.other += 1
            continue
        if dump is not None:
            out.append(going.pop(entry.console).finding())
        if kind is not None:
            going[entry.console] = _Dump(kind, entry)
    out += [dump.finding() for dump in going.values()]
    return sorted(out, key=lambda finding: finding.time)
