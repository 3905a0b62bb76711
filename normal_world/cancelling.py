"""How a call is cancelled: from another thread, and when its time is up."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from tee.abi import results
from tee.abi.results import Origin
from tee.errors import TeeError

if TYPE_CHECKING:
    from types import TracebackType

    from normal_world.client.ports import Way

_PAUSE = 0.001
"""Seconds until a cancellation that was faster than its call is sent again."""


class Operation:
    """Names one call, so that another thread can cancel it (TEEC_Operation, TEEC_RequestCancellation); used once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._call: Cancelling | None = None
        self._used = False
        self.cancelled = False

    def cancel(self) -> None:
        """Ask the TA to stop; one that masks cancellation goes on. Before the call: it will not begin."""
        with self._lock:
            self.cancelled = True
            call = self._call
        if call is not None:
            call.cancel()

    def begin(self, call: Cancelling) -> None:
        """TeeError: BAD_STATE if it had a call, CANCEL."""
        with self._lock:
            if self._used:
                raise TeeError(results.BAD_STATE, "an Operation is for one call", Origin.API)
            self._used = True
            if self.cancelled:
                raise TeeError(results.CANCEL, "cancelled before it began", Origin.API)
            self._call = call

    def end(self) -> None:
        with self._lock:
            self._call = None


class Cancelling:
    """While entered, the call `name` may be cancelled. timeout: seconds until it is, checked by the caller: the timer's
    thread has nobody to raise to.
    """

    def __init__(self, way: Way, name: int, timeout: float | None, operation: Operation | None) -> None:
        self._way = way
        self._name = name
        self._operation = operation
        self._ended = False
        self._timer = None if timeout is None else threading.Timer(timeout, self._late)

    def cancel(self) -> None:
        """Returns when the TEE knows of it, or the call has ended. TeeError of the way."""
        while not self._ended and not self._way.cancel(self._name):
            time.sleep(_PAUSE)

    def _late(self) -> None:
        try:
            self.cancel()
        except TeeError:
            pass  # the way is gone, as the call itself will tell

    def __enter__(self) -> Cancelling:
        if self._operation is not None:
            self._operation.begin(self)
        if self._timer is not None:
            self._timer.daemon = True
            try:
                self._timer.start()
            except RuntimeError:  # a call that nobody can end in time is not begun
                if self._operation is not None:
                    self._operation.end()
                raise TeeError(results.OUT_OF_MEMORY, "no thread for the time limit", Origin.API) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
        if self._operation is not None:
            self._operation.end()
