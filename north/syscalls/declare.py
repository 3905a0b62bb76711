"""System calls as data: what a declaration is made of, and how arguments are decoded from it.

A `Syscall` names its arguments with their direction and the argument that carries a buffer's
length. Decoding, user-memory checks, tracing and the documentation derive from that one place.

What a handler receives for each kind of argument (registers in brackets); a personality adds kinds of its own:

=============  ======================================================================
`Value`        int [the register]
`Handle`       int [the register], a kernel-side object's number
`In`           bytes [pointer, length]: copied once, checked readable by the program
`In(null=True)` bytes, or None for a NULL pointer
`InPieces`     `Source` [pointer, length]: checked readable by the program, copied where it is taken
`Text`         str [pointer, length]: as `In`, decoded up to the first NUL
`Cell`         `OutCell` [pointer]: one 32- or 64-bit word the call fills
`Pointer`      int [the register], for structures a handler reads itself
=============  ======================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from north.errors import BadAddress

if TYPE_CHECKING:
    from collections.abc import Iterator

PIECE = 1 << 18
"""Bytes that a system call copies at once where it works in pieces."""
_SHOWN = 32  # bytes of a buffer that a trace prints


class UserMemory(Protocol):
    """Checked access to a program's own memory: what the program may not touch, none of its calls may either.

    word: bytes.
    """

    word: int

    def copy_in(self, va: int, size: int) -> bytes:
        """BadAddress unless the program may read all of it."""

    def copy_out(self, va: int, data: bytes) -> None:
        """BadAddress unless the program may write all of it."""

    def check(self, va: int, size: int, write: bool) -> None:
        """BadAddress unless the program may read, or read and write, all of it."""


class Source:
    """Bytes a program offered, checked readable. A slice is a copy, made then; what is needed twice is copied once."""

    __slots__ = ("_memory", "_size", "_va")

    def __init__(self, memory: UserMemory, va: int, size: int) -> None:
        if size:
            memory.check(va, size, False)
        self._memory = memory
        self._va = va
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, which: slice) -> bytes:
        """Of consecutive bytes."""
        start, stop, _ = which.indices(self._size)
        return self._memory.copy_in(self._va + start, stop - start) if stop > start else b""

    def pieces(self, first: int = 0, last: int | None = None) -> Iterator[tuple[int, bytes]]:
        """(offset, bytes) of pieces of [first, last), the whole by default."""
        last = self._size if last is None else last
        for at in range(first, last, PIECE):
            yield at, self[at : min(at + PIECE, last)]


class OutCell:
    """A word the program offered for output."""

    __slots__ = ("_memory", "_size", "va")

    def __init__(self, memory: UserMemory, va: int, size: int) -> None:
        self._memory = memory
        self._size = size
        self.va = va

    def put(self, value: int) -> None:
        self._memory.copy_out(self.va, (value & (1 << 8 * self._size) - 1).to_bytes(self._size, "little"))

    def require(self) -> None:
        """BadAddress unless `put` would work: for use before what cannot be undone."""
        self._memory.check(self.va, self._size, True)

    def get(self) -> int:
        return int.from_bytes(self._memory.copy_in(self.va, self._size), "little")


class Argument:
    """One argument. registers: how many argument registers it takes; plain: the handler gets the register."""

    __slots__ = ("name",)
    registers = 1
    plain = False

    def __init__(self, name: str) -> None:
        self.name = name

    def decode(self, memory: UserMemory, words: tuple[int, ...]) -> Any:
        raise NotImplementedError

    def show(self, memory: UserMemory, words: tuple[int, ...]) -> str:
        """The argument as a trace prints it."""
        return f"{self.name}={words[0]:#x}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


class Value(Argument):
    __slots__ = ()
    plain = True

    def decode(self, memory: UserMemory, words: tuple[int, ...]) -> int:
        return words[0]


class Handle(Value):
    __slots__ = ()


class Pointer(Value):
    __slots__ = ()


class In(Argument):
    __slots__ = ("null",)
    registers = 2

    def __init__(self, name: str, null: bool = False) -> None:
        super().__init__(name)
        self.null = null

    def decode(self, memory: UserMemory, words: tuple[int, ...]) -> bytes | None:
        va, size = words
        if not va and self.null:
            return None
        return memory.copy_in(va, size) if size else b""

    def show(self, memory: UserMemory, words: tuple[int, ...]) -> str:
        va, size = words
        try:
            head = memory.copy_in(va, min(size, _SHOWN)).hex()
        except BadAddress:
            return f"{self.name}={va:#x}[{size}]"
        return f"{self.name}={head}{'...' if size > _SHOWN else ''}[{size}]"


class InPieces(In):
    __slots__ = ()

    def decode(self, memory: UserMemory, words: tuple[int, ...]) -> Source:  # type: ignore[override]
        return Source(memory, *words)


class Text(Argument):
    __slots__ = ()
    registers = 2

    def decode(self, memory: UserMemory, words: tuple[int, ...]) -> str:
        va, size = words
        raw = memory.copy_in(va, size) if size else b""
        return raw.partition(b"\0")[0].decode("utf-8", "replace")

    def show(self, memory: UserMemory, words: tuple[int, ...]) -> str:
        try:
            text = self.decode(memory, (words[0], min(words[1], 256)))
        except BadAddress:
            return f"{self.name}={words[0]:#x}[{words[1]}]"
        return f"{self.name}={text!r}"


class Cell(Argument):
    __slots__ = ("size",)

    def __init__(self, name: str, size: int = 4) -> None:
        super().__init__(name)
        self.size = size

    def decode(self, memory: UserMemory, words: tuple[int, ...]) -> OutCell:
        return OutCell(memory, words[0], self.size)


class Syscall(NamedTuple):
    """One row of a personality's table.

    handler: `module.function` of the personality's services that answers, "" when nobody in Python does: C alone
    (`native`), or nothing yet and `reason` says why; the call then answers `unserved`, None: as the personality answers
    what it does not implement. native: the call's name if C answers first, else "".
    source: the file that defines the meaning.
    """

    number: int
    name: str
    args: tuple[Argument, ...]
    handler: str
    source: str
    native: str = ""
    reason: str = ""
    unserved: int | None = None

    def decode(self, memory: UserMemory, words: tuple[int, ...]) -> list[Any]:
        """Handler arguments from argument registers; BadAddress if a pointer is not the program's to use."""
        out: list[Any] = []
        at = 0
        for arg in self.args:
            if arg.plain:
                out.append(words[at])
                at += 1
            else:
                out.append(arg.decode(memory, words[at : at + arg.registers]))
                at += arg.registers
        return out

    def show(self, memory: UserMemory, words: tuple[int, ...]) -> tuple[str, ...]:
        """The arguments as a trace prints them; never fails, changes nothing."""
        out: list[str] = []
        at = 0
        for arg in self.args:
            out.append(arg.show(memory, words[at : at + arg.registers]))
            at += arg.registers
        return tuple(out)
