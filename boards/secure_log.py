"""What the secure world says on a board's consoles: its panics and aborts found, and their addresses named.

Source of the texts: optee_os core/arch/arm/kernel/abort.c, core/kernel/panic.c, core/kernel/scall.c, ldelf/main.c;
tf-a common/debug.c and plat_panic_handler; of our own secure world tee/crash.py. Names come from the loader's
`symbolise_log`.
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
    TA_LIMIT = "TA at a limit"
    """Of our own secure world alone: of time, memory or calls."""
    INTERNAL = "internal error"
    """Of our own secure world."""


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
_OWN = re.compile(r"^TA [0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12} ")
_SIGNS = (
    _Sign(Kind.TA_PANIC, (_CORE, re.compile(r"TA panicked with code 0x|Panic 0x"))),
    _Sign(Kind.TA_ABORT, (_CORE, re.compile(r"User (?:mode|TA) (?:data|prefetch|undef)"))),
    _Sign(Kind.CORE_ABORT, (_CORE, re.compile(r"Core (?:data|prefetch|undef)"))),
    _Sign(Kind.CORE_PANIC, (_CORE, re.compile(r"panic", re.IGNORECASE))),
    _Sign(Kind.CORE_PANIC, (_CORE, re.compile(r"assertion ", re.IGNORECASE), re.compile(r" failed"))),
    _Sign(Kind.LOADER, (re.compile(r"\bE/LD:"),)),
    _Sign(Kind.FIRMWARE, (re.compile(r"^PANIC (?:at|in) |^Unhandled Exception (?:in|from) EL3"),)),
    _Sign(Kind.KERNEL, (re.compile(r"Kernel panic - not syncing"),)),
    _Sign(Kind.TA_PANIC, (_OWN, re.compile(r"panicked with code 0x"))),
    _Sign(Kind.TA_ABORT, (_OWN, re.compile(r"died of an? (?:fault|exception)"))),
    _Sign(Kind.TA_LIMIT, (_OWN, re.compile(r"was stopped at a limit"))),
    _Sign(Kind.INTERNAL, (re.compile(r"^litebox: internal error"),)),
)
_ERROR = re.compile(r"\b[EF]/(?:TC|LD|TA):")
_OTHER = re.compile(r"\b[DIM]/(?:TC|LD|TA):")
_PRINTK = re.compile(r"^\[ *[0-9]{1,8}\.[0-9]{6}\]")
_KERNEL_END = re.compile(r"---\[ end Kernel panic")
_OWN_MORE = re.compile(r"^(?: {2}|Traceback|[A-Za-z_.]{1,60}(?:Error|Exception)\b)")
MAX_OTHER = 8
"""Lines of less weight, another core's or the watchdog's, that may stand within a dump."""
MAX_FOREIGN = 64
"""Lines of the normal world, on a UART that both share, that may stand between two lines of a dump."""
MAX_GAP = 5.0
"""Seconds between two lines of a dump: what comes later is about something else."""
MAX_LINES = 256
"""Of a dump."""
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
        self.own = _OWN.match(first.text) is not None or kind is Kind.INTERNAL
        self._loader = kind is Kind.LOADER
        self._other = 0
        self._foreign = 0

    def takes(self, entry: Entry, kind: Kind | None) -> bool:
        """Whether it goes on after that line, which may be of it. kind: that the line is a sign of."""
        if len(self.lines) >= MAX_LINES or entry.time - self.lines[-1].time > MAX_GAP:
            return False
        if kind is not None and not self._goes_on(kind, entry.text):
            return False
        if kind is not None or self._is_mine(entry.text):
            self.lines.append(entry)
            self._foreign = 0
            return True
        if _OTHER.search(entry.text):
            self._other += 1
            return self._other <= MAX_OTHER
        self._foreign += 1
        return self._foreign <= MAX_FOREIGN and not (
            self.kind is Kind.KERNEL and _KERNEL_END.search(self.lines[-1].text)
        )

    def _goes_on(self, kind: Kind, text: str) -> bool:
        """Whether a line with this sign belongs to it."""
        if self.kind is Kind.KERNEL:
            return kind is Kind.KERNEL and _KERNEL_END.search(text) is not None
        if self.own:
            return False
        if kind is Kind.LOADER:
            self._loader = True
            return True
        # After ldelf's part the same words are about the next TA.
        return (kind is self.kind and not self._loader) or _FOLLOWS.get(self.kind) is kind

    def _is_mine(self, text: str) -> bool:
        if self.own:
            return _OWN_MORE.match(text) is not None
        if self.kind is Kind.KERNEL:
            return _PRINTK.match(text) is not None
        return _ERROR.search(text) is not None

    def finding(self) -> Finding:
        first = self.lines[0]
        return Finding(self.kind, first.console, first.time, tuple(line.text for line in self.lines))


def findings(entries: Iterable[Entry]) -> list[Finding]:
    """In the order of their times. A dump is one finding, however many lines it has.

    On a UART that both worlds share the kernel's lines may stand between those of a dump, and the other way round.
    """
    going: dict[tuple[str, bool], _Dump] = {}
    """By console and world."""
    out: list[Finding] = []
    for entry in entries:
        if entry.direction is not Direction.IN:
            continue
        kind = next((sign.kind for sign in _SIGNS if sign.on(entry.text)), None)
        taken = False
        for kernel in (False, True):
            dump = going.get((entry.console, kernel))
            of_other = kind is not None and (kind is Kind.KERNEL) != kernel
            if dump is None:
                continue
            if not dump.takes(entry, None if of_other else kind):
                out.append(going.pop((entry.console, kernel)).finding())
            taken = taken or dump.lines[-1] is entry
        if kind is not None and not taken:
            going[entry.console, kind is Kind.KERNEL] = _Dump(kind, entry)
    out += [dump.finding() for dump in going.values()]
    return sorted(out, key=lambda finding: finding.time)
