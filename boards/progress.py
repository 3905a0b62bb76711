"""Words on standard error for whoever waits for a step that takes long; nothing for one that does not."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 2.0
"""Seconds that a person waits without a word."""
AGAIN = 10.0
"""Seconds between two words."""


@contextlib.contextmanager
def told(what: str, state: Callable[[], str] = lambda: "") -> Iterator[None]:
    """Tell `what` is being done unless it is done soon, and every now and then how it stands (`state`)."""
    done = threading.Event()
    began = time.monotonic()

    def tell() -> None:
        wait = PATIENCE
        while not done.wait(wait):
            now = state()
            say(f"{what}{f': {now}' if now else ''} ({time.monotonic() - began:.0f} s)")
            wait = AGAIN

    thread = threading.Thread(target=tell, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def say(text: str) -> None:
    """A line for a person, now."""
    print(f"litebox-ta: {text}", file=sys.stderr, flush=True)
