"""Ctrl-C, SIGTERM and SIGHUP end a run of a board in order: reports are written, and its power goes off."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE = 60.0
"""Seconds for what follows the first signal; a later one counts again."""


class Interrupted(KeyboardInterrupt):
    """number: of the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name}")
        self.number = number

    @property
    def exit_code(self) -> int:
        """As a shell's of a program that a signal ended."""
        return 128 + self.number


@contextmanager
def interruptible() -> Iterator[None]:
    """Within it the first of the signals raises Interrupted. Those that follow soon do nothing: they would keep the
    power on.

    What was ignored before stays so (nohup). Elsewhere than on the main thread it changes nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ended = time.monotonic() - GRACE

    def end(number: int, _: FrameType | None) -> None:
        nonlocal ended
        now = time.monotonic()
        if now - ended >= GRACE:
            ended = now
            raise Interrupted(number)

    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)
