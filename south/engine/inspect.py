"""Breakpoints, steps, watchpoints, counts and positions of a CPU, in C (csrc/debug.c, hooks.c)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from south.engine.binding import check, ffi, lib
from south.platform import Access, Stop, StopKind, TrapKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from south.platform import Prot

ACCESS = {16: Access.READ, 17: Access.WRITE, 18: Access.FETCH}
"""By uc_mem_type of unicorn.h."""
WATCHES = 16
"""LB_WATCHES of cpu.h."""


class Inspection:
    """`south.platform.Inspect` of a struct lb_cpu."""

    def __init__(self, raw: Any, code_unit: int) -> None:
        self._raw = raw
        self._code_unit = code_unit
        self.used_watches: set[int] = set()
        """Numbers of watches in use, those of `on_access` among them."""
        self._areas: list[Any] = []
        """Memory that C counts in."""
        self._stops: set[int] = set()
        """Those of `used_watches` that stop the guest."""

    def take_watch(self) -> int:
        """A number that no watch has; WATCHES, which C refuses, when all are used."""
        return next((i for i in range(WATCHES) if i not in self.used_watches), WATCHES)

    def set_break(self, va: int) -> None:
        check(lib.lb_debug_break(self._raw, va), f"cannot set a breakpoint at {va:#x}")

    def clear_break(self, va: int) -> None:
        check(lib.lb_debug_unbreak(self._raw, va), f"cannot clear a breakpoint at {va:#x}")

    def step(self) -> TrapKind:
        check(lib.lb_debug_step(self._raw), "cannot step")
        return TrapKind(lib.lb_cpu_proceed(self._raw))

    def watch(self, begin: int, end: int, access: Prot) -> Callable[[], None]:
        watch = self.take_watch()
        check(lib.lb_debug_watch(self._raw, watch, begin, end, int(access)), f"cannot watch {begin:#x}")
        self.used_watches.add(watch)
        self._stops.add(watch)
        return partial(self._end_watch, watch)

    def _end_watch(self, watch: int) -> None:
        if watch in self._stops and self._raw != ffi.NULL:
            self._stops.discard(watch)
            self.used_watches.discard(watch)
            lib.lb_debug_watch(self._raw, watch, 0, 0, 0)

    def stopped(self) -> Stop:
        f = self._raw.fault
        return Stop(StopKind(f.exception), f.pc, ACCESS.get(f.access, Access.NONE), f.address)

    def release(self) -> None:
        check(lib.lb_debug_off(self._raw), "cannot end debugging")
        check(lib.lb_hook_edges(self._raw, 0, ffi.NULL, 0), "cannot end counting edges")
        check(lib.lb_hook_position(self._raw, False), "cannot end counting blocks")
        for area in self._areas:
            check(lib.lb_hook_uncover(self._raw, ffi.cast("uint8_t *", area)), "cannot end counting blocks")
        self._areas.clear()
        self.used_watches -= self._stops
        self._stops.clear()

    def count_blocks(self, on: bool) -> None:
        check(lib.lb_hook_position(self._raw, on), "cannot count blocks")

    def position(self) -> tuple[int, int]:
        return int(self._raw.blocks), int(lib.lb_cpu_pc(self._raw))

    def counts(self, va: int, size: int) -> memoryview:
        area = ffi.new("uint32_t[]", -(-size // self._code_unit))
        check(lib.lb_hook_cover(self._raw, va, size, ffi.NULL, area), "cannot count blocks")
        self._areas.append(area)
        return memoryview(ffi.buffer(area)).cast("I")

    def edges(self, base: int, size: int) -> bytearray:
        counted = bytearray(size)
        area = ffi.from_buffer("uint8_t[]", counted)
        check(lib.lb_hook_edges(self._raw, base, area, size), "cannot count edges")
        self._areas.append(area)
        return counted
