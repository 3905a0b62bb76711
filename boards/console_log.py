"""What was said on the consoles of a board: lines with their times, in memory (bounded) and in a file.

A line's time is that of its first byte: the one that tells in which order two UARTs spoke.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import threading
import time
from collections import deque
from contextlib import suppress
from datetime import datetime
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from south.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MAX_LINE = 4096
"""Bytes; a longer line is kept in pieces."""
MAX_ENTRIES = 50_000
"""Lines in memory; older ones are in the file alone."""
JUST_NOW = 256
"""Of the newest lines, among which one is that had no end a moment ago."""
MAX_FILE = 1 << 30
"""Bytes; a board that prints without end must not fill the disk."""
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

    def begins(self, line: Entry) -> bool:
        """Whether that is the whole line of which this is the beginning."""
        return self[:3] == line[:3] and line.text.startswith(self.text)

    def __str__(self) -> str:
        return f"[{self.time:12.6f}] {self.console:8} {self.direction} {self.text}"


def printable(data: bytes) -> str:
    """Any bytes as one line of text; what is no UTF-8 or no character shows as \\xNN."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", data.decode("utf-8", "backslashreplace"))


class Lines:
    """Cuts a stream into lines, each with the time of its first byte."""

    def __init__(self) -> None:
        self._line = bytearray()
        self.began = 0.0
        """Of the line that is unfinished: when its first byte came."""

    @property
    def unfinished(self) -> bytes:
        return bytes(self._line)

    def feed(self, data: bytes, now: float) -> Iterator[tuple[float, bytes]]:
        at = 0
        while at < len(data):
            if not self._line:
                self.began = now
            room = at + MAX_LINE - len(self._line)
            end = data.find(b"\n", at, room)
            self._line += data[at : room if end < 0 else end]
            at = room if end < 0 else end + 1
            if end >= 0 or len(self._line) >= MAX_LINE:
                yield self.flush()

    def flush(self) -> tuple[float, bytes]:
        line = bytes(self._line)
        self._line.clear()
        return self.began, line


class Log:
    """One for all consoles of a board, written by their threads. path: None keeps it in memory alone.

    Each line of the file begins with its date and time. A file that cannot be written (a full disk) ends nothing:
    lines that are missing in it are counted, and it goes on when it can. UsageError if another run has the file.
    """

    def __init__(
        self,
        path: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self.listener: Callable[[Entry], None] | None = None
        """Called with each line as it comes, by the threads of the consoles; not again if it fails."""
        self.unfinished: dict[str, Callable[[], Entry | None]] = {}
        """By console: the line that has no end yet."""
        self.dropped = 0
        """Lines that are no longer in memory."""
        self._clock = clock
        self._start = clock()
        self._wall = wall()
        self._entries: deque[Entry] = deque(maxlen=MAX_ENTRIES)
        self._lock = threading.Lock()
        self._file = None if path is None else _LogFile(path)

    def now(self) -> float:
        """Seconds since the log began."""
        return self._clock() - self._start

    def date(self, at: float = 0.0) -> datetime:
        """Of a time of this log, in this machine's time zone."""
        return datetime.fromtimestamp(self._wall + at).astimezone()

    def line(self, entry: Entry) -> str:
        """As it stands in a file: with date and time."""
        return f"{self.date(entry.time).isoformat(' ', 'milliseconds')} {entry}\n"

    def add(self, console: str, direction: Direction, data: bytes | str, at: float | None = None) -> None:
        text = printable(data) if isinstance(data, bytes) else data
        entry = Entry(self.now() if at is None else at, console, direction, text)
        with self._lock:
            self.dropped += len(self._entries) == MAX_ENTRIES
            self._entries.append(entry)
            if self._file is not None:
                self._file.write(self.line(entry).encode("utf-8", "replace"))
            listener = self.listener
            if listener is not None:
                try:
                    listener(entry)
                except Exception:  # whatever it is, the consoles are read on
                    self.listener = None

    @property
    def trouble(self) -> str:
        """What is missing in the file, and why; "" if nothing is."""
        return "" if self._file is None else self._file.trouble

    def entries(self, console: str | None = None) -> list[Entry]:
        """Of one console or of all, in the order of their times; lines without an end, too."""
        begun = [entry for source in list(self.unfinished.values()) if (entry := source()) is not None]
        with self._lock:
            found = [entry for entry in self._entries if console in (None, entry.console)]
        for entry in begun:
            if console in (None, entry.console) and not any(entry.begins(whole) for whole in found[-JUST_NOW:]):
                found.append(entry)
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


class _LogFile:
    """That of one run: what an earlier one left in it goes, and no other may have it at the same time."""

    def __init__(self, path: Path) -> None:
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        except OSError as problem:
            raise UsageError(f"{path}: {problem.strerror}") from None
        if stat.S_ISREG(os.fstat(self._fd).st_mode):
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(self._fd)
                raise UsageError(f"{path}: another run writes here; give each a folder of its own") from None
            os.ftruncate(self._fd, 0)
        self._path = path
        self._written = 0
        self._missing = 0
        self._torn = False
        """The last line was written in part."""
        self._why = "the disk is full"

    @property
    def trouble(self) -> str:
        return f"{self._path}: {self._missing} lines are missing: {self._why}" if self._missing else ""

    def write(self, line: bytes) -> None:
        if self._written >= MAX_FILE:
            return
        if self._torn:
            line = b"\n" + line
        try:
            done = os.write(self._fd, line)
        except OSError as problem:
            self._missing += 1
            self._why = problem.strerror or str(problem)
            return
        self._written += done
        self._torn = done < len(line)
        self._missing += self._torn
        if self._written >= MAX_FILE:
            with suppress(OSError):
                os.write(self._fd, b"the log ends here: it has %d bytes\n" % MAX_FILE)

    def close(self) -> None:
        if self._missing:
            with suppress(OSError):
                os.write(self._fd, f"({self.trouble})\n".encode("utf-8", "replace"))
        with suppress(OSError):
            os.close(self._fd)
