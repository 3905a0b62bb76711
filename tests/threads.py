"""Several threads that do the same at once, waiting for what others do, and limits of time that a busy machine keeps.

A test must pass on a machine that is busy with something else. What must *end* gets PATIENCE, and hangs beyond it; what
must *compute little* is measured in CPU time, which other processes do not lengthen.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Item = TypeVar("Item")

PATIENCE = 60.0
"""Seconds after which a test may say that something hangs."""


def together(work: Callable[[Item], object], items: Iterable[Item], seconds: float = PATIENCE) -> None:
    """`work` on each item, each on a thread of its own. What the first to fail raised; AssertionError if one hangs."""
    problems: list[BaseException] = []

    def run(item: Item) -> None:
        try:
            work(item)
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=run, args=(item,), daemon=True) for item in items]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds)
    if problems:
        raise problems[0]
    assert not any(thread.is_alive() for thread in threads), f"still at work after {seconds} s"


def eventually(condition: Callable[[], object], seconds: float = PATIENCE) -> bool:
    """Poll until `condition()` holds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def cpu_seconds(pid: int) -> float:
    """CPU time, in seconds, that a process has used so far (proc(5), fields utime and stime of /proc/PID/stat)."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
