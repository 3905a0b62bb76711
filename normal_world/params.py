"""Parameters of the Python TEE Client API: values and memrefs, typed by direction.

Source: GP TEE Client API v1.0 §4.3.6-4.3.10, and what each direction means §3.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tee.abi import results
from tee.abi.results import Origin
from tee.errors import TeeError
from tee.params import Kind

if TYPE_CHECKING:
    import array
    import mmap
    from typing import TypeAlias

    from normal_world.memory import SharedMemory

    Source: TypeAlias = bytes | bytearray | memoryview | mmap.mmap | array.array[Any] | SharedMemory | None

__all__ = ["Kind", "Memref", "Param", "Value", "as_param"]

_DIRECTION = 3
"""Of a kind's bits: 1 input, 2 output, 3 both, for values and memrefs alike."""
INPUT, OUTPUT = 1, 2


class Value:
    """Two words of 32 bits. After a call `a` and `b` hold what the TA left, unless the kind is an input."""

    __slots__ = ("a", "b", "kind")

    def __init__(self, kind: Kind, a: int = 0, b: int = 0) -> None:
        for word in (a, b):
            if not 0 <= word < 1 << 32:
                raise ValueError(f"{word}: a value's words have 32 bits, without a sign")
        self.kind = kind
        self.a = a
        self.b = b

    @classmethod
    def input(cls, a: int = 0, b: int = 0) -> Value:
        return cls(Kind.VALUE_INPUT, a, b)

    @classmethod
    def output(cls) -> Value:
        return cls(Kind.VALUE_OUTPUT)

    @classmethod
    def inout(cls, a: int = 0, b: int = 0) -> Value:
        return cls(Kind.VALUE_INOUT, a, b)

    def __repr__(self) -> str:
        return f"Value.{self.kind.name[6:].lower()}({self.a:#x}, {self.b:#x})"


class Memref:
    """Memory for the TA: a buffer of this process, shared memory or a part of it, or NULL.

    A buffer is copied at the beginning of the call, and back at its end if the TA may write it; shared memory
    is what the TA sees itself. Each call offers the whole of it again.

    capacity: bytes offered. size: bytes the TA reported, after a call; for SHORT_BUFFER more than capacity.
    """

    __slots__ = ("buffer", "capacity", "kind", "offset", "shared", "size")

    def __init__(self, kind: Kind, source: Source, offset: int = 0, size: int | None = None) -> None:
        """size: bytes from offset on; None: all the rest. TypeError, ValueError for what is not in the source."""
        from normal_world.memory import SharedMemory

        self.kind = kind
        self.shared: SharedMemory | None = None
        self.buffer: memoryview | None = None
        if source is None:
            room = size or 0
        elif isinstance(source, SharedMemory):
            self.shared = source
            room = source.size
        else:
            self.buffer = memoryview(source).cast("B")
            if kind & OUTPUT and self.buffer.readonly:
                raise TypeError(f"a TA cannot write into {type(source).__name__}: give bytearray, or a size")
            room = self.buffer.nbytes
        if offset < 0 or offset > room:
            raise ValueError(f"offset {offset} is outside of {room} bytes")
        self.capacity = room - offset if size is None else size
        if not 0 <= self.capacity <= room - offset:
            raise ValueError(f"{size} bytes from {offset} on are not in {room}")
        self.offset = offset
        self.size = self.capacity

    @classmethod
    def input(cls, source: Source, offset: int = 0, size: int | None = None) -> Memref:
        """None as source: a NULL memref, of `size` bytes."""
        return cls(Kind.MEMREF_INPUT, source, offset, size)

    @classmethod
    def output(cls, target: Source | int, offset: int = 0, size: int | None = None) -> Memref:
        """target: a writable buffer, shared memory, or how many bytes to make room for."""
        return cls(Kind.MEMREF_OUTPUT, bytearray(target) if isinstance(target, int) else target, offset, size)

    @classmethod
    def inout(cls, target: Source, offset: int = 0, size: int | None = None) -> Memref:
        return cls(Kind.MEMREF_INOUT, target, offset, size)

    @property
    def data(self) -> memoryview:
        """What the TA left: `size` bytes, as far as there was room."""
        end = self.offset + min(self.size, self.capacity)
        if self.shared is not None:
            return self.shared.view[self.offset : end]
        return self.buffer[self.offset : end] if self.buffer is not None else memoryview(b"")

    def __bytes__(self) -> bytes:
        return bytes(self.data)

    def __repr__(self) -> str:
        what = "NULL" if self.shared is None and self.buffer is None else f"+{self.offset:#x}"
        return f"Memref.{self.kind.name[7:].lower()}({what}, {self.size} of {self.capacity} bytes)"


Param = Value | Memref | None


def as_param(given: Any) -> Param:
    """What a call takes for a parameter, typed: an int or a pair of them is an input value; bytes, and whatever
    else cannot be written, an input memref; a writable buffer an inout memref; shared memory one of its direction.
    TypeError, ValueError.
    """
    from normal_world.memory import SharedMemory

    if given is None or isinstance(given, (Value, Memref)):
        return given
    if isinstance(given, int):
        return Value.input(given)
    if isinstance(given, tuple) and len(given) == 2:
        return Value.input(*given)
    if isinstance(given, SharedMemory):
        return Memref(Kind(4 + given.direction), given)
    try:
        readonly = memoryview(given).readonly
    except TypeError:
        raise TypeError(f"{type(given).__name__} is no parameter: give a Value, a Memref or a buffer") from None
    return Memref.input(given) if readonly else Memref.inout(given)


def fits(kind: Kind, direction: int) -> bool:
    """Whether shared memory of that direction may be used so."""
    return not kind & _DIRECTION & ~direction


def wrong_direction(memref: Memref) -> TeeError:
    return TeeError(results.BAD_PARAMETERS, f"{memref!r}: the shared memory was not made for that", Origin.API)
