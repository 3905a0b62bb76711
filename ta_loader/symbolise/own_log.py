"""Names for the addresses in crash reports of our own (`tee.crash`), as a console, a log or a test's report has them.

The backtrace comes before the memory map that says where each module lies, so a report's lines are held back until that
has come.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from .elffile import parse
from .symbols import locate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .elffile import ElfFile

_UUID = "([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
FRAME = re.compile(rf"#([0-9]{{1,3}}) {{1,2}}(0x[0-9a-f]{{1,16}}) {_UUID}(?:!([^\s]{{1,512}}))?(\s*)$")
REGION = re.compile(r"(0x[0-9a-f]{1,16})-0x[0-9a-f]{1,16} [r-][w-][x-] {1,7}[0-9]{1,9} KiB  ([^\r\n]{1,200})")
_NAME = re.compile(rf"{_UUID}\s*$")
_HEADING = re.compile(r"  (?:registers|mapped regions):\s*$")
_REGISTERS = re.compile(r"(?:[a-z][a-z0-9_]{1,9} [0-9a-f]{8,16}(?: +|\s*$)){1,4}$")
MAX_LINE = 1024
"""Characters; longer lines hold no address."""
MAX_HELD = 4096
"""Lines of one report."""
MAX_FOREIGN = 64
"""Of these, lines of other writers: a report that was cut short must not hold back what follows."""


class _Frame(NamedTuple):
    number: int
    pc: int
    module: UUID
    name: str


class _Report:
    """One that is being read."""

    def __init__(self, find_elf: Callable[[UUID], bytes | None]) -> None:
        self._find_elf = find_elf
        self.lines: list[tuple[str, _Frame | None]] = []
        self.foreign = 0
        self.mapped = False
        """The memory map has begun."""
        self._bases: dict[UUID, int] = {}
        self._elfs: dict[UUID, ElfFile | None] = {}

    def add_region(self, start: int, name: str) -> None:
        self.mapped = True
        found = _NAME.match(name)
        if found is not None:
            uuid = UUID(found[1])
            self._bases[uuid] = min(start, self._bases.get(uuid, start))

    def release(self) -> Iterator[str]:
        for line, frame in self.lines:
            yield line if frame is None else self._named(line, frame)

    def _named(self, line: str, frame: _Frame) -> str:
        base = self._bases.get(frame.module)
        elf = None if base is None else self._elf(frame.module)
        if elf is None or base is None or not elf.segments:
            return line
        bias = base - (min(segment.vaddr for segment in elf.segments) & -4096)
        address = elf.arch.code_address(frame.pc)
        # All frames but the innermost are return addresses: what they return from is before them.
        at = locate([elf], address - bias, address - bias - (1 if frame.number else 0))
        name = f"{at.function}+{at.offset:#x}" if at.function else ""
        text = f" {name}" if name and name != frame.name else ""
        text += f" at {at.file}:{at.line}" if at.line else ""
        body = line.rstrip()
        return f"{body}{text}{line[len(body) :]}"

    def _elf(self, uuid: UUID) -> ElfFile | None:
        if uuid not in self._elfs:
            data = self._find_elf(uuid)
            self._elfs[uuid] = parse(bytes(data)) if data else None
        return self._elfs[uuid]


def symbolise_own(lines: Iterable[str], find_elf: Callable[[UUID], bytes | None]) -> Iterator[str]:
    """The same lines, in order, with names at the end of frames. find_elf: as of `symbolise_log`."""
    report: _Report | None = None
    for line in lines:
        frame = _frame(line)
        if frame is not None and (report is None or report.mapped):
            if report is not None:
                yield from report.release()
            report = _Report(find_elf)
        if report is None:
            yield line
            continue
        region = None if frame is not None or len(line) > MAX_LINE else REGION.search(line)
        if region is not None:
            report.add_region(int(region[1], 16), region[2])
        elif frame is None and not _is_part(line):
            report.foreign += 1
        report.lines.append((line, frame))
        over = report.mapped and region is None and not _is_part(line)
        if over or report.foreign > MAX_FOREIGN or len(report.lines) > MAX_HELD:
            yield from report.release()
            report = None
    if report is not None:
        yield from report.release()


def _is_part(line: str) -> bool:
    return len(line) <= MAX_LINE and (_HEADING.search(line) or _REGISTERS.search(line)) is not None


def _frame(line: str) -> _Frame | None:
    """Of a line without a source line; None if it is none."""
    found = FRAME.search(line) if len(line) <= MAX_LINE else None
    return None if found is None else _Frame(int(found[1]), int(found[2], 16), UUID(found[3]), found[4] or "")
