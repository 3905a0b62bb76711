"""labgrid's consoles and power as ours, for laboratories that describe their boards with it. Needs the extra `labgrid`.

    [consoles.normal]
    link = "labgrid:/lab/env.yaml#main/uart"        # its environment file, target (main) and, if there are several,
                                                    # the driver's name
    [power]
    kind = "labgrid"
    environment = "/lab/env.yaml"

Whatever labgrid has a ConsoleProtocol or PowerProtocol for will do. labgrid knows of no threads (its stack of steps is
one list for all), so one lock serves all that is asked of it, and nothing that waits is asked.
"""

from __future__ import annotations

import os
import threading
import time
from importlib import import_module
from typing import Any, NamedTuple

from boards.console_link import CHUNK
from boards.errors import TargetError
from boards.power import Settle
from south.errors import UsageError

POLL = 0.005
"""Seconds between looks at a console that says nothing."""

_lock = threading.RLock()
_environments: dict[str, Any] = {}


class Place(NamedTuple):
    """file: of the environment. driver: its name, "" for the only one."""

    file: str
    target: str = "main"
    driver: str = ""

    @classmethod
    def of(cls, text: str) -> Place:
        """FILE[#TARGET[/DRIVER]]. UsageError."""
        file, _, rest = text.partition("#")
        target, _, driver = rest.partition("/")
        if not file:
            raise UsageError(f"labgrid:{text}: write labgrid:FILE, labgrid:FILE#TARGET or labgrid:FILE#TARGET/DRIVER")
        return cls(file, target or "main", driver)


def _target(place: Place) -> Any:
    """Of labgrid's own class. UsageError for an environment that cannot be used."""
    file = os.path.abspath(place.file)
    try:
        environment_class = import_module("labgrid").Environment
    except ImportError:
        raise UsageError("labgrid is not installed: pip install 'labgrid>=24.0,<27'") from None
    if not os.path.isfile(file):
        raise UsageError(f"{file}: no such labgrid environment")
    try:
        if file not in _environments:
            _environments[file] = environment_class(file)
        target = _environments[file].get_target(place.target)
    except Exception as problem:  # labgrid's own, YAML's, and what its drivers raise
        raise UsageError(f"{file}: {problem}") from None
    if target is None:
        raise UsageError(f"{file}: has no target {place.target}")
    return target


def _driver(target: Any, protocol: str, place: Place) -> Any:
    return target.get_driver(protocol, name=place.driver or None)


class LabgridLink:
    """A console; opened now. OSError if that fails, as from all that it does."""

    def __init__(self, place: Place) -> None:
        with _lock:
            try:
                self._target = _target(place)
                self._driver = _driver(self._target, "ConsoleProtocol", place)
                # A QEMU of labgrid's has no console before it is turned on.
                self._ahead = self._read()
            except OSError:
                raise
            except Exception as problem:
                raise OSError(f"labgrid: {_words(problem)}") from None

    def read(self, seconds: float) -> bytes:
        deadline = time.monotonic() + seconds
        while True:
            data, self._ahead = self._ahead, b""
            if not data:
                with _lock:
                    data = self._read()
            if data or time.monotonic() >= deadline:
                return data
            time.sleep(POLL)

    def _read(self) -> bytes:
        try:
            return bytes(self._driver.read(size=CHUNK, timeout=0.0))
        except Exception as problem:
            if type(problem).__name__ == "TIMEOUT":  # pexpect's: nothing came
                return b""
            raise OSError(f"labgrid: {_words(problem)}") from None

    def write(self, data: bytes) -> None:
        with _lock:
            try:
                while data:
                    wrote = self._driver.write(data)
                    data = data[wrote if isinstance(wrote, int) and wrote > 0 else len(data) :]
            except Exception as problem:
                raise OSError(f"labgrid: {_words(problem)}") from None

    def close(self) -> None:
        """A driver that has the power, too, is left alone."""
        with _lock:
            if not hasattr(self._driver, "cycle"):
                try:
                    self._target.deactivate(self._driver)
                except Exception as problem:
                    raise OSError(f"labgrid: {_words(problem)}") from None


class LabgridPower:
    """settle: seconds that the board stays off at least."""

    def __init__(self, place: Place, settle: float) -> None:
        self._place = place
        self._settle = Settle(settle)

    def on(self) -> None:
        self._settle.wait()
        self._do("on")

    def off(self) -> None:
        self._do("off")
        self._settle.went_off()

    def trouble(self) -> str:
        return ""

    def _do(self, what: str) -> None:
        with _lock:
            target = _target(self._place)
            try:
                getattr(_driver(target, "PowerProtocol", self._place), what)()
            except Exception as problem:
                raise TargetError(f"power {what}: labgrid: {_words(problem)}") from None


def _words(problem: Exception) -> str:
    return str(problem) or type(problem).__name__
