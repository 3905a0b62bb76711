"""What was said on the consoles of a board: lines with their times, in memory (bounded) and in a file.

A line's time is that of its first byte: the one that tells in which order two UARTs spoke.
"""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MAX_LINE = 4096
"""Bytes; a longer line is kept in pieces."""
MAX_ENTRIES = 50_000
"""Lines in memory; older ones are in the file alone."""
MAX_FILE = 1 << 30
"""Bytes; a board that prints without end must not fill the disk."""
MAX_SEQUENCE = 256
"""Bytes of a terminal's control sequence; what is longer is none."""

# ECMA-48 §5.4 (CSI), §8.3.89 (OSC), and the two- and three-byte sequences of §5.3 and ISO 2022.
_SEQUENCE = re.compile(
    rb"\x1b(?:\[[0-?]{0,64}[ -/]{0,8}[@-~]|\][^\x07\x1b\n]{0,200}(?:\x07|\x1b\\)|[ -/]{1,4}[0-~]|[0-Z\\^_`-~])"
)
_BEGUN = re.compile(rb"\x1b(?:\[[0-?]{0,64}[ -/]{0,8}|\][^\x07\x1b\n]{0,200}\x1b?|[ -/]{1,4})?\Z")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")


class Direction(StrEnum):
    IN = "<"
    OUT = ">"
    EVENT = "!"
    """The harness's own: connected, unplugged, stage reached."""


class Entry(NamedTuple):
    """time: seconds since the log began."""

    time: float
    console: str
    direction: Direction
    text: str

    def __str__(self) -> str:
        return f"[{self.time:12.6f}] {self.console:8} {self.direction} {self.text}"


def printable(data: bytes) -> str:
    """Any bytes as one line of text; what is no UTF-8 or no character shows as \\xNN."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", data.decode("utf-8", "backslashreplace"))


class Plain:
    """Takes carriage returns and terminals' control sequences out of a stream that comes in pieces."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        data = _SEQUENCE.sub(b"", (self._held + data).replace(b"\r", b""))
        begun = _BEGUN.search(data, max(0, len(data) - MAX_SEQUENCE))
        self._held = data[begun.start() :] if begun else b""
        return data[: len(data) - len(self._held)]


class Lines:
    """Cuts a stream into lines, each with the time of its first byte."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._began = 0.0

    @property
    def unfinished(self) -> bytes:
        return bytes(self._line)

    def feed(self, data: bytes, now: float) -> Iterator[tuple[float, bytes]]:
        at = 0
        while at < len(data):
            if not self._line:
                self._began = now
            room = at + MAX_LINE - len(self._line)
            end = data.find(b"\n", at, room)
            self._line += data[at : room if end < 0 else end]
            at = room if end < 0 else end + 1
            if end >= 0 or len(self._line) >= MAX_LINE:
                yield self.flush()

    def flush(self) -> tuple[float, bytes]:
        line = bytes(self._line)
        self._line.clear()
        return self._began, line


class Log:
    """One for all consoles of a board, written by their threads. path: None keeps it in memory alone."""

    def __init__(self, path: Path | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self.listener: Callable[[Entry], None] | None = None
        """Called with each line as it comes, by the threads of the consoles."""
        self._clock = clock
        self._start = clock()
        self._entries: deque[Entry] = deque(maxlen=MAX_ENTRIES)
        self._lock = threading.Lock()
        self._file = None if path is None else path.open("a", encoding="utf-8", errors="replace")
        self._written = 0

    def now(self) -> float:
        """Seconds since the log began."""
        return self._clock() - self._start

    def add(self, console: str, direction: Direction, data: bytes | str, at: float | None = None) -> None:
        text = printable(data) if isinstance(data, bytes) else data
        entry = Entry(self.now() if at is None else at, console, direction, text)
        with self._lock:
            self._entries.append(entry)
            if self._file is not None and self._written < MAX_FILE:
                self._written += self._file.write(f"{entry}\n")
                if self._written >= MAX_FILE:
                    self._file.write(f"the log ends here: it has {MAX_FILE} bytes\n")
                self._file.flush()
            if self.listener is not None:
                self.listener(entry)

    def entries(self, console: str | None = None) -> list[Entry]:
        """Of one console or of all, in the order of their times."""
        with self._lock:
            found = [entry for entry in self._entries if console in (None, entry.console)]
        return sorted(found, key=lambda entry: entry.time)

    def backwards(self, console: str, most: int = 1000) -> list[Entry]:
        """The last lines of a console, the newest first, of so many of all consoles."""
        with self._lock:
            last = list(islice(reversed(self._entries), most))
        return [entry for entry in last if entry.console == console]

    def close(self) -> None:
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None
