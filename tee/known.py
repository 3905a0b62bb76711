"""Memory of clients that an instance's engine knows between calls, so that the next call maps it at once.

Whoever takes a memory object away has it forgotten here first, from any thread; while a call is inside, the instance is
that call's, and it forgets on leaving.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from tee.mapping import Places

if TYPE_CHECKING:
    from north.memory import AddressSpace
    from south.platform import Pages

_MOST = 64
"""Memory objects; the one that is known longest makes room."""


class KnownMemory:
    """gate: held while a call uses the instance, or a thread makes the engine forget. places: where memory lies."""

    __slots__ = ("_gone", "_kept", "_space", "_table", "gate", "places")

    def __init__(self, space: AddressSpace) -> None:
        self._space = space
        self._table = space.table
        self._kept: dict[int, Pages] = {}
        self._gone: deque[Pages] = deque()
        self.gate = threading.Lock()
        self.places = Places()

    def keep(self, pages: Pages) -> None:
        """A call offers it: the engine knows it from now on."""
        if pages.identity not in self._kept:
            if len(self._kept) >= _MOST:
                self._table.forget(self._kept.pop(next(iter(self._kept))))
            self._table.keep(pages)
            self._kept[pages.identity] = pages

    def forget(self, pages: Pages) -> None:
        """The client's memory goes away: the engine no longer knows it, at the latest when the call inside ends.

        From any thread; no call offers that memory any more, or waits to. Nothing happens if it was never offered.
        """
        if pages.identity in self._kept or self.gate.locked() or self.places.holds(pages):
            self._gone.append(pages)
            self._forget_gone()

    def leave(self) -> None:
        """Open the gate after a call."""
        self.gate.release()
        if self._gone:
            self._forget_gone()

    def _forget_gone(self) -> None:
        """Whoever is inside does it on leaving; it looks at the list after it opened the gate, so none is missed."""
        while self._gone and self.gate.acquire(blocking=False):
            try:
                while self._gone:
                    pages = self._gone.popleft()
                    known = self._kept.pop(pages.identity, None)
                    if self.places.holds(pages):
                        self.places.clear(self._space)
                    if known is not None:
                        self._table.forget(known)
            finally:
                self.gate.release()

    def close(self) -> None:
        """With the instance, whose end this is; nobody is inside."""
        with self.gate:
            self.places.clear(self._space)
            self._table.close()
            self._kept.clear()
        self._gone.clear()
