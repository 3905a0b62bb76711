"""Sees clients die while a call of theirs runs, and ends calls whose time is up.

A connection's own thread is inside the call and cannot see the hang-up. One thread waits for all
connections' hang-ups: the call is cancelled, and when the TA does not end within the grace period, killed.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import select
import socket
import threading
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tee.activity import Cancellation

GRACE = 2.0
"""Seconds between a cancellation that nobody waits for and the TA's end."""


class Watched(Protocol):
    socket: socket.socket
    cancellation: Cancellation | None
    """Of the call that is under way."""
    gone: bool
    """The client has hung up."""


class Watcher:
    """grace: seconds."""

    def __init__(self, grace: float = GRACE) -> None:
        self.grace = grace
        self._lock = threading.Lock()
        self._watched: dict[int, Watched] = {}
        self._condemned: list[tuple[float, int, Cancellation]] = []
        self._order = itertools.count()
        self._epoll = select.epoll()
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll.register(self._bell, select.EPOLLIN)
        self._stop = False
        self._thread = threading.Thread(target=self._run, name="litebox-watcher", daemon=True)
        self._thread.start()

    def add(self, connection: Watched) -> None:
        fd = connection.socket.fileno()
        with self._lock:
            self._watched[fd] = connection
            # A hang-up is always told; nothing else is asked for.
            self._epoll.register(fd, select.EPOLLONESHOT)

    def close(self, connection: Watched) -> None:
        """Stop watching and close: under the lock, so that the number cannot be another connection's meanwhile."""
        with self._lock:
            fd = connection.socket.fileno()
            if self._watched.pop(fd, None) is not None:
                self._epoll.unregister(fd)
            connection.socket.close()

    def condemn(self, cancellation: Cancellation, seconds: float | None = None) -> None:
        """Cancel now, kill after `seconds` (default: the grace period)."""
        cancellation.request()
        self._schedule(cancellation, self.grace if seconds is None else seconds)

    @contextlib.contextmanager
    def limited(self, cancellation: Cancellation) -> Iterator[None]:
        """What runs inside is killed after the grace period."""
        number = self._schedule(cancellation, self.grace)
        try:
            yield
        finally:
            with self._lock:
                self._condemned = [entry for entry in self._condemned if entry[1] != number]
                heapq.heapify(self._condemned)

    def stop(self) -> None:
        self._stop = True
        os.eventfd_write(self._bell, 1)
        self._thread.join()
        self._epoll.close()
        os.close(self._bell)

    def _schedule(self, cancellation: Cancellation, seconds: float) -> int:
        with self._lock:
            number = next(self._order)
            heapq.heappush(self._condemned, (time.monotonic() + seconds, number, cancellation))
            first = self._condemned[0][1] == number
        if first:
            os.eventfd_write(self._bell, 1)
        return number

    def _run(self) -> None:
        while not self._stop:
            with self._lock:
                until = self._condemned[0][0] if self._condemned else None
            wait = -1 if until is None else max(0.0, until - time.monotonic())
            for fd, _ in self._epoll.poll(wait):
                if fd == self._bell:
                    try:
                        os.eventfd_read(self._bell)
                    except BlockingIOError:
                        pass
                else:
                    self._hung_up(fd)
            now = time.monotonic()
            while True:
                with self._lock:
                    if not self._condemned or self._condemned[0][0] > now:
                        break
                    _, _, cancellation = heapq.heappop(self._condemned)
                cancellation.kill()

    def _hung_up(self, fd: int) -> None:
        with self._lock:
            connection = self._watched.get(fd)
            if connection is None:
                return
            poll = select.poll()
            poll.register(fd, 0)
            if not poll.poll(0):  # an event of the number's last owner
                self._epoll.modify(fd, select.EPOLLONESHOT)
                return
            connection.gone = True
            cancellation = connection.cancellation
        if cancellation is not None:
            self.condemn(cancellation)
