"""Names for the addresses in OP-TEE's abort and panic logs, from boards and QEMU, and in our own (`own_log.py`).

Source of the format: optee_os ldelf/main.c (`dump_ta_state`), ldelf/ta_elf.c (`print_seg`,
`ta_elf_print_mappings`), lib/libunw/unwind_arm64.c and unwind_arm32.c (`print_stack_arm64`, `print_stack_arm32`),
core/arch/arm/kernel/abort.c (`__abort_print`), core/kernel/scall.c ("TA panicked"),
lib/libutils/ext/trace.c (the prefix `E/LD:`, `E/TC:? 0`). A region line is held back until the list of ELF
files below it tells which sections it has.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from north.elf import abi
from ta_loader.machines import MACHINES
from tee.abi.results import Result

from .elffile import ElfFile, parse
from .own_log import symbolise_own
from .symbols import Location, locate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

STATUS = re.compile(r"Status of TA [0-9a-f]{8}-")
PANIC = re.compile(r"TA panicked with code (0x[0-9a-f]{1,8})\b")
CORE = re.compile(r"TEE load address @ (0x[0-9a-f]{1,16})\b")
REGION = re.compile(
    r"/LD:.{0,80}region {1,3}[0-9]{1,4}: va (0x[0-9a-f]{1,16}) pa 0x[0-9a-f]{1,16} size (0x[0-9a-f]{1,16})"
    r"(?: flags [r-][w-][x-][s-] \[([0-9]{1,4})\])?"
)
ELF = re.compile(r"/LD:.{0,80}\[([0-9]{1,4})\] ([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}) @ (0x[0-9a-f]{1,16})\b")
CALL_STACK = re.compile(r"[A-Z]/(TC|LD):.{0,80}Call stack:")
ADDRESS = re.compile(r"[A-Z]/(TC|LD):[0-9? ]* (0x[0-9a-f]{1,16})\s*$")

MAX_LINE = 1024
"""Characters; OP-TEE's lines are at most MAX_PRINT_SIZE, 256, and a console adds a time stamp."""
MAX_HELD = 512
"""Lines held back while the list of ELF files is awaited."""
MAX_FOREIGN = 64
"""Of these, lines of other writers: a dump that was cut short must not hold back what follows."""
MAX_ELFS = 256


class Region(NamedTuple):
    """start, size: bytes; elf: index in the list, -1 if it is no ELF file's."""

    start: int
    size: int
    elf: int


class _Held(NamedTuple):
    line: str
    region: Region | None


class _Dump:
    """What one dump of a TA's state has told so far."""

    def __init__(self, find_elf: Callable[[UUID], bytes | None], core: bytes | None) -> None:
        self._find_elf = find_elf
        self._core = parse(bytes(core)) if core else None
        self._core_base: int | None = None
        self._regions: list[Region] = []
        self._elfs: dict[int, tuple[ElfFile | None, int]] = {}
        self._held: list[_Held] = []
        self._stack = ""
        self._count = 0
        self._foreign = 0

    @property
    def holding(self) -> bool:
        return bool(self._held)

    def restart(self) -> None:
        """A new dump begins; the core stays where it is."""
        self._regions.clear()
        self._elfs.clear()
        self._stack = ""

    def hold(self, line: str, region: Region | None = None) -> bool:
        """Keep a line back; False when there are too many, and all should be let go."""
        self._held.append(_Held(line, region))
        if region and len(self._regions) < MAX_HELD:
            self._regions.append(region)
        return len(self._held) < MAX_HELD

    def hold_foreign(self, line: str) -> bool:
        self._foreign += 1
        return self.hold(line) and self._foreign < MAX_FOREIGN

    def release(self) -> Iterator[str]:
        held, self._held = self._held, []
        self._foreign = 0
        for line, region in held:
            names = self._sections(region) if region else ""
            yield _append(line, names)

    def add_elf(self, index: int, uuid: UUID, base: int) -> bool:
        """Whether its ELF file is at hand."""
        if len(self._elfs) >= MAX_ELFS:
            return False
        data = self._find_elf(uuid)
        elf = parse(bytes(data)) if data else None
        self._elfs[index] = (elf, base)
        return elf is not None

    @property
    def listed(self) -> bool:
        return bool(self._elfs)

    def set_core(self, base: int) -> None:
        self._core_base = base

    def begin_stack(self, who: str) -> None:
        self._stack = who
        self._count = 0

    def name(self, who: str, address: int) -> str:
        """Function and line of one entry of the call stack."""
        if who != self._stack:
            return ""
        innermost = not self._count
        self._count += 1
        found = self._find(address, core=who == "TC")
        if found is None:
            return ""
        elf, base = found
        address = elf.arch.code_address(address)
        lookup = address if innermost or MACHINES[elf.arch].trimmed_returns else address - 1
        return _text(locate([elf], address - base, lookup - base))

    def _find(self, address: int, core: bool) -> tuple[ElfFile, int] | None:
        """(file, load bias) of the region over an address."""
        if core:
            if self._core is None or self._core_base is None or not self._core.segments:
                return None
            return self._core, self._core_base - min(s.vaddr for s in self._core.segments)
        for region in self._regions:
            if region.start <= address < region.start + region.size and region.elf in self._elfs:
                elf, base = self._elfs[region.elf]
                return (elf, base) if elf is not None else None
        return None

    def _sections(self, region: Region) -> str:
        elf, base = self._elfs.get(region.elf, (None, 0))
        if elf is None:
            return ""
        start, end = region.start - base, region.start - base + region.size
        names = [
            elf.name_of(s)
            for s in elf.sections
            if s.flags & abi.SHF_ALLOC and s.size and s.addr < end and s.addr + s.size > start
        ]
        return " ".join(names[:32])


def _text(at: Location) -> str:
    name = f"{at.function}+{at.offset:#x}" if at.function else ""
    line = f"at {at.file}:{at.line}" if at.line else ""
    return " ".join(part for part in (name, line) if part)


def _append(line: str, text: str) -> str:
    """`line` with `text` before its end-of-line characters."""
    if not text:
        return line
    body = line.rstrip("\r\n")
    return f"{body} {text}{line[len(body) :]}"


def symbolise_log(
    lines: Iterable[str], find_elf: Callable[[UUID], bytes | None], core: bytes | None = None
) -> Iterator[str]:
    """The same lines, in order, with names added to the end of those that hold addresses.

    find_elf: the (unstripped) ELF file of a TA or library, None if it is not at hand; core: tee.elf. Lines
    keep their line ends. Text of other writers between OP-TEE's lines is passed on.
    """
    dump = _Dump(find_elf, core)
    for line in symbolise_own(lines, find_elf):
        if len(line) > MAX_LINE:
            yield from _pass(dump, line)
        elif (region := REGION.search(line)) is not None:
            if dump.listed:
                yield from dump.release()
                dump.restart()
            index = int(region[3]) if region[3] else -1
            if not dump.hold(line, Region(int(region[1], 16), int(region[2], 16), index)):
                yield from dump.release()
        elif (elf := ELF.search(line)) is not None:
            known = dump.add_elf(int(elf[1]), UUID(elf[2]), int(elf[3], 16))
            if not dump.hold(_append(line, "" if known else "(no ELF file)")):
                yield from dump.release()
        else:
            yield from _other(dump, line)
    yield from dump.release()


def _pass(dump: _Dump, line: str) -> Iterator[str]:
    """A line without addresses: held too while the list of ELF files is still to come."""
    if dump.holding and not dump.listed:
        if not dump.hold_foreign(line):
            yield from dump.release()
        return
    yield from dump.release()
    yield line


def _other(dump: _Dump, line: str) -> Iterator[str]:
    address = ADDRESS.search(line)
    if address is not None:
        yield from _pass(dump, _append(line, dump.name(address[1], int(address[2], 16))))
    elif (stack := CALL_STACK.search(line)) is not None:
        yield from dump.release()
        dump.begin_stack(stack[1])
        yield line
    else:
        yield from _header(dump, line)


def _header(dump: _Dump, line: str) -> Iterator[str]:
    """A line that begins a dump, or none of ours."""
    if (panic := PANIC.search(line)) is not None:
        name = str(Result.of(int(panic[1], 16)))
        line = line if name.startswith("0x") else _append(line, f"({name})")
    elif (core := CORE.search(line)) is not None:
        dump.set_core(int(core[1], 16))
    elif STATUS.search(line) is not None:
        yield from dump.release()
        dump.restart()
    yield from _pass(dump, line)
