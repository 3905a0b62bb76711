"""Who is calling, and how a call is cancelled.

An `Activity` is one client's call together with the TA-to-TA calls nested in it. It remembers which
instance it waits for, so that a circle of waits is found before it closes (OP-TEE answers BUSY).
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

from south.platform import Interrupt

if TYPE_CHECKING:
    from tee.instance import TaInstance
    from tee.records import Crash


class Held(Protocol):
    """What one activity at a time may be inside of: a TA instance."""

    @property
    def busy_with(self) -> Activity | None: ...


class Activity:
    """depth: nested TA entries so far; waiting_for: the instance whose lock it waits for.

    cancellation: how the outermost call is cancelled, if it can be.
    """

    __slots__ = ("cancellation", "depth", "waiting_for")

    def __init__(self) -> None:
        self.depth = 0
        self.waiting_for: Held | None = None
        self.cancellation: Cancellation | None = None


def closes_circle(activity: Activity, held: Held) -> bool:
    """Whether `activity` would wait for ever if it waited for `held`: who holds it waits for `activity`, at any remove,
    or is that activity. The caller keeps everybody from taking or releasing anything meanwhile.
    """
    holder = held.busy_with
    while holder is not None and holder is not activity:
        holder = holder.waiting_for.busy_with if holder.waiting_for else None
    return holder is activity


class Cancellation:
    """Lets another thread cancel a call: TEEC_RequestCancellation. One for each call.

    killed: the call is to end now; no TA is entered for it any more.
    crashes: how the TAs died that the call found dead or that died of it, nested ones too, in that order.
    """

    __slots__ = ("_inside", "_lock", "crashes", "killed", "requested")
    MOST = 16
    """Reports kept; a TA may open as many sessions to one that dies as it has time for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside: list[TaInstance] = []
        self.requested = False
        self.killed = False
        self.crashes: tuple[Crash, ...] = ()

    def died(self, crash: Crash) -> None:
        """In the thread of the call."""
        if len(self.crashes) < self.MOST:
            self.crashes += (crash,)

    def request(self) -> None:
        """Ask the TA to stop. It sees the flag when it unmasks cancellation; a wait of its ends."""
        with self._lock:
            self.requested = True
            if self._inside:
                self._inside[0].cancel()

    def kill(self) -> None:
        """Nobody waits for the answer: the TAs that run for this call die, as by a limit."""
        with self._lock:
            self.requested = self.killed = True
            if self._inside:
                self._inside[-1].kill()

    def attach(self, instance: TaInstance) -> bool:
        """`instance` is about to be entered; False if the call was killed before that."""
        with self._lock:
            if self.killed:
                return False
            self._inside.append(instance)
            if self.requested and len(self._inside) == 1:
                instance.cancel()
            return True

    def detach(self) -> None:
        """The instance attached last was left."""
        with self._lock:
            instance = self._inside.pop()
            if self.killed:
                # It came too late for this one; whoever called it is next.
                instance.cpu.acknowledge(Interrupt.KILL)
                if self._inside:
                    self._inside[-1].kill()
