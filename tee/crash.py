"""How a TA died, and the report of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from north.crash import mapped_regions, region_text, register_lines
from north.text import visible_line
from tee.abi.results import Result
from tee.records import Crash

if TYPE_CHECKING:
    from collections.abc import Iterable

    from north.crash import Death
    from tee.instance import TaInstance
    from tee.ports import Frame


def crash_report(instance: TaInstance, death: Death) -> Crash:
    registers = instance.cpu.registers()
    backtrace = instance.program.backtrace(registers)
    owner = instance.session.owner if instance.session is not None else None
    caller = owner.uuid if owner is not None else None
    return Crash(instance.uuid, *death[:3], registers, mapped_regions(instance.space), backtrace, caller, death.address)


def crash_lines(crash: Crash) -> Iterable[str]:
    """The report for a person: what happened and where it was first, then registers and mapped regions."""
    yield from crash_summary(crash)
    if crash.registers:
        yield "  registers:"
        yield from register_lines(crash.registers)
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


def frame_text(frame: Frame) -> str:
    """`0x40012345 module!function+0x10 at file.c:12`, as far as it is known."""
    function = f"!{frame.function}+{frame.offset:#x}" if frame.function else ""
    place = f" at {frame.file}:{frame.line}" if frame.file else ""
    return visible_line(f"{frame.pc:#010x} {frame.module or '?'}{function}{place}")
