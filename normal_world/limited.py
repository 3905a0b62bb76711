"""A call that its caller does not wait for longer than a limit, whatever the TA and the way to it do.

A cancellation is a request, which a TA in an endless loop never sees, and a thread inside of an ioctl is out of reach.
So the call runs in a thread of its own: its caller waits for that, and leaves it behind when the limit has passed.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tee.abi import results
from tee.abi.results import Origin
from tee.errors import TeeError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
AFTERWARDS = 0.5
"""Seconds for the answer of a call that was given up: the way may know how the TA ended."""


class GivenUp(Exception):
    """The limit has passed. answer: what the call returned soon after; None: it may still be under way."""

    def __init__(self, answer: Any = None) -> None:
        super().__init__()
        self.answer = answer


class _Work(Generic[T]):
    def __init__(self, run: Callable[[], T]) -> None:
        self._run = run
        self.done = threading.Event()
        self.value: T | None = None
        self.problem: BaseException | None = None

    def work(self) -> None:
        try:
            self.value = self._run()
        except BaseException as problem:  # the caller's to raise
            self.problem = problem
        finally:
            self.done.set()

    def result(self) -> T:
        if self.problem is not None:
            raise self.problem
        return self.value  # type: ignore[return-value]


def within(limit: float, run: Callable[[], T], give_up: Callable[[], None]) -> T:
    """What `run` returns or raises, within `limit` seconds; GivenUp otherwise. Ctrl-C ends the wait at once.

    give_up: called when nobody waits any more. It must not wait for the TA.
    """
    work = _Work(run)
    try:
        threading.Thread(target=work.work, name="tee-call", daemon=True).start()
    except RuntimeError:
        raise TeeError(results.OUT_OF_MEMORY, "no thread for a call", Origin.API) from None
    try:
        if work.done.wait(limit):
            return work.result()
    except BaseException:
        if not work.done.is_set():
            give_up()
        raise
    give_up()
    work.done.wait(AFTERWARDS)
    raise GivenUp(work.value)
