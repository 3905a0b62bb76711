"""Plugins written in Python: objects that distributions offer as entry points of the group `litebox_ta.plugins`.

They run in this process, with its rights and behind its restrictions: one made for the daemon opens what it needs when
it is made, which is before the daemon restricts itself.
"""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from tee.abi import results
from tee.errors import TeeError
from tee.normal import PluginAnswer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from importlib.metadata import EntryPoint

GROUP = "litebox_ta.plugins"
SLICE = 0.05
"""Seconds of one wait: how late a cancelled call ends."""
MOST_CALLS = 16
"""Of one plugin at once, those included that nobody waits for any more; beyond them BUSY."""


class PythonPlugin(Protocol):
    """What an entry point names: such an object, or a class of them, of which one is made.

    The entry point's name is the plugin's UUID; with any other name the object has an attribute `uuid`.
    """

    def invoke(self, cmd: int, sub_cmd: int, data: memoryview) -> tuple[int, int]:
        """The result (a TEE_Result, 0: success) and how many bytes of output there are.

        data: the TA's bytes, to be changed in place, empty if it gave none; not valid after the call. They go back to
        the TA if the length is not 0. Called by several threads at once. An exception is TEE_ERROR_GENERIC.
        """


class Guarded:
    """A Python plugin that can be waited for with a limit. limit: seconds; tell: is told of its errors, a line each."""

    def __init__(self, plugin: PythonPlugin, limit: float, tell: Callable[[str], None]) -> None:
        self._plugin = plugin
        self._limit = limit
        self._tell = tell
        self._places = threading.BoundedSemaphore(MOST_CALLS)

    def invoke(self, command: int, sub_command: int, data: bytearray, stop: Callable[[], bool]) -> PluginAnswer:
        """As `tee.normal.Plugins.invoke`. No thread can be ended: who gives up waiting leaves it behind."""
        if not self._places.acquire(blocking=False):
            raise TeeError(results.BUSY, f"more than {MOST_CALLS} calls of a plugin at once")
        call = _Call(self._plugin, command, sub_command, bytearray(data), self._places)
        try:
            call.start()
        except RuntimeError as error:
            self._places.release()
            raise TeeError(results.OUT_OF_MEMORY, str(error)) from None
        until = time.monotonic() + self._limit
        while not call.done.wait(SLICE):
            if stop():
                raise TeeError(results.CANCEL, "cancelled while a plugin ran")
            if time.monotonic() >= until:
                raise TeeError(results.TIMEOUT, f"the plugin took more than {self._limit:g} s")
        if call.problem:
            self._tell(call.problem)
        if call.answer is None or len(call.data) != len(data):
            raise TeeError(results.GENERIC, call.problem)
        data[:] = call.data
        return call.answer


class _Call(threading.Thread):
    """data: a copy of its own, for it may be written to when nobody waits any more."""

    def __init__(
        self, plugin: PythonPlugin, command: int, sub_command: int, data: bytearray, places: threading.BoundedSemaphore
    ) -> None:
        super().__init__(name="plugin", daemon=True)
        self._plugin = plugin
        self._words = command, sub_command
        self._places = places
        self.data = data
        self.done = threading.Event()
        self.answer: PluginAnswer | None = None
        self.problem = ""

    def run(self) -> None:
        try:
            self.answer = _checked(self._plugin.invoke(*self._words, memoryview(self.data)))
        except BaseException as error:  # whatever it is, it ends this call alone
            self.problem = f"{type(error).__name__}: {error}"
        finally:
            self._places.release()
            self.done.set()


def _checked(answer: object) -> PluginAnswer:
    match answer:
        case (int(result), int(length)) if 0 <= result < 1 << 32 and 0 <= length < 1 << 64:
            return PluginAnswer(result, length)
    raise TypeError(f"it answered {answer!r:.80}, not (result, length)")


def load(limit: float, tell: Callable[[str], None]) -> Iterator[tuple[UUID, str, Guarded]]:
    """UUID, name and plugin of each entry point. Those that cannot be used are told."""
    from importlib.metadata import entry_points

    for point in sorted(entry_points(group=GROUP), key=lambda p: (p.name, p.value)):
        name = f"{point.name} = {point.value}"
        try:
            uuid, plugin = _make(point)
        except (Exception, SystemExit) as error:  # it is somebody else's code
            tell(f"{name}: {type(error).__name__}: {error}")
            continue
        yield uuid, name, Guarded(plugin, limit, partial(_tell_of, tell, name))


def _tell_of(tell: Callable[[str], None], name: str, problem: str) -> None:
    tell(f"{name}: {problem}")


def _make(point: EntryPoint) -> tuple[UUID, PythonPlugin]:
    plugin = point.load()
    if isinstance(plugin, type):
        plugin = plugin()
    if not callable(getattr(plugin, "invoke", None)):
        raise TypeError("it has no method invoke")
    try:
        return UUID(point.name), plugin
    except ValueError:
        given = plugin.uuid
        return given if isinstance(given, UUID) else UUID(given), plugin
