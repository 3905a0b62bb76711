"""How things are timed: medians of repeated runs, in the units the name says."""

from __future__ import annotations

import statistics
import subprocess
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def per_call(function: Callable[[], Any], calls: int, rounds: int = 9) -> float:
    """Seconds of one call: the median over rounds of `calls` calls each."""
    function()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(calls):
            function()
        times.append((time.perf_counter() - start) / calls)
    return statistics.median(times)


def in_turns(*work: tuple[Callable[[], Any], int], rounds: int = 21) -> list[float]:
    """Seconds of one call of each, where work is (function, calls a round); medians over the rounds.

    Each round runs all of them, so that a slow phase of the machine hits figure and floor alike, and what counts is
    this thread's processor time, so that other processes' work does not. For work that never waits.
    """
    for function, _ in work:
        function()
    times: list[list[float]] = [[] for _ in work]
    for _ in range(rounds):
        for (function, calls), seen in zip(work, times, strict=True):
            start = time.thread_time_ns()
            for _ in range(calls):
                function()
            seen.append((time.thread_time_ns() - start) / calls / 1e9)
    return [statistics.median(seen) for seen in times]


def once(function: Callable[[], Any], rounds: int = 15) -> float:
    """Seconds of one call, each timed by itself; the median."""
    return per_call(function, 1, rounds)


def processes(commands: Sequence[Sequence[str]], rounds: int = 21) -> list[float]:
    """Wall seconds of whole processes, taken in turns so that slow phases hit all of them; medians."""
    times: list[list[float]] = [[] for _ in commands]
    for _ in range(rounds):
        for command, seen in zip(commands, times, strict=True):
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seen.append(time.perf_counter() - start)
    return [statistics.median(seen) for seen in times]


class Figure:
    """One line of the report. value and floor: in `unit`; ratio: value / floor; target: what we want, as text."""

    def __init__(self, name: str, unit: str, value: float, target: str, floor: float | None = None) -> None:
        self.name = name
        self.unit = unit
        self.value = value
        self.floor = floor
        self.target = target

    def as_json(self) -> dict[str, object]:
        out: dict[str, object] = {"name": self.name, "unit": self.unit, "value": round(self.value, 3)}
        if self.floor is not None:
            out["floor"] = round(self.floor, 3)
            out["ratio"] = round(self.value / self.floor, 3)
        out["target"] = self.target
        return out
