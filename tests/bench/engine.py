"""Figures of the engine alone."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from south.engine.unicorn import UnicornEngine
from south.platform import PAGE, Arch, Prot, RegionFlag, TrapKind
from tests.bench.measure import Figure, in_turns
from tests.south.guest import A64, CODE, DATA, SP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.bench.guest import Bench

ARENA = 64 << 20
US = 1e6


def _dirty(bench: Bench, pages: int) -> Callable[[], None]:
    """What goes back to a snapshot of 64 MiB since which a guest wrote that many pages."""
    arena = bench.platform.pages.arena(ARENA)
    space = UnicornEngine().space(Arch.AARCH64, arena)
    cpu = space.cpu()
    arena.view(0, 12)[:] = struct.pack("<3I", A64["store"], A64["number"], A64["svc"])
    space.map(CODE, PAGE, Prot.RX, RegionFlag.PRIVATE, arena, 0)
    space.map(DATA, pages * PAGE, Prot.RW, RegionFlag.PRIVATE, arena, PAGE)
    saved = space.snapshot()
    for page in range(pages):
        assert cpu.enter(CODE, SP, (7, DATA + page * PAGE, 0, 0)) is TrapKind.CALL

    def go_back() -> None:
        space.restore(saved)

    go_back()
    assert not any(arena.view(PAGE, 1))
    return go_back


def restore(bench: Bench) -> Iterator[Figure]:
    few, many = in_turns((_dirty(bench, 4), 500), (_dirty(bench, 256), 50))
    yield Figure("going back to a snapshot of 64 MiB after writes to 4 pages", "us", few * US, "<= 3 us")
    yield Figure("going back to a snapshot of 64 MiB after writes to 1 MiB", "us", many * US, "<= 60 us")
