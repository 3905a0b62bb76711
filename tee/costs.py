"""How many bytes of the host's a TA's objects and operations take at most; apart, for most short runs have none."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from north.account import HANDLE
from tee.abi.algorithms import MainAlgorithm, OperationClass, main_algorithm, operation_class
from tee.abi.objects import BIGNUM_MAX_BITS, FIXED_BYTES, TYPES, AttrKind

if TYPE_CHECKING:
    from tee.abi.objects import TypeProps

WHOLE = 4 << 20
"""Bytes of an object's data that are copied at once, which is quicker than block by block."""
STORED = 1 << 11
"""What a persistent object's handle takes more than `HANDLE`: its file, and who shares it."""
BIGNUM_MAX_BYTES = 2 * BIGNUM_MAX_BITS // 8
"""Octets a TA may give for one big number, leading zeros included."""
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
