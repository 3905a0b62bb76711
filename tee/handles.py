"""How one TA instance gets handles of what it opens."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from tee.abi import results
from tee.errors import TeeError

if TYPE_CHECKING:
    from tee.syscalls.declare import OutCell

Thing = TypeVar("Thing")


class HandleTable(Generic[Thing]):
    """What is open, by handle. limit: at once, more is OUT_OF_MEMORY.

    Handles are positive 31-bit integers, handed out upwards so that a closed one stays invalid.
    """

    MANY: ClassVar[str]
    """What they are, for messages."""

    def __init__(self, limit: int = 1024) -> None:
        self._limit = limit
        self._open: dict[int, Thing] = {}
        self._last = 0

    def __len__(self) -> int:
        return len(self._open)

    def require_room(self) -> None:
        """OUT_OF_MEMORY unless one more may be open."""
        if len(self._open) >= self._limit:
            raise TeeError(results.OUT_OF_MEMORY, f"more than {self._limit} {self.MANY}")

    def add(self, thing: Thing) -> int:
        """A handle for it."""
        self.require_room()
        while True:
            self._last = self._last % 0x7FFFFFFF + 1
            if self._last not in self._open:
                break
        self._open[self._last] = thing
        return self._last

    def hand_out(self, thing: Thing, cell: OutCell) -> None:
        """Tell the TA the handle; without one, if `cell` cannot be written, nothing is open."""
        handle = self.add(thing)
        try:
            cell.put(handle)
        except TeeError:
            self.remove(handle)
            raise

    def get(self, handle: int) -> Thing:
        """TeeError if nothing has that handle: which one differs."""
        raise NotImplementedError

    def remove(self, handle: int) -> Thing:
        """Forget a handle. As of `get`."""
        thing = self.get(handle)
        del self._open[handle]
        return thing
