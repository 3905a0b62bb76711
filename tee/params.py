"""Typed parameters of a call into a TA, as the secure world takes them from any client.

No bytes are re-packed between a client in this process and the TA: a memref names memory, and the
world maps it. Values and sizes are updated in place when the call ends.
Source: GP TEE Client API v1.0 §4.3.6-4.3.8; optee_os utee_types.h for the kinds.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from south.platform import Pages


class Kind(enum.IntEnum):
    """TEE_PARAM_TYPE_*; four of them, 4 bits each, make a TA's paramTypes."""

    NONE = 0
    VALUE_INPUT = 1
    VALUE_OUTPUT = 2
    VALUE_INOUT = 3
    MEMREF_INPUT = 5
    MEMREF_OUTPUT = 6
    MEMREF_INOUT = 7


class Value:
    """Two 32-bit words. After the call `a` and `b` hold what the TA left, if the kind is an output."""

    __slots__ = ("a", "b", "kind")

    def __init__(self, kind: Kind, a: int = 0, b: int = 0) -> None:
        self.kind = kind
        self.a = a
        self.b = b

    def __repr__(self) -> str:
        return f"Value({self.kind.name}, {self.a:#x}, {self.b:#x})"


class Memref:
    """A piece of memory offered to a TA.

    pages: the memory, mapped into the TA without a copy; None: a NULL memref (a different thing
    from an empty one). offset, size: bytes. After the call `size` is what the TA reported, which
    for SHORT_BUFFER may exceed what was offered. secure: the memory is a TA's, not the normal world's.
    """

    __slots__ = ("kind", "offset", "pages", "secure", "size")

    def __init__(self, kind: Kind, pages: Pages | None, size: int, offset: int = 0, *, secure: bool = False) -> None:
        self.kind = kind
        self.pages = pages
        self.size = size
        self.offset = offset
        self.secure = secure

    def __repr__(self) -> str:
        where = "NULL" if self.pages is None else f"+{self.offset:#x}"
        return f"Memref({self.kind.name}, {where}, {self.size})"


Param = Value | Memref | None
