"""Unwind tables of 32-bit Arm: .ARM.exidx and .ARM.extab.

Source: "Exception Handling ABI for the Arm Architecture" (ehabi32, IHI 0038), sections "Index table entries",
"Exception-handling table entries" (generic and Arm-defined compact model) and "Frame unwinding instructions",
whose table of encodings is followed line by line below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from .elffile import ElfFile

EXIDX_CANTUNWIND = 1
ENTRY = 8
"""Bytes of an index table entry: where a function begins, and its instructions or where they are."""
COMPACT = 1 << 31
MASK = 0xFFFFFFFF

SP, LR, PC = 13, 14, 15

MAX_EXTRA_WORDS = 255
"""The count is one byte, in personality routines 1 and 2 and in GNU's generic layout."""


class CannotUnwind(Exception):
    """The table refuses, or says nothing that can be followed."""


def prel31(word: int, place: int) -> int:
    """Target of a 31-bit place-relative offset (R_ARM_PREL31)."""
    offset = word & 0x7FFFFFFF
    return (place + offset - (offset << 1 & 0x80000000)) & MASK


def _word(elf: ElfFile, address: int) -> int:
    raw = elf.read(address, 4)
    if raw is None:
        raise CannotUnwind
    return int.from_bytes(raw, "little")


class Entry:
    """The index table entry over an address. start, end: link-time bounds of what it covers."""

    __slots__ = ("end", "place", "start", "word")

    def __init__(self, start: int, end: int, place: int, word: int) -> None:
        self.start = start
        self.end = end
        self.place = place
        self.word = word

    @property
    def cannot_unwind(self) -> bool:
        return self.word == EXIDX_CANTUNWIND


def find_entry(elf: ElfFile, address: int) -> Entry | None:
    """Binary search: the table is sorted by address; one that is not gives some entry or none."""
    if elf.exidx is None:
        return None
    base, size = elf.exidx
    low, high = 0, size // ENTRY

    def start_of(index: int) -> int:
        place = base + ENTRY * index
        return prel31(_word(elf, place), place)

    try:
        count = high
        while low < high:
            middle = (low + high) // 2
            if start_of(middle) <= address:
                low = middle + 1
            else:
                high = middle
        if not low:
            return None
        end = start_of(low) if low < count else elf.code_end(address)
        place = base + ENTRY * (low - 1) + 4
        return Entry(start_of(low - 1), end, place, _word(elf, place))
    except CannotUnwind:
        return None


def instructions(elf: ElfFile, entry: Entry) -> bytes:
    """The unwinding instructions of an entry, in order of execution."""
    if entry.cannot_unwind:
        raise CannotUnwind
    if entry.word & COMPACT:
        place = entry.place
        first = entry.word
        if first >> 24 != 0x80:  # Only routine 0 may stand in the index table itself.
            raise CannotUnwind
    else:
        place = prel31(entry.word, entry.place)
        first = _word(elf, place)
        if not first & COMPACT:
            # Generic model: a personality routine of the language's own, whose data GNU tools lay out as
            # routine 1's, less its first byte (libgcc's __gxx_personality_v0, __gcc_personality_v0).
            place += 4
            return _gather(elf, place, _word(elf, place), 1)
    routine = first >> 24
    if routine == 0x80:
        return first.to_bytes(4, "big")[1:]
    if routine in (0x81, 0x82):
        return _gather(elf, place, first, 2)
    raise CannotUnwind


def _gather(elf: ElfFile, place: int, first: int, skip: int) -> bytes:
    """Bytes of `first` from `skip` on and of the words that byte skip - 1 counts; most significant byte first."""
    head = first.to_bytes(4, "big")
    count = head[skip - 1]
    out = bytearray(head[skip:])
    for i in range(1, min(count, MAX_EXTRA_WORDS) + 1):
        out += _word(elf, place + 4 * i).to_bytes(4, "big")
    return bytes(out)


class VirtualRegisters:
    """The registers while a frame is unwound; a missing one is unknown. load: a word of the stack."""

    def __init__(self, registers: dict[int, int], load: Callable[[int], int | None]) -> None:
        self.values = {n: v for n, v in registers.items() if n != PC}
        self._load = load

    def run(self, code: bytes) -> None:
        """At most len(code) instructions; afterwards PC is set, from LR unless it was popped."""
        at = 0
        while at < len(code):
            op = code[at]
            at += 1
            if op == 0xB0:  # finish
                break
            if op == 0xB2:  # vsp += 0x204 + (uleb128 << 2)
                value, at = _uleb(code, at)
                self._adjust(0x204 + (value << 2))
            elif op & 0xF0 == 0x80 or op in (0xB1, 0xB3, 0xC6, 0xC7, 0xC8, 0xC9):
                if at >= len(code):
                    raise CannotUnwind
                self._two_bytes(op, code[at])
                at += 1
            else:
                self._one_byte(op)
        if PC not in self.values:
            if LR not in self.values:
                raise CannotUnwind
            self.values[PC] = self.values[LR]

    def _one_byte(self, op: int) -> None:
        if op < 0x40:  # 00xxxxxx
            self._adjust(((op & 0x3F) << 2) + 4)
        elif op < 0x80:  # 01xxxxxx
            self._adjust(-((op & 0x3F) << 2) - 4)
        elif op & 0xF0 == 0x90 and op & 15 not in (SP, PC):  # vsp = r[nnnn]
            self._set_sp(self.values.get(op & 15))
        elif op & 0xF0 == 0xA0:  # r4-r[4+nnn], with 8: and r14
            self._pop([*range(4, 5 + (op & 7)), *([LR] if op & 8 else [])])
        elif op == 0xB4:  # the return address's authentication code, as r12
            self._adjust(4)
        elif op == 0xB5:  # vsp modifies the authentication: nothing to undo
            pass
        elif op & 0xF8 == 0xB8:  # d8-d[8+nnn] by FSTMFDX
            self._adjust(8 * ((op & 7) + 1) + 4)
        elif op & 0xE8 == 0xC0:  # wR10-wR[10+nnn] (6 and 7 have a second byte), d8-d[8+nnn] by VPUSH
            self._adjust(8 * ((op & 7) + 1))
        else:  # reserved and spare
            raise CannotUnwind

    def _two_bytes(self, op: int, more: int) -> None:
        if op & 0xF0 == 0x80:  # r15-r12, r11-r4 by mask
            mask = (op & 15) << 8 | more
            if not mask:
                raise CannotUnwind
            self._pop([4 + i for i in range(12) if mask >> i & 1])
        elif op == 0xB1:  # r3-r0 by mask
            if not 0 < more < 16:
                raise CannotUnwind
            self._pop([i for i in range(4) if more >> i & 1])
        elif op == 0xB3:  # d[ssss]-d[ssss+cccc] by FSTMFDX
            self._adjust(8 * ((more & 15) + 1) + 4)
        elif op == 0xC7:  # wCGR3-wCGR0 by mask
            if not 0 < more < 16:
                raise CannotUnwind
            self._adjust(4 * more.bit_count())
        else:  # C6: wR[ssss]-; C8: d[16+ssss]-; C9: d[ssss]-
            self._adjust(8 * ((more & 15) + 1))

    def _set_sp(self, value: int | None) -> None:
        if value is None:
            raise CannotUnwind
        self.values[SP] = value & MASK

    def _adjust(self, by: int) -> None:
        sp = self.values.get(SP)
        self._set_sp(None if sp is None else sp + by)

    def _pop(self, registers: list[int]) -> None:
        """Ascending registers from ascending addresses; popping r13 itself decides vsp."""
        sp = self.values.get(SP)
        popped_sp = None
        for number in registers:
            value = None if sp is None else self._load(sp)
            if sp is None or value is None:
                raise CannotUnwind
            if number == SP:
                popped_sp = value
            else:
                self.values[number] = value
            sp += 4
        self._set_sp(sp if popped_sp is None else popped_sp)


def _uleb(code: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 35, 7):
        if at >= len(code):
            break
        value |= (code[at] & 0x7F) << shift
        at += 1
        if code[at - 1] < 0x80:
            return value, at
    raise CannotUnwind
