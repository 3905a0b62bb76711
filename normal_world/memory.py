"""Shared memory of the Python TEE Client API: allocated (the TA sees it) and registered (copied by direction).

Source: GP TEE Client API v1.0 §4.3.4, §4.5.5-4.5.7.
"""

from __future__ import annotations

import enum
import sys
import threading
import warnings
from typing import TYPE_CHECKING

from normal_world.closing import Closing
from tee.abi import results
from tee.abi.results import Origin
from tee.errors import TeeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from normal_world.client.ports import Memory, Way


class Direction(enum.IntFlag):
    """TEEC_MEM_INPUT, TEEC_MEM_OUTPUT: what TAs may do with shared memory."""

    INPUT = 1
    OUTPUT = 2
    INOUT = 3


class SharedMemory(Closing):
    """Made by `Context.allocate` and `Context.register`; let go by `close`, or at the end of a `with`.

    size: bytes. direction: what it may be offered for. memory: the way's.
    """

    def __init__(
        self,
        memory: Memory,
        size: int,
        direction: Direction,
        source: memoryview | None = None,
        *,
        drop: Callable[[Callable[[], None], str], None],
    ) -> None:
        """drop: told how to close it when it is lost without a close."""
        self.size = size
        self.direction = direction
        self.memory = memory
        self._source = source
        self._drop = drop
        self._closed = False

    @property
    def view(self) -> memoryview:
        """Its bytes. TeeError(BAD_STATE) once it is closed."""
        if self._closed:
            raise closed("shared memory")
        return self.memory.view if self._source is None else self._source

    @property
    def registered(self) -> bool:
        """It is a buffer of the caller's, which calls copy."""
        return self._source is not None

    @property
    def open(self) -> bool:
        return not self._closed

    def __buffer__(self, _: int) -> memoryview:  # Python 3.12: memoryview(shared), bytes(shared)
        return self.view

    def __bytes__(self) -> bytes:
        return bytes(self.view)

    def __len__(self) -> int:
        return self.size

    def close(self) -> None:
        """Once or more often. A call under way keeps what it uses."""
        if not self._closed:
            self._closed = True
            self.memory.close()

    def __del__(self) -> None:
        if not getattr(self, "_closed", True) and not sys.is_finalizing():
            warnings.warn(f"{self.size} bytes of shared memory were never closed", ResourceWarning, stacklevel=2)
            self._drop(self.memory.close, f"{self.size} bytes of shared memory were")

    def __repr__(self) -> str:
        return f"<SharedMemory {self.size} bytes, {self.direction.name}{', closed' if self._closed else ''}>"


class Shadows:
    """Memory that temporary memrefs pass through, kept for the next call."""

    KEPT = 8
    LARGEST = 4 << 20
    """Bytes; larger ones are not kept."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._lock = threading.Lock()
        self._idle: list[tuple[int, Memory]] = []

    def take(self, size: int) -> tuple[int, Memory]:
        """Of at least `size` bytes, with its own size. TeeError(OUT_OF_MEMORY)."""
        with self._lock:
            fitting = [entry for entry in self._idle if entry[0] >= size]
            if fitting:
                entry = min(fitting, key=lambda entry: entry[0])
                self._idle.remove(entry)
                return entry
        room = size
        if size <= self.LARGEST:  # it is kept: for the next one's size, too
            room = 4096
            while room < size:
                room *= 2
        return room, self._way.allocate(room)

    def give_back(self, entry: tuple[int, Memory]) -> None:
        with self._lock:
            self._idle.append(entry)
            # The least useful goes: what is too large to keep, else the smallest.
            drop = next((e for e in self._idle if e[0] > self.LARGEST), None)
            if drop is None and len(self._idle) > self.KEPT:
                drop = min(self._idle, key=lambda e: e[0])
            if drop is not None:
                self._idle.remove(drop)
        if drop is not None:
            drop[1].close()

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for _, memory in idle:
            memory.close()


def closed(what: str) -> TeeError:
    return TeeError(results.BAD_STATE, f"the {what} was closed", Origin.API)
