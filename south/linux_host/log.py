"""A log that takes what it can: text that cannot be written is dropped and counted, and nothing fails for it.

A log's disk is full, its reader has gone or does not read. The thread that logs is inside a client's call, which must
not end in an error for that, and must not wait for ever either.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import Protocol

PIECE = 4096
"""Bytes that a pipe takes without blocking once poll(2) reports it writable (PIPE_BUF, linux/limits.h)."""


class Stream(Protocol):
    """The part of a text file that is needed; a stream of a test has no descriptor."""

    def write(self, text: str, /) -> object: ...

    def flush(self) -> object: ...

    def fileno(self) -> int: ...


class Log:
    """stream: where text goes, asked for each time.

    patience: seconds to wait for a reader that does not read, None: for ever. Once it was waited for in vain, no text
    waits until it reads again. lost: pieces of text that were dropped.
    """

    def __init__(self, stream: Callable[[], Stream | None], patience: float | None = None) -> None:
        self.patience = patience
        self.lost = 0
        self._stream = stream
        self._lock = threading.Lock()
        self._stalled = False

    def write(self, text: str) -> None:
        """Never raises for what becomes of the text."""
        with self._lock:
            try:
                self._write(text)
            except (OSError, ValueError, AttributeError):  # ValueError: closed; AttributeError: there is none
                self.lost += 1

    def _write(self, text: str) -> None:
        stream = self._stream()
        if stream is None:
            raise ValueError("no standard error")
        try:
            descriptor = stream.fileno()
        except (OSError, ValueError, AttributeError):
            stream.write(text)
            stream.flush()
            return
        # Past the stream's buffer: text that once could not be written would stay there and fail everything after it.
        encoding = getattr(stream, "encoding", None) or "utf-8"
        self._write_bytes(descriptor, memoryview(text.encode(encoding, "backslashreplace")))

    def _write_bytes(self, descriptor: int, data: memoryview) -> None:
        while data:
            if self.patience is not None or self._stalled:
                self._wait(descriptor)
            try:
                data = data[os.write(descriptor, data[:PIECE]) :]
            except BlockingIOError:  # O_NONBLOCK, perhaps by somebody else who has the same file open
                self._wait(descriptor)
        self._stalled = False

    def _wait(self, descriptor: int) -> None:
        """Until it takes text. OSError if that lasts too long."""
        import select

        patience = 0.0 if self._stalled else self.patience
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        if not poll.poll(None if patience is None else patience * 1000):
            self._stalled = True
            raise TimeoutError("nobody reads")


STDERR = Log(lambda: sys.stderr)
"""Standard error of this process, whatever it is at the time."""
