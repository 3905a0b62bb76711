"""How a TA died, for a person: code, registers, symbolised backtrace, mapped regions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tee.abi.results import Result

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tee.observe import Crash, MappedRegion
    from tee.ports import Frame

_REGISTERS_A_LINE = 4


def crash_lines(crash: Crash) -> Iterable[str]:
    yield f"TA {crash.uuid} {_what(crash)}"
    if crash.registers:
        yield "  registers:"
        yield from _registers(crash.registers)
    if crash.backtrace:
        yield "  backtrace:"
        for number, frame in enumerate(crash.backtrace):
            yield f"    #{number:<2} {frame_text(frame)}"
    if crash.regions:
        yield "  mapped regions:"
        yield from (f"    {region_text(region)}" for region in crash.regions)


def _what(crash: Crash) -> str:
    detail = f": {crash.detail}" if crash.detail else ""
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
    return f"{frame.pc:#010x} {frame.module or '?'}{function}{place}"


def region_text(region: MappedRegion) -> str:
    return f"{region.va:#010x}-{region.va + region.size:#010x} {region.prot} {region.size >> 10:6} KiB  {region.name}"


def crash_json(crash: Crash) -> dict[str, Any]:
    return {
        "ta": str(crash.uuid),
        "kind": crash.kind,
        "code": crash.code,
        "detail": crash.detail,
        "registers": dict(crash.registers),
        "backtrace": [frame._asdict() for frame in crash.backtrace],
        "regions": [region._asdict() for region in crash.regions],
    }
