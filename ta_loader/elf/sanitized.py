"""Whether a TA was built with OP-TEE's AddressSanitizer, by its code.

A stripped TA says so nowhere. But the runtime in libutils has the address of its table compiled in: by an instruction
that gives a register its upper half or, on arm, as a word among the code.

Source: optee_os lib/libutils/ext/include/asan.h (`GET_ASAN_INFO`); "Arm Architecture Reference Manual for A-profile",
MOVK, MOVT.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from south.platform import Arch
from ta_loader.machines import MACHINES
from tee.abi.asan import INFO_BELOW, REPORT, SHADOW_OFFSETS

if TYPE_CHECKING:
    from collections.abc import Iterable


class _Shape(NamedTuple):
    """Of an instruction that gives a register its upper half (MOVK, MOVT).

    mask: bits that are compared, all but the register's. step: bytes between instructions; 2: the first halfword is the
    upper half of a word. fixed: bytes of the instruction that no register changes.
    """

    mask: int
    step: int
    fixed: tuple[int, int]


_A64 = _Shape(0x7FFFFFE0, 4, (1, 3))
_A32 = _Shape(0xFFFF0FFF, 4, (2, 4))
_T32 = _Shape(0xFFFFF0FF, 2, (0, 3))
_NAMES = (b"asan_user_map_shadow\0", REPORT.encode())
"""Text of the runtime: a function's name for its log, and what it logs."""


def shadow_offset(arch: Arch, code: Iterable[bytes]) -> int:
    """CFG_USER_ASAN_SHADOW_OFFSET of a TA with that code and constants; 0: it has no such runtime."""
    pieces = tuple(code)
    has_constant = _HAS_CONSTANT[arch]
    for offset in SHADOW_OFFSETS[: MACHINES[arch].shadow_offsets]:
        if any(has_constant(piece, offset - INFO_BELOW) for piece in pieces):
            return offset
    # A32 code may reach the table by other constants; then the text says that there is one.
    return SHADOW_OFFSETS[0] if any(name in piece for piece in pieces for name in _NAMES) else 0


def _a64_has_constant(code: bytes, value: int) -> bool:
    return _has(code, 0x72A00000 | value >> 16 << 5, _A64)


def _arm_has_constant(code: bytes, value: int) -> bool:
    high = value >> 16
    movw = high >> 12 << 16
    wide = movw | (high >> 11 & 1) << 26 | (high >> 8 & 7) << 12 | high & 0xFF
    return (
        _lies_in(code, value)
        or _has(code, 0xE3400000 | movw | high & 0xFFF, _A32)
        or _has(code, 0xF2C00000 | wide, _T32)
    )


def _has(code: bytes, instruction: int, shape: _Shape) -> bool:
    """Whether it comes, with any register."""
    halves = shape.step == 2
    start, end = shape.fixed
    needle = (_swapped(instruction) if halves else instruction).to_bytes(4, "little")[start:end]
    found = -1
    while (found := code.find(needle, found + 1)) >= 0:
        at = found - start
        if at < 0 or at % shape.step:
            continue
        word = int.from_bytes(code[at : at + 4], "little")
        if not ((_swapped(word) if halves else word) ^ instruction) & shape.mask:
            return True
    return False


def _swapped(word: int) -> int:
    return word >> 16 | (word & 0xFFFF) << 16


def _lies_in(code: bytes, value: int) -> bool:
    """As an aligned word: a literal."""
    data, at = value.to_bytes(4, "little"), -1
    while (at := code.find(data, at + 1)) >= 0:
        if at % 4 == 0:
            return True
    return False


_HAS_CONSTANT = {Arch.AARCH64: _a64_has_constant, Arch.ARM: _arm_has_constant}
"""Whether code gives a register the upper half of a value, by the architecture."""
