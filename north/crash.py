"""What ended a program, and how its memory and registers are shown to a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from north.text import visible_line
from south.platform import Access, TrapKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from north.memory import AddressSpace
    from south.platform import Cpu

_EXCEPTIONS = {1: "undefined instruction", 3: "prefetch abort", 4: "alignment fault or data abort", 7: "breakpoint"}
_REGISTERS_A_LINE = 4


class Death(NamedTuple):
    """kind: fault, exception, limit or killed, or one of the personality's own; code: of such a one.
    detail: one sentence for a person; address: of a fault.
    """

    kind: str
    code: int
    detail: str
    address: int | None = None

    @classmethod
    def of_trap(cls, trap: TrapKind, cpu: Cpu) -> Death:
        fault = cpu.fault()
        if trap is TrapKind.FAULT:
            verb = {Access.READ: "read of", Access.WRITE: "write to", Access.FETCH: "execution at"}.get(
                fault.access, "access to"
            )
            text = f"{verb} {fault.address:#x} is not allowed, at pc {fault.pc:#x}"
            return cls("fault", 0, text, fault.address)
        if trap is TrapKind.EXCEPTION:
            what = _EXCEPTIONS.get(fault.exception, f"exception {fault.exception}")
            return cls("exception", 0, f"{what} at pc {fault.pc:#x}")
        return cls("exception", 0, f"the engine stopped at pc {fault.pc:#x}: {cpu.error_text()}")


class MappedRegion(NamedTuple):
    """va, size: bytes; prot: like `r-x`."""

    va: int
    size: int
    prot: str
    name: str


def mapped_regions(space: AddressSpace) -> list[MappedRegion]:
    return [
        MappedRegion(r.va, r.size, "".join(c if r.prot & b else "-" for c, b in (("r", 1), ("w", 2), ("x", 4))), r.name)
        for r in space
    ]


def register_lines(registers: dict[str, int]) -> Iterable[str]:
    width = 16 if max(registers.values()) > 0xFFFFFFFF or "x0" in registers else 8
    named = [f"{name:>5} {value:0{width}x}" for name, value in registers.items()]
    for at in range(0, len(named), _REGISTERS_A_LINE):
        yield "  " + " ".join(named[at : at + _REGISTERS_A_LINE])


def region_text(region: MappedRegion) -> str:
    name = visible_line(region.name)
    return f"{region.va:#010x}-{region.va + region.size:#010x} {region.prot} {region.size >> 10:6} KiB  {name}"
