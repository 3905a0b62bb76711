"""Ctrl-C reaches a TA that never makes a system call.

While guest code runs, no Python does. The engine's watchdog watches a pipe that Python's own C
signal handler writes to, and stops the guest; the world then lets Python see the signal.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from south.engine.unicorn import watch_signals

if TYPE_CHECKING:
    from types import TracebackType


class Interruptible:
    """While entered, signals interrupt running guests. Does nothing outside the main thread."""

    def __init__(self) -> None:
        self._pipe: tuple[int, int] | None = None
        self._before = -1

    def __enter__(self) -> Interruptible:
        pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            self._before = signal.set_wakeup_fd(pipe[1], warn_on_full_buffer=False)
        except ValueError:  # only the main thread is given signals
            os.close(pipe[0])
            os.close(pipe[1])
            return self
        self._pipe = pipe
        watch_signals(pipe[0])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pipe is None:
            return
        watch_signals(-1)
        signal.set_wakeup_fd(self._before)
        for descriptor in self._pipe:
            os.close(descriptor)
        self._pipe = None
