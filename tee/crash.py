"""How a TA died, and the report of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from south.platform import Access, TrapKind
from tee.abi.results import Result
from tee.observe import Crash, MappedRegion

if TYPE_CHECKING:
    from south.platform import Cpu
    from tee.instance import TaInstance

_EXCEPTIONS = {1: "undefined instruction", 3: "prefetch abort", 4: "alignment fault or data abort", 7: "breakpoint"}


class Death(NamedTuple):
    """kind: panic, fault, exception, limit or killed; code: of a panic."""

    kind: str
    code: int
    detail: str

    @classmethod
    def of_trap(cls, trap: TrapKind, cpu: Cpu) -> Death:
        fault = cpu.fault()
        if trap is TrapKind.FAULT:
            verb = {Access.READ: "read of", Access.WRITE: "write to", Access.FETCH: "execution at"}.get(
                fault.access, "access to"
            )
            return cls("fault", 0, f"{verb} {fault.address:#x} is not allowed, at pc {fault.pc:#x}")
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
    return Crash(
        instance.uuid, death.kind, death.code, death.detail, registers, regions, instance.program.backtrace(registers)
    )


def format_crash(crash: Crash) -> str:
    """The report as text: what happened, registers, call stack, memory map."""
    what = f"panicked with code {Result(crash.code)} (0x{crash.code:08x})" if crash.kind == "panic" else "died"
    lines = [f"TA {crash.uuid} {what}: {crash.kind}: {crash.detail}", "registers:"]
    names = list(crash.registers)
    for i in range(0, len(names), 4):
        lines.append("  " + "  ".join(f"{n:>9} {crash.registers[n]:016x}" for n in names[i : i + 4]))
    lines.append("call stack:")
    for frame in crash.backtrace:
        where = f" at {frame.file}:{frame.line}" if frame.file else ""
        name = f"{frame.function}+{frame.offset:#x}" if frame.function else "?"
        lines.append(f"  {frame.pc:#018x} {name} [{frame.module}]{where}")
    if not crash.backtrace:
        lines.append("  (unreadable)")
    lines.append("memory map:")
    lines += [f"  {r.va:#014x}-{r.va + r.size:#014x} {r.prot} {r.name}" for r in crash.regions]
    return "\n".join(lines) + "\n"
