"""Ctrl-C reaches a TA that never makes a system call.

While guest code runs, no Python does. The engine's watchdog watches a pipe that Python's own C
signal handler writes to, and stops the guest; between stop and go on, Python sees the signal.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from south.engine.unicorn import watch_signals

if TYPE_CHECKING:
    from types import TracebackType

_pipe: tuple[int, int] | None = None
"""Made once and never closed: the watchdog may be about to read it at any moment."""


class Interruptible:
    """While entered, signals interrupt running guests. Does nothing outside the main thread."""

    def __init__(self) -> None:
        self._before: int | None = None

    def __enter__(self) -> Interruptible:
        global _pipe
        if _pipe is None:
            _pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            self._before = signal.set_wakeup_fd(_pipe[1], warn_on_full_buffer=False)
        except ValueError:  # only the main thread is given signals
            return self
        watch_signals(_pipe[0])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            watch_signals(-1)
            signal.set_wakeup_fd(self._before)
            self._before = None
