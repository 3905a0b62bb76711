"""What a program costs the host besides its own pages: charged to the same quota, before it exists.

Costs are bytes, and upper bounds: `tests/hostile/test_bombs.py` compares them with what the allocator and the process
take. What lasts is charged; what a call copies is bounded where it is copied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from north.memory import AddressSpace


HANDLE = 1 << 10
"""Bytes of a handle's table entry and of a small object behind it, Python's."""


class Account:
    """One program's. space: whose quota it is; None: there is none. One thread at a time."""

    __slots__ = ("_space",)

    def __init__(self, space: AddressSpace | None = None) -> None:
        self._space = space

    def require(self, size: int) -> None:
        """OutOfMemory unless the quota allows it."""
        if self._space is not None:
            self._space.require(size)

    def charge(self, size: int) -> None:
        """OutOfMemory: the quota does not allow it, and nothing is charged."""
        if self._space is not None:
            self.require(size)
            self._space.charge(size)

    def credit(self, size: int) -> None:
        """What was charged is gone."""
        if self._space is not None:
            self._space.credit(size)
