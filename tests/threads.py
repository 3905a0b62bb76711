"""Several threads that do the same at once, and waiting for what others do."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Item = TypeVar("Item")


def together(work: Callable[[Item], object], items: Iterable[Item], seconds: float = 60.0) -> None:
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


def eventually(condition: Callable[[], object], seconds: float = 10.0) -> bool:
    """Poll until `condition()` holds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True
