"""Readers and writers from as many threads as clients have: whether the core's lock keeps them apart.

Source: optee_os core/pta/tests/mutex.c; xtest regression_1003.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from north.locks import ReadWriteLock
from tee.abi import results
from tee.errors import TeeError

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_ROUNDS = 1 << 20
"""Rounds under the lock at most, about a second: xtest asks for 65536, and a client must not stop the others."""
SLICE = 4096
"""Rounds until others may run: Python lets one thread run at a time, and an error needs two in the lock to show."""


class _Count:
    """Threads at one point, told to each that comes (atomic_inc32)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._here = 0

    def enter(self) -> int:
        with self._lock:
            self._here += 1
            return self._here

    def leave(self) -> None:
        with self._lock:
            self._here -= 1

    @contextmanager
    def inside(self) -> Iterator[int]:
        here = self.enter()
        try:
            yield here
        finally:
            self.leave()


class MutexTest:
    """Two numbers, one always twice the other except in a writer's hands."""

    def __init__(self) -> None:
        self.lock = ReadWriteLock()
        self._single = 0
        self._double = 0
        self._before_read, self._before_write = _Count(), _Count()
        self._during_read, self._during_write = _Count(), _Count()

    def write(self, rounds: int) -> tuple[int, int]:
        """Count on; (writers before the lock, writers in it), this one included."""
        before = self._before_write.enter()
        with self.lock.writing():
            self._before_write.leave()
            with self._during_write.inside() as during:
                for part in _slices(rounds):
                    for _ in range(part):
                        self._single += 1
                        self._double += 1
                        self._double += 1
        return before, during

    def read(self, rounds: int) -> tuple[int, int]:
        """Compare; (readers before the lock, readers in it). TeeError(BAD_STATE) if a writer was seen at work."""
        intact = True
        before = self._before_read.enter()
        with self.lock.reading():
            self._before_read.leave()
            with self._during_read.inside() as during:
                for part in _slices(rounds):
                    for _ in range(part):
                        if self._single * 2 != self._double:
                            intact = False
        if not intact:
            raise TeeError(results.BAD_STATE, "a reader saw what a writer had half done")
        return before, during


def _slices(rounds: int) -> Iterator[int]:
    rounds = min(rounds, MOST_ROUNDS)
    while rounds > 0:
        part = min(rounds, SLICE)
        yield part
        rounds -= part
        time.sleep(0)
