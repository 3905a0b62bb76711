"""Who is calling, and how a call is cancelled.

An `Activity` is one client's call together with the TA-to-TA calls nested in it. It remembers which
instance it waits for, so that a circle of waits is found before it closes (OP-TEE answers BUSY).
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tee.instance import TaInstance


class Activity:
    """depth: nested TA entries so far; waiting_for: the instance whose lock it waits for."""

    __slots__ = ("depth", "waiting_for")

    def __init__(self) -> None:
        self.depth = 0
        self.waiting_for: TaInstance | None = None


class Cancellation:
    """Lets another thread cancel a call: TEEC_RequestCancellation. One for each call."""

    __slots__ = ("_instance", "_lock", "requested")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._instance: TaInstance | None = None
        self.requested = False

    def request(self) -> None:
        """Ask the TA to stop. It sees the flag when it unmasks cancellation; a wait of its ends."""
        with self._lock:
            self.requested = True
            if self._instance is not None:
                self._instance.cancel()

    def attach(self, instance: TaInstance) -> None:
        with self._lock:
            self._instance = instance
            if self.requested:
                instance.cancel()

    def detach(self) -> None:
        with self._lock:
            self._instance = None
