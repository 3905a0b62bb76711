"""How a program gets handles of what it opens."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from north.account import HANDLE, Account
from north.errors import BadAddress, OutOfMemory

if TYPE_CHECKING:
    from north.syscalls.declare import OutCell

Thing = TypeVar("Thing")


class HandleTable(Generic[Thing]):
    """What is open, by handle. limit: at once, more is OutOfMemory; account: pays for what is open.

    Handles are positive 31-bit integers, handed out upwards so that a closed one stays invalid.
    """

    MANY: ClassVar[str]
    """What they are, for messages."""

    def __init__(self, limit: int = 1024, account: Account | None = None) -> None:
        self._limit = limit
        self.account = account or Account()
        self._open: dict[int, Thing] = {}
        self._last = 0

    def __len__(self) -> int:
        return len(self._open)

    def cost(self, thing: Thing) -> int:
        """Bytes that it takes of the host while it is open."""
        return HANDLE

    def require_room(self, thing: Thing) -> None:
        """OutOfMemory unless `thing` may be open, too."""
        if len(self._open) >= self._limit:
            raise OutOfMemory(f"more than {self._limit} {self.MANY}")
        self.account.require(self.cost(thing))

    def add(self, thing: Thing) -> int:
        """A handle for it."""
        self.require_room(thing)
        self.account.charge(self.cost(thing))
        while True:
            self._last = self._last % 0x7FFFFFFF + 1
            if self._last not in self._open:
                break
        self._open[self._last] = thing
        return self._last

    def hand_out(self, thing: Thing, cell: OutCell) -> None:
        """Report the handle; without one, if `cell` cannot be written, nothing is open."""
        handle = self.add(thing)
        try:
            cell.put(handle)
        except BadAddress:
            self.remove(handle)
            raise

    def get(self, handle: int) -> Thing:
        """The personality's error if nothing has that handle."""
        raise NotImplementedError

    def remove(self, handle: int) -> Thing:
        """Forget a handle. As of `get`."""
        thing = self.get(handle)
        del self._open[handle]
        self.account.credit(self.cost(thing))
        return thing
