"""Line-number tables, without the rest of DWARF.

They are decoded here, as unwind tables are beside it, and not by pyelftools: the file is a hostile TA's. A header may
claim 2^49 directories of no bytes at all, which a general reader takes at its word: with those 8 bytes changed in a
small program's `.debug_line`, pyelftools 0.33 had not returned after 60 s; this took 0.1 ms. Here every count is
bounded by the bytes that are there. (Its import alone takes as long as a whole run of a TA.)

Source: DWARF 5 §6.2 "Line Number Information" and §7.22; versions 2 to 4 of the same section.
"""

from __future__ import annotations

import bisect
import posixpath
from typing import NamedTuple

from .elffile import ElfFile, cut_string, printable

DW_LNS_COPY, DW_LNS_ADVANCE_PC, DW_LNS_ADVANCE_LINE, DW_LNS_SET_FILE = 1, 2, 3, 4
DW_LNS_CONST_ADD_PC, DW_LNS_FIXED_ADVANCE_PC = 8, 9
DW_LNE_END_SEQUENCE, DW_LNE_SET_ADDRESS = 1, 2
DW_LNCT_PATH, DW_LNCT_DIRECTORY_INDEX = 1, 2
DW_FORM_BLOCK, DW_FORM_DATA2, DW_FORM_DATA4, DW_FORM_DATA8 = 0x09, 0x05, 0x06, 0x07
DW_FORM_STRING, DW_FORM_DATA1, DW_FORM_STRP, DW_FORM_UDATA = 0x08, 0x0B, 0x0E, 0x0F
DW_FORM_DATA16, DW_FORM_LINE_STRP = 0x1E, 0x1F

FIXED_FORMS = {DW_FORM_DATA1: 1, DW_FORM_DATA2: 2, DW_FORM_DATA4: 4, DW_FORM_DATA8: 8, DW_FORM_DATA16: 16}

MAX_STEPS = 2_000_000
"""Opcodes of one file that are run, some two seconds' worth."""
MAX_NAMES = 16384
"""Files or directories of one unit."""


class Malformed(Exception):
    """A table that cannot be read on; never leaves this package's readers."""


class Cursor:
    """Bounded little-endian reader."""

    __slots__ = ("at", "data", "end")

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self.data = data
        self.at = at
        self.end = min(end, len(data))

    def take(self, size: int) -> bytes:
        at = self.at
        if size > self.end - at:
            raise Malformed
        self.at = at + size
        return self.data[at : at + size]

    def uint(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def sint(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little", signed=True)

    def uleb(self) -> int:
        """At most ten bytes: 64 bits and no padding beyond them."""
        value = 0
        for shift in range(0, 70, 7):
            byte = self.uint(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise Malformed

    def sleb(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self.uint(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value - (1 << shift + 7) if byte & 0x40 else value
        raise Malformed

    def string(self) -> bytes:
        stop = self.data.find(b"\0", self.at, self.end)
        if stop < 0:
            raise Malformed
        text = self.data[self.at : stop]
        self.at = stop + 1
        return text


class Sequence(NamedTuple):
    """Consecutive code, rows sorted by address. end: exclusive."""

    start: int
    end: int
    addresses: list[int]
    rows: list[tuple[int, int]]
    """(file register, line) for each address."""
    files: dict[int, str]


class _Header(NamedTuple):
    minimum: int
    line_base: int
    line_range: int
    opcode_base: int
    lengths: bytes
    files: dict[int, str]


class LineTable:
    """All sequences of a file's .debug_line."""

    def __init__(self, elf: ElfFile) -> None:
        self._strings = elf.contents(elf.section(".debug_str"))
        self._line_strings = elf.contents(elf.section(".debug_line_str"))
        self._word = elf.layout.word
        self._steps = MAX_STEPS
        self._sequences: list[Sequence] = []
        self._read(elf.contents(elf.section(".debug_line")))
        # Code that the linker threw away is left at address 0, where a TA may also have real code: of several
        # sequences over one address those that begin elsewhere are the true ones, and stand later here.
        self._sequences.sort(key=lambda s: s.start)
        self._starts = [s.start for s in self._sequences]

    def find(self, address: int) -> tuple[str, int] | None:
        last = bisect.bisect_right(self._starts, address) - 1
        for i in range(last, max(last - 64, -1), -1):
            found = self._sequences[i]
            if address < found.end:
                file, line = found.rows[bisect.bisect_right(found.addresses, address) - 1]
                return (found.files.get(file, ""), line) if line else None
        return None

    def _read(self, data: bytes) -> None:
        at = 0
        while at + 4 <= len(data) and self._steps > 0:
            self._steps -= 16
            size, at = int.from_bytes(data[at : at + 4], "little"), at + 4
            wide = size == 0xFFFFFFFF
            if wide:
                size, at = int.from_bytes(data[at : at + 8], "little"), at + 8
            try:
                self._unit(Cursor(data, at, at + size), 8 if wide else 4)
            except Malformed:
                pass  # The next unit is found by this one's length all the same.
            at += size

    def _unit(self, c: Cursor, offset_size: int) -> None:
        version = c.uint(2)
        if not 2 <= version <= 5:
            raise Malformed
        if version == 5:
            c.take(2)  # address_size, segment_selector_size
        length = c.uint(offset_size)
        program = c.at + length
        minimum = c.uint(1)
        if version >= 4:
            c.take(1)  # maximum_operations_per_instruction: 1 but on VLIW machines
        c.take(1)  # default_is_stmt
        line_base, line_range, opcode_base = c.sint(1), c.uint(1), c.uint(1)
        if not line_range or not opcode_base:
            raise Malformed
        lengths = b"\0" + c.take(opcode_base - 1)
        body = Cursor(c.data, c.at, min(program, c.end))
        files = self._names5(body, offset_size) if version == 5 else self._names(body)
        if program > c.end:
            raise Malformed
        c.at = program
        self._run(c, _Header(minimum, line_base, line_range, opcode_base, lengths, files))

    def _names(self, c: Cursor) -> dict[int, str]:
        """Versions 2 to 4: directories from 1 (0: the unit's own, which is not recorded here), files from 1."""
        directories = [""]
        while (name := c.string()) and len(directories) < MAX_NAMES:
            directories.append(printable(name))
        files: dict[int, str] = {}
        while (name := c.string()) and len(files) < MAX_NAMES:
            directory = c.uleb()
            c.uleb()
            c.uleb()
            base = directories[directory] if directory < len(directories) else ""
            files[len(files) + 1] = self._join(base, printable(name))
        return files

    def _names5(self, c: Cursor, offset_size: int) -> dict[int, str]:
        """Version 5: both from 0, in a format of their own; directory 0 is the compilation's."""
        directories = [path for path, _ in self._entries(c, offset_size)]
        top = directories[0] if directories else ""
        directories = [self._join(top, path) for path in directories]
        files: dict[int, str] = {}
        for i, (path, d) in enumerate(self._entries(c, offset_size)):
            files[i] = self._join(directories[d] if d < len(directories) else top, path)
        return files

    def _join(self, base: str, path: str) -> str:
        """Names count against the budget as well: many rows may share one long string."""
        begin = 0
        while path.startswith("./", begin):  # -ffile-prefix-map leaves them
            begin += 2
        joined = path[begin:] if base in ("", ".") else posixpath.join(base, path[begin:])
        self._steps -= 1 + len(joined) // 4
        if self._steps < 0:
            raise Malformed
        return joined

    def _entries(self, c: Cursor, offset_size: int) -> list[tuple[str, int]]:
        form = [(c.uleb(), c.uleb()) for _ in range(c.uint(1))]
        count = c.uleb()
        if not form or count > MAX_NAMES:
            if count:
                raise Malformed
            return []
        out = []
        for _ in range(count):
            path, directory = "", 0
            for kind, encoding in form:
                value = self._value(c, encoding, offset_size)
                if kind == DW_LNCT_PATH and isinstance(value, str):
                    path = value
                elif kind == DW_LNCT_DIRECTORY_INDEX and isinstance(value, int):
                    directory = value
            out.append((path, directory))
        return out

    def _value(self, c: Cursor, form: int, offset_size: int) -> str | int:
        if form == DW_FORM_STRING:
            return self._join("", printable(c.string()))
        if form == DW_FORM_LINE_STRP:
            return self._join("", cut_string(self._line_strings, c.uint(offset_size)))
        if form == DW_FORM_STRP:
            return self._join("", cut_string(self._strings, c.uint(offset_size)))
        if form == DW_FORM_UDATA:
            return c.uleb()
        if form == DW_FORM_BLOCK:
            c.take(c.uleb())
            return 0
        if form in FIXED_FORMS:
            return c.uint(FIXED_FORMS[form])
        raise Malformed

    def _run(self, c: Cursor, h: _Header) -> None:
        """The line-number program. Rows that go back in address are dropped: a sequence is sorted."""
        address, file, line = 0, 1, 1
        addresses: list[int] = []
        rows: list[tuple[int, int]] = []
        while c.at < c.end and self._steps > 0:
            self._steps -= 1
            opcode = c.uint(1)
            emit = False
            if opcode >= h.opcode_base:
                skip, turn = divmod(opcode - h.opcode_base, h.line_range)
                address += skip * h.minimum
                line += h.line_base + turn
                emit = True
            elif opcode == 0:
                size = c.uleb()
                inner = Cursor(c.data, c.at, min(c.at + size, c.end))
                c.take(size)
                kind = inner.uint(1) if size else 0
                if kind == DW_LNE_SET_ADDRESS:
                    address = inner.uint(min(size - 1, 8))
                elif kind == DW_LNE_END_SEQUENCE:
                    if addresses and address > addresses[0]:
                        self._sequences.append(Sequence(addresses[0], address, addresses, rows, h.files))
                    address, file, line = 0, 1, 1
                    addresses, rows = [], []
            elif opcode == DW_LNS_COPY:
                emit = True
            elif opcode == DW_LNS_ADVANCE_PC:
                address += c.uleb() * h.minimum
            elif opcode == DW_LNS_ADVANCE_LINE:
                line += c.sleb()
            elif opcode == DW_LNS_SET_FILE:
                file = c.uleb()
            elif opcode == DW_LNS_CONST_ADD_PC:
                address += (255 - h.opcode_base) // h.line_range * h.minimum
            elif opcode == DW_LNS_FIXED_ADVANCE_PC:
                address += c.uint(2)
            else:
                for _ in range(h.lengths[opcode]):
                    c.uleb()
            if emit and (not addresses or address >= addresses[-1]):
                if addresses and addresses[-1] == address:
                    rows[-1] = (file, line if line > 0 else 0)
                else:
                    addresses.append(address)
                    rows.append((file, line if line > 0 else 0))
