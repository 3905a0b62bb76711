"""Where a 32-bit Arm call before a return address goes.

On AArch64 a function restores the link register before it returns. On Arm it pops its return address into
pc, and lr keeps whatever a callee's callee left in it: it only tells the caller if the call before it is
one to the function at hand.

Source: Arm Architecture Reference Manual (DDI 0406), "BL, BLX (immediate)", encodings A1, A2, T1 and T2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MASK = 0xFFFFFFFF


def signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> bits - 1 & 1 else value


def call_target(read: Callable[[int, int], bytes | None], link: int) -> int | None:
    """Target of the direct call that `link` (bit 0 set: T32) returns from; None if there is no such call."""
    at = (link & -2) - 4
    raw = read(at, 4) if at >= 0 else None
    if raw is None or len(raw) != 4:
        return None
    if link & 1:
        return _t32(int.from_bytes(raw[:2], "little"), int.from_bytes(raw[2:], "little"), at)
    return _a32(int.from_bytes(raw, "little"), at)


def _a32(word: int, at: int) -> int | None:
    offset = signed(word & 0xFFFFFF, 24) << 2
    if word >> 25 == 0x7D:  # BLX, to T32; H is bit 24
        return (at + 8 + offset + (word >> 23 & 2)) & MASK
    if word & 0x0F000000 == 0x0B000000 and word >> 28 != 0xF:
        return (at + 8 + offset) & MASK
    return None


def _t32(first: int, second: int, at: int) -> int | None:
    if first >> 11 != 0x1E or second & 0xC000 != 0xC000:
        return None
    sign = first >> 10 & 1
    i1, i2 = (~(second >> bit ^ sign) & 1 for bit in (13, 11))
    fields = sign << 23 | i1 << 22 | i2 << 21 | (first & 0x3FF) << 11 | second & 0x7FF
    offset = signed(fields, 24) << 1
    if second & 0x1000:
        return (at + 4 + offset) & MASK
    return ((at + 4 & -4) + (offset & -4)) & MASK  # BLX, to A32
