"""What an instance costs the host besides its own pages: charged to the same quota, before it exists.

Costs are bytes, and upper bounds: `tests/hostile/test_bombs.py` compares them with what the allocator and the process
take. What lasts is charged; what a call copies is bounded where it is copied (`PIECE`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from north.errors import OutOfMemory
from tee.abi import results
from tee.errors import TeeError

if TYPE_CHECKING:
    from north.memory import AddressSpace

PIECE = 1 << 18
"""Bytes that a system call copies at once where it works in pieces."""
WHOLE = 4 << 20
"""Bytes of an object's data that are copied at once, which is quicker than block by block."""
COPY_MAX = 8 << 20
"""Bytes of a TA's memory that are copied at once where a call needs all of them; more is OUT_OF_MEMORY."""
HANDLE = 1 << 10
"""An object without its attributes, an enumerator, or a session: Python's, with the tables they stand in."""
STORED = 1 << 11
"""What a persistent object's handle takes more: its file, and who shares it."""


class Account:
    """One instance's. space: whose quota it is; None: there is none. One thread at a time."""

    __slots__ = ("_space",)

    def __init__(self, space: AddressSpace | None = None) -> None:
        self._space = space

    def require(self, size: int) -> None:
        """OUT_OF_MEMORY unless the quota allows it."""
        if self._space is not None:
            try:
                self._space.require(size)
            except OutOfMemory as error:
                raise TeeError(results.OUT_OF_MEMORY, str(error)) from error

    def charge(self, size: int) -> None:
        """OUT_OF_MEMORY: the quota does not allow it, and nothing is charged."""
        if self._space is not None:
            self.require(size)
            self._space.charge(size)

    def credit(self, size: int) -> None:
        """What was charged is gone."""
        if self._space is not None:
            self._space.credit(size)
