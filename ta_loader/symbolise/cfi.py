"""Call frame information: .eh_frame and .debug_frame.

Every list of instructions is run within the bytes it has; a table is scanned once, up to MAX_ENTRIES. CFA
and register rules given by DWARF expressions are not evaluated (GCC and Clang emit none for AArch64 and Arm
but for scalable vectors): such a register counts as lost, such a CFA as no rule.

Source: DWARF 5 §6.4 "Call Frame Information" and §7.24; Linux Standard Base Core 5.0 §10.6 "Exception Frames"
for .eh_frame; "DWARF for the Arm 64-bit Architecture" (aadwarf64) for register numbers and the return
address's signature.
"""

from __future__ import annotations

import bisect
import functools
from typing import TYPE_CHECKING, NamedTuple

from .elffile import ElfFile
from .lines import Cursor, Malformed

if TYPE_CHECKING:
    from north.elf.file import SectionHeader

DW_CFA_ADVANCE_LOC, DW_CFA_OFFSET, DW_CFA_RESTORE = 0x40, 0x80, 0xC0
DW_CFA_NOP, DW_CFA_SET_LOC = 0x00, 0x01
DW_CFA_ADVANCE_LOC1, DW_CFA_ADVANCE_LOC2, DW_CFA_ADVANCE_LOC4 = 0x02, 0x03, 0x04
DW_CFA_OFFSET_EXTENDED, DW_CFA_RESTORE_EXTENDED, DW_CFA_UNDEFINED, DW_CFA_SAME_VALUE = 0x05, 0x06, 0x07, 0x08
DW_CFA_REGISTER, DW_CFA_REMEMBER_STATE, DW_CFA_RESTORE_STATE, DW_CFA_DEF_CFA = 0x09, 0x0A, 0x0B, 0x0C
DW_CFA_DEF_CFA_REGISTER, DW_CFA_DEF_CFA_OFFSET, DW_CFA_DEF_CFA_EXPRESSION = 0x0D, 0x0E, 0x0F
DW_CFA_EXPRESSION, DW_CFA_OFFSET_EXTENDED_SF, DW_CFA_DEF_CFA_SF, DW_CFA_DEF_CFA_OFFSET_SF = 0x10, 0x11, 0x12, 0x13
DW_CFA_VAL_OFFSET, DW_CFA_VAL_OFFSET_SF, DW_CFA_VAL_EXPRESSION = 0x14, 0x15, 0x16
DW_CFA_AARCH64_NEGATE_RA_STATE, DW_CFA_GNU_ARGS_SIZE, DW_CFA_GNU_NEGATIVE_OFFSET = 0x2D, 0x2E, 0x2F

DW_EH_PE_OMIT, DW_EH_PE_PCREL = 0xFF, 0x10
DW_EH_PE_SIZES = {0x00: 0, 0x02: 2, 0x03: 4, 0x04: 8, 0x0A: -2, 0x0B: -4, 0x0C: -8}
"""Low four bits of an encoding: bytes, negative if signed, 0: a word."""

MAX_ENTRIES = 65536
MAX_REMEMBERED = 64
MAX_INSTRUCTIONS = 16384
"""Bytes of one CIE's or FDE's instructions; compilers make tens to hundreds."""
MAX_REGISTER = 128
"""Register numbers from here on (vectors, system registers) are not followed."""
MAX_KNOWN_ROWS = 4096


class Offset(NamedTuple):
    """Saved at CFA + value."""

    value: int


class ValueOffset(NamedTuple):
    """Its value is CFA + value."""

    value: int


class Register(NamedTuple):
    """Its value is that of another register."""

    number: int


class Lost:
    """Undefined, or by an expression."""


Rule = Offset | ValueOffset | Register | Lost


class Row(NamedTuple):
    """How to find the caller from one address. cfa: (register, offset); rules by DWARF register number."""

    cfa: tuple[int, int] | None
    rules: dict[int, Rule]
    return_register: int
    signed: bool
    """The return address carries a pointer authentication code."""


class _Cie(NamedTuple):
    code_align: int
    data_align: int
    return_register: int
    encoding: int
    augmented: bool
    instructions: tuple[int, int]


class _Fde(NamedTuple):
    start: int
    end: int
    cie: _Cie
    instructions: tuple[int, int]


class FrameTable:
    """One .eh_frame or .debug_frame section."""

    def __init__(self, elf: ElfFile, section: SectionHeader, eh: bool) -> None:
        self._data = elf.contents(section)
        self._address = section.addr
        self._eh = eh
        self._word = elf.layout.word
        self._mask = elf.layout.mask
        self._cies: dict[int, _Cie | None] = {}
        self._fdes = sorted(self._scan(), key=lambda f: f.start)
        self._starts = [f.start for f in self._fdes]
        self._rows: dict[int, Row | None] = {}

    def _scan(self) -> list[_Fde]:
        fdes: list[_Fde] = []
        at = 0
        for _ in range(MAX_ENTRIES):
            if at + 4 > len(self._data):
                break
            try:
                c, size_of_id = self._entry(at)
                after, fde = c.end, None
                if after > c.at:
                    fde = self._fde(c, size_of_id)
                if fde:
                    fdes.append(fde)
            except Malformed:
                after = self._after(at)
            at = max(after, at + 4)
        return fdes

    def _after(self, at: int) -> int:
        size = int.from_bytes(self._data[at : at + 4], "little")
        return at + 4 + size if size != 0xFFFFFFFF else len(self._data)

    def _entry(self, at: int) -> tuple[Cursor, int]:
        """A reader of the entry at `at`, past its length, and the size of its CIE field."""
        c = Cursor(self._data, at, len(self._data))
        size, size_of_id = c.uint(4), 4
        if size == 0xFFFFFFFF:
            size = c.uint(8)
            size_of_id = 4 if self._eh else 8
        if size > len(self._data) - c.at:
            raise Malformed
        c.end = c.at + size
        return c, size_of_id

    def _fde(self, c: Cursor, size_of_id: int) -> _Fde | None:
        """None for a CIE."""
        here = c.at
        pointer = c.uint(size_of_id)
        if self._eh:
            if not pointer:
                return None
            cie = self._cie(here - pointer)
        else:
            if pointer == (1 << 8 * size_of_id) - 1:
                return None
            cie = self._cie(pointer)
        if cie is None:
            raise Malformed
        start = self._pointer(c, cie.encoding)
        size = self._pointer(c, cie.encoding & 0x0F)
        if cie.augmented:
            c.take(c.uleb())
        if not start < start + size <= self._mask + 1:
            return None
        return _Fde(start, start + size, cie, (c.at, c.end))

    def _pointer(self, c: Cursor, encoding: int) -> int:
        here = self._address + c.at
        size = DW_EH_PE_SIZES.get(encoding & 0x0F)
        if size is None or encoding & 0x70 not in (0, DW_EH_PE_PCREL):
            raise Malformed
        value = c.sint(-size) if size < 0 else c.uint(size or self._word)
        return (value + (here if encoding & 0x70 else 0)) & self._mask

    def _cie(self, at: int) -> _Cie | None:
        if at not in self._cies:
            self._cies[at] = None
            try:
                self._cies[at] = self._read_cie(at)
            except Malformed:
                pass
        return self._cies[at]

    def _read_cie(self, at: int) -> _Cie:
        if not 0 <= at < len(self._data):
            raise Malformed
        c, size_of_id = self._entry(at)
        if c.uint(size_of_id) != (0 if self._eh else (1 << 8 * size_of_id) - 1):
            raise Malformed
        version = c.uint(1)
        if version not in (1, 3, 4):
            raise Malformed
        augmentation = c.string()
        if version == 4:
            c.take(2)  # address_size, segment_selector_size
        code_align, data_align = c.uleb(), c.sleb()
        return_register = c.uint(1) if version == 1 else c.uleb()
        encoding = 0
        if augmentation[:1] == b"z":
            size = c.uleb()
            body = Cursor(self._data, c.at, min(c.at + size, c.end))
            c.take(size)
            encoding = self._augmentation(body, augmentation[1:])
        elif augmentation:
            raise Malformed
        return _Cie(code_align, data_align, return_register, encoding, augmentation != b"", (c.at, c.end))

    def _augmentation(self, c: Cursor, letters: bytes) -> int:
        """The encoding of FDE pointers. S (signal frame), B (key B signs) and G (tagged) have no data."""
        encoding = 0
        for letter in letters[:16]:
            if letter == ord("R"):
                encoding = c.uint(1)
            elif letter == ord("L"):
                c.take(1)
            elif letter == ord("P"):
                personality = c.uint(1)
                size = DW_EH_PE_SIZES.get(personality & 0x0F)
                if size is None:
                    raise Malformed
                c.take(abs(size) or self._word)
            elif letter not in b"SBG":
                break
        return encoding

    def find(self, address: int) -> Row | None:
        """The row for a link-time address. Recursion asks for the same again and again."""
        if address not in self._rows:
            if len(self._rows) >= MAX_KNOWN_ROWS:
                self._rows.clear()
            self._rows[address] = self._row(address)
        return self._rows.get(address)

    def _row(self, address: int) -> Row | None:
        last = bisect.bisect_right(self._starts, address) - 1
        for i in range(last, max(last - 16, -1), -1):
            fde = self._fdes[i]
            if address < fde.end:
                try:
                    return _Machine(self._data, fde, self._word).row(address)
                except Malformed:
                    return None
        return None


class _Machine:
    """Runs the instructions of one CIE and FDE up to an address."""

    def __init__(self, data: bytes, fde: _Fde, word: int) -> None:
        self._data = data
        self._fde = fde
        self._word = word
        self._location = fde.start
        self._cfa: tuple[int, int] | None = None
        self._rules: dict[int, Rule] = {}
        self._initial: dict[int, Rule] = {}
        self._signed = False
        self._saved: list[tuple[tuple[int, int] | None, dict[int, Rule]]] = []

    def row(self, address: int) -> Row:
        cie = self._fde.cie
        self._run(Cursor(self._data, *cie.instructions), address)
        self._initial = dict(self._rules)
        self._run(Cursor(self._data, *self._fde.instructions), address)
        return Row(self._cfa, self._rules, cie.return_register, self._signed)

    def _run(self, c: Cursor, address: int) -> None:
        if c.end - c.at > MAX_INSTRUCTIONS:
            raise Malformed
        while c.at < c.end:
            op = c.uint(1)
            if self._advance(c, op):
                if self._location > address:
                    return
            elif not self._register_rule(c, op):
                self._frame_rule(c, op)

    def _advance(self, c: Cursor, op: int) -> bool:
        if op & 0xC0 == DW_CFA_ADVANCE_LOC:
            delta = op & 0x3F
        elif op in (DW_CFA_ADVANCE_LOC1, DW_CFA_ADVANCE_LOC2, DW_CFA_ADVANCE_LOC4):
            delta = c.uint(1 << op - DW_CFA_ADVANCE_LOC1)
        elif op == DW_CFA_SET_LOC:
            raise Malformed  # No compiler emits it: it would need a relocation.
        else:
            return False
        self._location += delta * self._fde.cie.code_align
        return True

    def _register_rule(self, c: Cursor, op: int) -> bool:
        align = self._fde.cie.data_align
        if op & 0xC0 == DW_CFA_OFFSET:
            self._set(op & 0x3F, Offset(c.uleb() * align))
        elif op & 0xC0 == DW_CFA_RESTORE:
            self._restore(op & 0x3F)
        elif op == DW_CFA_OFFSET_EXTENDED:
            self._set(c.uleb(), Offset(c.uleb() * align))
        elif op == DW_CFA_OFFSET_EXTENDED_SF:
            self._set(c.uleb(), Offset(c.sleb() * align))
        elif op == DW_CFA_GNU_NEGATIVE_OFFSET:
            self._set(c.uleb(), Offset(-c.uleb() * align))
        elif op == DW_CFA_VAL_OFFSET:
            self._set(c.uleb(), ValueOffset(c.uleb() * align))
        elif op == DW_CFA_VAL_OFFSET_SF:
            self._set(c.uleb(), ValueOffset(c.sleb() * align))
        elif op == DW_CFA_REGISTER:
            self._set(c.uleb(), Register(c.uleb()))
        elif op == DW_CFA_UNDEFINED:
            self._set(c.uleb(), Lost())
        elif op == DW_CFA_SAME_VALUE:
            self._rules.pop(c.uleb(), None)
        elif op == DW_CFA_RESTORE_EXTENDED:
            self._restore(c.uleb())
        elif op in (DW_CFA_EXPRESSION, DW_CFA_VAL_EXPRESSION):
            self._set(c.uleb(), Lost())
            c.take(c.uleb())
        else:
            return False
        return True

    def _set(self, number: int, rule: Rule) -> None:
        if number < MAX_REGISTER:
            self._rules[number] = rule

    def _restore(self, number: int) -> None:
        if number in self._initial:
            self._rules[number] = self._initial[number]
        else:
            self._rules.pop(number, None)

    def _frame_rule(self, c: Cursor, op: int) -> None:
        align = self._fde.cie.data_align
        if op == DW_CFA_DEF_CFA:
            self._cfa = (c.uleb(), c.uleb())
        elif op == DW_CFA_DEF_CFA_SF:
            self._cfa = (c.uleb(), c.sleb() * align)
        elif op == DW_CFA_DEF_CFA_REGISTER:
            self._cfa = (c.uleb(), self._cfa[1]) if self._cfa else None
        elif op == DW_CFA_DEF_CFA_OFFSET:
            self._cfa = (self._cfa[0], c.uleb()) if self._cfa else None
        elif op == DW_CFA_DEF_CFA_OFFSET_SF:
            self._cfa = (self._cfa[0], c.sleb() * align) if self._cfa else None
        elif op == DW_CFA_DEF_CFA_EXPRESSION:
            self._cfa = None
            c.take(c.uleb())
        elif op == DW_CFA_REMEMBER_STATE:
            if len(self._saved) >= MAX_REMEMBERED:
                raise Malformed
            self._saved.append((self._cfa, dict(self._rules)))
        elif op == DW_CFA_RESTORE_STATE:
            if not self._saved:
                raise Malformed
            self._cfa, self._rules = self._saved.pop()
        elif op == DW_CFA_AARCH64_NEGATE_RA_STATE:
            self._signed = not self._signed
        elif op == DW_CFA_GNU_ARGS_SIZE:
            c.uleb()
        elif op != DW_CFA_NOP:
            raise Malformed


@functools.lru_cache(maxsize=16)
def frame_tables(elf: ElfFile) -> list[FrameTable]:
    """The tables a file has, .eh_frame before .debug_frame."""
    found = []
    for name, eh in ((".eh_frame", True), (".debug_frame", False)):
        section = elf.section(name)
        if section is not None:
            found.append(FrameTable(elf, section, eh))
    return found
