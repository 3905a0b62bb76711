"""What an instance costs the host besides its own pages: charged to the same quota, before it exists.

Costs are bytes, and upper bounds: `tests/hostile/test_bombs.py` compares them with what the allocator and the process
take. What lasts is charged; what a call copies is bounded where it is copied (`PIECE`).
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from north.errors import OutOfMemory
from tee.abi import results
from tee.abi.algorithms import MainAlgorithm, OperationClass, main_algorithm, operation_class
from tee.abi.objects import BIGNUM_MAX_BITS, FIXED_BYTES, TYPES, AttrKind
from tee.errors import TeeError

if TYPE_CHECKING:
    from north.memory import AddressSpace
    from tee.abi.objects import TypeProps

PIECE = 1 << 18
"""Bytes that a system call copies at once where it works in pieces."""
COPY_MAX = 8 << 20
"""Bytes of a TA's memory that are copied at once where a call needs all of them; more is OUT_OF_MEMORY."""
BIGNUM_MAX_BYTES = 2 * BIGNUM_MAX_BITS // 8
"""Octets a TA may give for one big number, leading zeros included."""
HANDLE = 1 << 10
"""An object without its attributes, an enumerator, or a session: Python's, with the tables they stand in."""
STORED = 1 << 11
"""What a persistent object's handle takes more: its file, and who shares it."""
_ATTRIBUTE = 96
"""One attribute without its octets."""
_SYMMETRIC = 3 << 10
_KEYED = 8 << 10
"""An asymmetric or derivation operation with libcrypto's form of its key."""
_RSA = 16 << 10
"""The same of 4,096 bits, with the Montgomery forms of all its numbers."""
_LIGHT = frozenset((OperationClass.CIPHER, OperationClass.MAC, OperationClass.AE, OperationClass.DIGEST))


def object_cost(props: TypeProps | None) -> int:
    """Of an object of that type with all attributes as long as they may be; None: a data object."""
    return _OBJECTS[props.type] if props is not None else HANDLE


def _cost(props: TypeProps) -> int:
    return HANDLE + sum(_ATTRIBUTE + _room(attr.kind, props.alloc) for attr in props.attrs)


def _room(kind: AttrKind, alloc: int) -> int:
    if kind is AttrKind.BIGNUM:
        return BIGNUM_MAX_BYTES
    return alloc if kind is AttrKind.SECRET else FIXED_BYTES.get(kind, 0)


_OBJECTS = {type_: _cost(props) for type_, props in TYPES.items()}


@functools.lru_cache(256)
def operation_cost(algo: int) -> int:
    if operation_class(algo) in _LIGHT:
        return _SYMMETRIC
    return _RSA if main_algorithm(algo) == MainAlgorithm.RSA else _KEYED


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
