"""Typed parameters of a call into a TA, as the secure world takes them from any client.

No bytes are re-packed between a client in this process and the TA: a memref names memory, and the
world maps it. Values and sizes are updated in place when the call ends.
Source: GP TEE Client API v1.0 §4.3.6-4.3.8; optee_os utee_types.h for the kinds.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Protocol

from north.pages import read as read_pages
from north.pages import write as write_pages
from tee.abi import results
from tee.errors import TeeError

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


class BaseMemref:
    """A memref, wherever its memory is: what a pseudo TA is given, which reads and writes bytes and holds no pointer.

    size: bytes offered, and after the call what it reports. secure: the normal world cannot see these bytes.
    """

    __slots__ = ("capacity", "kind", "secure", "size")

    def __init__(self, kind: Kind, size: int, *, secure: bool) -> None:
        self.kind = kind
        self.size = size
        self.secure = secure
        self.capacity = size
        """Bytes that there are for this call, whatever `size` says by now."""

    @property
    def null(self) -> bool:
        """There is no memory, which is a different thing from no bytes."""
        raise NotImplementedError

    @property
    def va(self) -> int:
        """Where the calling TA has it; 0: the normal world is the caller."""
        return 0

    def offer(self) -> None:
        """A call to a pseudo TA begins. TeeError(BAD_PARAMETERS): its memory is smaller than that."""
        self.capacity = self.size

    def read(self) -> bytes:
        """A copy of the bytes offered."""
        raise NotImplementedError

    def put(self, data: bytes) -> None:
        """Deliver `data` and its size; SHORT_BUFFER with the needed size if it does not fit."""
        self.size = len(data)
        if len(data) > self.capacity or self.null:
            raise TeeError(results.SHORT_BUFFER)
        self._write(data)

    def _write(self, data: bytes) -> None:
        raise NotImplementedError


class Memref(BaseMemref):
    """A piece of memory offered to a TA.

    pages: the memory, mapped into the TA without a copy; None: a NULL memref (a different thing
    from an empty one). offset, size: bytes. After the call `size` is what the TA reported, which
    for SHORT_BUFFER may exceed what was offered. secure: the memory is a TA's, not the normal world's.
    """

    __slots__ = ("offset", "pages")

    def __init__(self, kind: Kind, pages: Pages | None, size: int, offset: int = 0, *, secure: bool = False) -> None:
        # Not by super().__init__: each memref of a client's call comes by here, and a call takes microseconds.
        self.kind = kind
        self.pages = pages
        self.size = self.capacity = size
        self.offset = offset
        self.secure = secure

    @property
    def null(self) -> bool:
        return self.pages is None

    def offer(self) -> None:
        pages = self.pages
        if pages is None:
            self.size = 0
        elif not 0 <= self.offset <= self.offset + self.size <= pages.size:
            raise TeeError(results.BAD_PARAMETERS, "the memref is larger than its memory")
        self.capacity = self.size

    def read(self) -> bytes:
        return b"" if self.pages is None else read_pages(self.pages, self.offset, self.capacity)

    def _write(self, data: bytes) -> None:
        assert self.pages is not None
        write_pages(self.pages, self.offset, data)

    def __repr__(self) -> str:
        where = "NULL" if self.pages is None else f"+{self.offset:#x}"
        return f"Memref({self.kind.name}, {where}, {self.size})"


class CallersMemory(Protocol):
    """A calling TA's memory, with its rights (`tee.usermemory.TaMemory`). TeeError(ACCESS_DENIED)."""

    def copy_in(self, va: int, size: int) -> bytes: ...

    def copy_out(self, va: int, data: bytes) -> None: ...


class TaMemref(BaseMemref):
    """Memory of a calling TA, which a pseudo TA borrows where the caller has it: its private memory, too.

    va, size: in the caller's memory, already checked; va 0: a NULL memref.
    """

    __slots__ = ("_memory", "_va")

    def __init__(self, kind: Kind, memory: CallersMemory, va: int, size: int, *, secure: bool) -> None:
        super().__init__(kind, size, secure=secure)
        self._memory = memory
        self._va = va

    @property
    def null(self) -> bool:
        return not self._va

    @property
    def va(self) -> int:
        return self._va

    def read(self) -> bytes:
        return self._memory.copy_in(self._va, self.capacity) if self.capacity else b""

    def _write(self, data: bytes) -> None:
        self._memory.copy_out(self._va, data)

    def __repr__(self) -> str:
        return f"TaMemref({self.kind.name}, {self._va:#x}, {self.size})"


Param = Value | Memref | None
"""What a TA can be given."""
AnyParam = Value | BaseMemref | None
"""What a pseudo TA can be given."""
