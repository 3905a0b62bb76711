"""How a TA died, and the report of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from north.text import visible_line
from south.platform import Access, TrapKind
from tee.abi.results import Result
from tee.observe import Crash, MappedRegion

if TYPE_CHECKING:
    from collections.abc import Iterable

    from south.platform import Cpu
    from tee.instance import TaInstance
    from tee.ports import Frame

_EXCEPTIONS = {1: "undefined instruction", 3: "prefetch abort", 4: "alignment fault or data abort", 7: "breakpoint"}
_REGISTERS_A_LINE = 4


class Death(NamedTuple):
    """kind: panic, fault, exception, limit or killed; code: of a panic; address: of a fault."""

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


def crash_report(instance: TaInstance, death: Death) -> Crash:
    registers = instance.cpu.registers()
    regions = [
        MappedRegion(r.va, r.size, "".join(c if r.prot & b else "-" for c, b in (("r", 1), ("w", 2), ("x", 4))), r.name)
        for r in instance.space
    ]
    backtrace = instance.program.backtrace(registers)
    owner = instance.session.owner if instance.session is not None else None
    caller = owner.uuid if owner is not None else None
    return Crash(instance.uuid, *death[:3], registers, regions, backtrace, caller, death.address)


def crash_lines(crash: Crash) -> Iterable[str]:
    """The report for a person: what happened and where it was first, then registers and mapped regions."""
    yield from crash_summary(crash)
    if crash.registers:
        yield "  registers:"
        yield from _registers(crash.registers)
    if crash.regions:
        yield "  mapped regions:"
        yield from (f"    {region_text(region)}" for region in crash.regions)


def crash_summary(crash: Crash) -> Iterable[str]:
    """The report without registers and regions: what happened, and the symbolised backtrace."""
    yield f"TA {crash.uuid} {crash_reason(crash)}"
    if crash.backtrace:
        yield "  backtrace:"
        for number, frame in enumerate(crash.backtrace):
            yield f"    #{number:<2} {frame_text(frame)}"


def crash_reason(crash: Crash) -> str:
    """What became of the TA, as the predicate of a sentence about it."""
    detail = f": {visible_line(crash.detail)}" if crash.detail else ""
    if crash.kind == "panic":
        name = Result(crash.code).name
        return f"panicked with code 0x{crash.code:08x}{'' if name.startswith('0x') else f' ({name})'}{detail}"
    if crash.kind == "limit":
        return f"was stopped at a limit{detail}"
    if crash.kind == "killed":
        return f"was killed{detail}"
    return f"died of {'an' if crash.kind == 'exception' else 'a'} {crash.kind}{detail}"


def _registers(registers: dict[str, int]) -> Iterable[str]:
    width = 16 if max(registers.values()) > 0xFFFFFFFF or "x0" in registers else 8
    named = [f"{name:>5} {value:0{width}x}" for name, value in registers.items()]
    for at in range(0, len(named), _REGISTERS_A_LINE):
        yield "  " + " ".join(named[at : at + _REGISTERS_A_LINE])


def frame_text(frame: Frame) -> str:
    """`0x40012345 module!function+0x10 at file.c:12`, as far as it is known."""
    function = f"!{frame.function}+{frame.offset:#x}" if frame.function else ""
    place = f" at {frame.file}:{frame.line}" if frame.file else ""
    return visible_line(f"{frame.pc:#010x} {frame.module or '?'}{function}{place}")


def region_text(region: MappedRegion) -> str:
    name = visible_line(region.name)
    return f"{region.va:#010x}-{region.va + region.size:#010x} {region.prot} {region.size >> 10:6} KiB  {name}"
