"""How much of one user goes on at the same time, so that another user's call finds a processor and Python free.

Threads of one process share Python's lock and the processors. With hundreds of threads that compute, one that holds the
lock is off its processor for most of the time, and everybody waits for it: with 512 connections of one user in a loop
a call of another took 12 s. With these two gates it takes as long as with a few of them.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

REQUESTS_AT_ONCE = 4
"""Requests of one user that occupy Python: opening and closing sessions above all. More would not be answered sooner,
since one thread at a time runs Python, but each would be one more that other users wait for."""
BRIEF = 0.05
"""Seconds after which a request does not count any more: what takes longer waits, or runs in a TA."""

CALLS_PER_PROCESSOR = 4
"""Calls of one user that compute at the same time."""
LOOK = 0.05
"""Seconds between two looks at who computes, while somebody waits."""
RESTING = 0.002
"""Part of its time that a thread runs, or waits for a processor, if it rests: in TEE_Wait, for another call of an
instance, for a socket. A thread that waits for Python's lock among hundreds runs more than that."""
_HANG_UPS = 5.0
"""Seconds between two looks whether a waiting call's client has hung up."""


class RequestGate:
    """Lets `REQUESTS_AT_ONCE` in, and the next whenever one leaves or has been inside for `BRIEF`."""

    def __init__(self) -> None:
        self._door = threading.Lock()
        """Held by the one that is next; the others wait for it, without polling."""
        self._changed = threading.Condition()
        self._inside: dict[object, float] = {}
        """Since when, seconds; in that order."""

    @contextlib.contextmanager
    def passed(self) -> Iterator[None]:
        ticket = object()
        with self._door, self._changed:
            while (wait := self._full_for()) > 0:
                self._changed.wait(wait)
            self._inside[ticket] = time.monotonic()
        try:
            yield
        finally:
            with self._changed:
                del self._inside[ticket]
                self._changed.notify()

    def _full_for(self) -> float:
        """Seconds until there is room if nobody leaves."""
        for since in itertools.islice(reversed(self._inside.values()), REQUESTS_AT_ONCE - 1, REQUESTS_AT_ONCE):
            return since + BRIEF - time.monotonic()
        return 0.0


class Caller(Protocol):
    """A connection. thread: of the kernel's numbering."""

    thread: int
    gone: bool
    """The client has hung up."""


class CallGate:
    """Lets calls in while fewer than `most` of those inside compute. One that rests holds nobody up.

    A call that rested and computes again is not stopped: then there are more, until some end.
    """

    def __init__(self, most: int | None = None) -> None:
        self._most = most or CALLS_PER_PROCESSOR * len(os.sched_getaffinity(0))
        self._door = threading.Lock()
        self._changed = threading.Condition()
        self._inside: set[Caller] = set()
        self._seen: dict[Caller, tuple[float, int]] = {}
        """At the last look: when (seconds), and what `_spent` was."""
        self._resting: set[Caller] = set()

    def enter(self, caller: Caller, *, patient: bool = False) -> bool:
        """False: the caller's client has hung up while it waited (not if `patient`). Else `leave` must follow."""
        if len(self._inside) < self._most and not self._door.locked():
            self._inside.add(caller)
            return True
        while not self._door.acquire(timeout=_HANG_UPS):
            if caller.gone and not patient:
                return False
        try:
            with self._changed:
                while not self._room():
                    if caller.gone and not patient:
                        return False
                    if not self._changed.wait(LOOK):
                        self._look()
                self._inside.add(caller)
                return True
        finally:
            self._door.release()

    def leave(self, caller: Caller) -> None:
        self._inside.discard(caller)
        if self._door.locked():
            with self._changed:
                self._changed.notify()

    def _room(self) -> bool:
        return len(self._inside) - len(self._resting & self._inside) < self._most

    def _look(self) -> None:
        now = time.monotonic()
        seen: dict[Caller, tuple[float, int]] = {}
        resting: set[Caller] = set()
        for caller in tuple(self._inside):
            spent = None if _runnable(caller.thread) else _spent(caller.thread)
            if spent is None:
                continue
            seen[caller] = now, spent
            before = self._seen.get(caller)
            if before is not None and spent - before[1] < RESTING * 1e9 * (now - before[0]):
                resting.add(caller)
        self._seen, self._resting = seen, resting


def _runnable(thread: int) -> bool:
    """It runs or waits for a processor at this moment: field 3 of /proc/PID/stat (proc_pid_stat(5))."""
    try:
        with open(f"/proc/self/task/{thread}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] == b"R"
    except (OSError, IndexError):
        return False


def _spent(thread: int) -> int | None:
    """Nanoseconds that the thread has run, or waited for a processor; None: the kernel does not count.

    /proc/PID/schedstat (Documentation/scheduler/sched-stats.rst). The kernel adds a wait when it is over, so this alone
    would take a thread that waits long on a busy machine for one that rests.
    """
    try:
        with open(f"/proc/self/task/{thread}/schedstat", "rb") as file:
            run, wait, _ = file.read().split()
            return int(run) + int(wait)
    except (OSError, ValueError):
        return None
