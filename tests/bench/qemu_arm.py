"""A secure monitor call from a kernel in QEMU to this process and back, in the guest's own time."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.measure import Figure
from tests.south.qemu_arm import kit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.guest import Bench

CALLS = 5000


def exchange(bench: Bench) -> Iterator[Figure]:
    if kit.why_not():
        return
    for name, function in (("fast", "FAST + 2"), ("yielding", "YIELDING + 2")):
        with tempfile.TemporaryDirectory() as folder:
            kernel = kit.guest("bench", Path(folder), COUNT=CALLS, FUNCTION=function)
            monitor = kit.Recorder()
            with kit.machine(kernel) as machine:
                kit.run(machine, monitor)
        [(ticks, frequency, calls)] = monitor.told(kit.FAST + 1)
        yield Figure(
            f"QEMU guest: one {name} call, answered in Python", "us", ticks / frequency / calls * 1e6, "<= 60 us"
        )
