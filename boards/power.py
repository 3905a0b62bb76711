"""Turning a board on and off: a QEMU process, commands, a relay by command, or a person's hand."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Protocol

from boards import hooks
from boards.errors import TargetError
from south.errors import UsageError
from south.linux_host.child import Child

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

STOP_SECONDS = 5.0
"""Between SIGTERM and SIGKILL."""
HOOK_SECONDS = 60.0
"""For one command of a hook or relay."""
TAIL = 2000
"""Bytes of a command's complaint that an error shows."""


class Power(Protocol):
    """The power of one board."""

    def on(self) -> None:
        """TargetError if it cannot be done."""

    def off(self) -> None:
        """Also of a board that is off, or of which nobody knows."""

    def trouble(self) -> str:
        """Why a board that was turned on is dead, "" as far as can be told."""


class NoPower:
    """A target that is always on."""

    def on(self) -> None:
        pass

    def off(self) -> None:
        pass

    def trouble(self) -> str:
        return ""


class ProcessPower:
    """A board that is a process, QEMU as a rule. Its own output goes to the file `log`.

    command: asked for each time that it is started. folder: where (None: the current one).
    """

    def __init__(self, command: Callable[[], Sequence[str]], log: Path, folder: str | None = None) -> None:
        self._command = command
        self._argv: Sequence[str] = ()
        self._folder = folder
        self._log = log
        self._child: Child | None = None

    def on(self) -> None:
        self.off()
        self._argv = self._command()
        program = self._argv[0]
        if shutil.which(program) is None:
            raise UsageError(f"{program} is not installed{_remedy(program)}")
        try:
            log = self._log.open("ab")
        except OSError as problem:
            raise UsageError(f"{self._log}: {problem.strerror}") from None
        with log:
            try:
                self._child = Child(self._argv, folder=self._folder, log=log)
            except OSError as problem:
                raise UsageError(f"{self._folder or program}: {problem.strerror}") from None

    def off(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        # What it has started is of its session, and goes as well.
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(child.pid, number)
            except ProcessLookupError:
                pass
            if child.wait(STOP_SECONDS) is not None:
                break
        child.close()

    def trouble(self) -> str:
        status = None if self._child is None else self._child.wait(0)
        if status is None:
            return ""
        said = _end_of(self._log)
        name = os.path.basename(self._argv[0])
        # A signal's number as a shell gives it.
        return f"{name} ended with status {128 - status if status < 0 else status}" + (f": {said}" if said else "")


def _end_of(path: Path) -> str:
    """The last that stands in a file, which may be long, or gone."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
            return file.read(TAIL).decode("utf-8", "replace").strip()
    except OSError:
        return ""


def _remedy(program: str) -> str:
    name = os.path.basename(program)
    if name in ("qemu-system-aarch64", "qemu-system-arm"):
        return "; on Debian and Ubuntu: apt-get install qemu-system-arm"
    return ""


class Settle:
    """Keeps a board off for some seconds at least, for its capacitors."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._off_at = 0.0
        """0: it was never turned off here."""

    def went_off(self) -> None:
        self._off_at = time.monotonic()

    def wait(self) -> None:
        """Before it is turned on."""
        rest = self._off_at + self._seconds - time.monotonic()
        if self._off_at and rest > 0:
            time.sleep(rest)


class CommandPower:
    """Programs of the user's: a laboratory's power switch, a USB hub's port, a GPIO relay.

    settle: seconds that the board stays off at least.
    """

    def __init__(self, on: Sequence[str], off: Sequence[str], settle: float = 1.0) -> None:
        self._on = list(on)
        self._off = list(off)
        self._settle = Settle(settle)

    def on(self) -> None:
        self._settle.wait()
        _hook(self._on)

    def off(self) -> None:
        _hook(self._off)
        self._settle.went_off()

    def trouble(self) -> str:
        return ""


def relay(command: Sequence[str], closed: str, opened: str, settle: float) -> CommandPower:
    """A relay that one command sets; its last argument is `closed` for a board with power, else `opened`."""
    return CommandPower([*command, closed], [*command, opened], settle)


def _hook(argv: list[str]) -> None:
    try:
        done = hooks.run(argv, HOOK_SECONDS)
    except subprocess.TimeoutExpired:
        raise TargetError(f"power: {argv[0]} took more than {HOOK_SECONDS:g} s") from None
    except OSError as problem:
        raise UsageError(f"power: {argv[0]}: {problem.strerror}") from None
    if done.status:
        said = (done.err or done.out)[-TAIL:].decode("utf-8", "replace").strip()
        raise TargetError(f"power: {' '.join(argv)} ended with status {done.status}", output=said)


class ManualPower:
    """Asks the person at the terminal; an error where there is none."""

    def __init__(self, board: str) -> None:
        self._board = board

    def on(self) -> None:
        self._ask("on")

    def off(self) -> None:
        self._ask("off")

    def trouble(self) -> str:
        return ""

    def _ask(self, state: str) -> None:
        # The terminal itself: pytest and pipes take standard input and output.
        try:
            with open("/dev/tty", "r+b", buffering=0) as terminal:
                terminal.write(f"\nTurn {self._board} {state}, then press Enter: ".encode())
                while terminal.read(1) not in (b"\n", b"\r", b""):
                    pass
        except OSError:
            raise UsageError(
                f"{self._board} wants a person to turn it {state}, and there is no terminal; "
                'give its [power] a kind = "command" or "relay" to run unattended'
            ) from None
