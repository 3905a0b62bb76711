"""Parameters of the Python TEE Client API: values and memrefs, typed by direction.

Source: GP TEE Client API v1.0 §4.3.6-4.3.10, and what each direction means §3.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from normal_world.checks import WORD_MAX, whole
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
_NONE, _MEMREF = Kind.NONE, Kind.MEMREF_INPUT


class Value:
    """Two words of 32 bits. After a call `a` and `b` hold what the TA left, unless the kind is an input.

    Set to anything else than such a word they raise TypeError or ValueError at once, before any call.
    """

    __slots__ = ("_a", "_b", "_kind")

    def __init__(self, kind: Kind, a: int = 0, b: int = 0) -> None:
        """TypeError, ValueError."""
        self._kind = kind if type(kind) is Kind and _NONE < kind < _MEMREF else _kind(kind, "value")
        # What is a word already, nearly always, needs no more: a call takes microseconds.
        self._a = a if type(a) is int and 0 <= a <= WORD_MAX else _word(a)
        self._b = b if type(b) is int and 0 <= b <= WORD_MAX else _word(b)

    def answer(self, words: tuple[int, int]) -> None:
        """What a TEE answered, which has been looked at."""
        self._a, self._b = words

    @property
    def kind(self) -> Kind:
        return self._kind

    @property
    def a(self) -> int:
        return self._a

    @a.setter
    def a(self, word: int) -> None:
        self._a = _word(word)

    @property
    def b(self) -> int:
        return self._b

    @b.setter
    def b(self, word: int) -> None:
        self._b = _word(word)

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


class _Room(NamedTuple):
    """So many bytes that are not made yet."""

    size: int


class Memref:
    """Memory for the TA: a buffer of this process, shared memory or a part of it, or NULL.

    A buffer is copied at the beginning of the call, and back at its end if the TA may write it; shared memory
    is what the TA sees itself. Each call offers the whole of it again.

    Room that `output` makes for a number of bytes is made when a call needs it, or somebody looks at it.

    capacity: bytes offered. size: bytes the TA reported, after a call; for SHORT_BUFFER more than capacity.
    """

    __slots__ = ("_buffer", "_capacity", "_kind", "_offset", "_room", "_shared", "size")

    def __init__(self, kind: Kind, source: Source | _Room, offset: int = 0, size: int | None = None) -> None:
        """size: bytes from offset on, below 4 GiB; None: all the rest. TypeError, ValueError for what is not in the
        source.
        """
        from normal_world.memory import SharedMemory

        self._kind = kind if type(kind) is Kind and kind >= _MEMREF else _kind(kind, "memref")
        shared: SharedMemory | None = None
        buffer: memoryview | None = None
        unmade: int | None = None
        if type(offset) is not int or offset < 0:
            offset = whole(offset, "offset")
        if size is not None:
            size = whole(size, "size")
        if source is None:
            room = size or 0
        elif isinstance(source, SharedMemory):
            shared = source
            room = source.size
        elif isinstance(source, _Room):
            unmade = room = source.size
        else:
            buffer = bytes_of(source)
            if kind & OUTPUT and buffer.readonly:
                raise TypeError(f"a TA cannot write into {type(source).__name__}: give bytearray, or a size")
            room = buffer.nbytes
        if offset > room:
            raise ValueError(f"offset {offset} is outside of {room} bytes")
        capacity = room - offset if size is None else size
        if capacity > room - offset:
            raise ValueError(f"{size} bytes from {offset} on are not in {room}")
        if capacity > WORD_MAX:
            raise ValueError(f"{capacity} bytes: a memref is smaller than 4 GiB")
        self._shared, self._buffer, self._room = shared, buffer, unmade
        self._offset = offset
        self._capacity = self.size = capacity

    @property
    def kind(self) -> Kind:
        return self._kind

    @property
    def shared(self) -> SharedMemory | None:
        return self._shared

    @property
    def null(self) -> bool:
        return self._shared is None and not self.temporary

    @property
    def temporary(self) -> bool:
        """It has a buffer, which each call copies."""
        return self._buffer is not None or self._room is not None

    @property
    def buffer(self) -> memoryview | None:
        """TeeError(OUT_OF_MEMORY)."""
        if self._buffer is None and self._room is not None:
            try:
                self._buffer = memoryview(bytearray(self._room))
            except MemoryError:
                raise TeeError(results.OUT_OF_MEMORY, f"no {self._room} bytes for a memref", Origin.API) from None
        return self._buffer

    @property
    def offset(self) -> int:
        return self._offset

    @property
    def capacity(self) -> int:
        return self._capacity

    @classmethod
    def input(cls, source: Source, offset: int = 0, size: int | None = None) -> Memref:
        """None as source: a NULL memref, of `size` bytes."""
        return cls(Kind.MEMREF_INPUT, source, offset, size)

    @classmethod
    def output(cls, target: Source | int, offset: int = 0, size: int | None = None) -> Memref:
        """target: a writable buffer, shared memory, or how many bytes to make room for."""
        if isinstance(target, int) or _is_integer(target):
            return cls(Kind.MEMREF_OUTPUT, _Room(whole(target, "size")), offset, size)
        return cls(Kind.MEMREF_OUTPUT, target, offset, size)

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
        what = "NULL" if self.null else f"+{self.offset:#x}"
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
    if type(given) is bytes:
        return Memref(_MEMREF, given)
    if isinstance(given, int) or _is_integer(given):
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


def _is_integer(given: Any) -> bool:
    """NumPy's integers, which are buffers as well: what looks like a number is passed as a value. Its arrays have an
    `__index__`, too, which refuses all but those of one integer without a dimension.
    """
    return hasattr(type(given), "__index__") and getattr(given, "shape", ()) == ()


def _kind(kind: Any, what: str) -> Kind:
    """Of a number; never one that is a kind already."""
    if isinstance(kind, bool) or not isinstance(kind, int):
        raise TypeError(f"{type(kind).__name__} is no kind of {what}")
    if kind not in ((1, 2, 3) if what == "value" else (5, 6, 7)):
        raise ValueError(f"{int(kind)} is no kind of {what}")
    return Kind(kind)


def _word(word: Any) -> int:
    """Flags are words of a value, too."""
    return whole(int(word) if isinstance(word, bool) else word, "a word of a value")


def bytes_of(source: Any) -> memoryview:
    """The bytes of a buffer. TypeError."""
    try:
        view = memoryview(source)
        if view.format == "B" and view.c_contiguous and view.ndim == 1:
            return view
    except TypeError:
        raise TypeError(f"{type(source).__name__} is no memory: give a buffer, shared memory or None") from None
    try:
        return view.cast("B")
    except TypeError:
        raise TypeError(f"{type(source).__name__}: a memref's bytes lie one after the other") from None


def fits(kind: Kind, direction: int) -> bool:
    """Whether shared memory of that direction may be used so."""
    return not kind & _DIRECTION & ~direction


def wrong_direction(memref: Memref) -> TeeError:
    return TeeError(results.BAD_PARAMETERS, f"{memref!r}: the shared memory was not made for that", Origin.API)
