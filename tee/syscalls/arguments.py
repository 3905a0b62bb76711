"""Kinds of arguments that only OP-TEE's calls have, with the exact checks of its handlers.

=============  ==============================================================================
`InPrivate`    bytes [pointer, length]: as `In`, of memory that no one else can change
`Out`          `OutBuffer` [pointer, pointer to a 64-bit length]
`OutFixed`     `OutBuffer` [pointer, length]: the length is a value, nothing is reported back
=============  ==============================================================================

Of the crypto calls alone:

=============  ==============================================================================
`Chunk`        bytes [pointer, length]: NULL with a length is BAD_PARAMETERS, not a bad pointer
`ChunkPieces`  `Source`: as `Chunk`, copied where it is taken
`Into`         `OutBuffer` [pointer, pointer to a 64-bit length]: NULL is an address like any other;
               with `null` the pointer to the length may be NULL, and the capacity is then 0
`Attributes`   list of `Attribute` [pointer, count]: an array of `struct utee_attribute`
=============  ==============================================================================

Source: optee_os core/tee/tee_svc_cryp.c (copy_in_attrs, syscall_hash_update, tee_svc_cipher_update_helper).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from north.syscalls.declare import Argument, In, Source
from tee.abi import results
from tee.abi.attributes import FLAG_VALUE, UTEE_ATTRIBUTE
from tee.errors import TeeError

if TYPE_CHECKING:
    from north.syscalls.declare import UserMemory
    from tee.usermemory import TaMemory

MAX_ATTRIBUTES = 256
"""In one call; no object type has more than eight."""


class OutBuffer:
    """A buffer the TA offered for output. capacity: bytes."""

    __slots__ = ("_length_va", "_memory", "capacity", "va")

    def __init__(self, memory: UserMemory, va: int, capacity: int, length_va: int | None) -> None:
        self._memory = memory
        self.va = va
        self.capacity = capacity
        self._length_va = length_va

    def report(self, size: int) -> None:
        """Write `size` to the TA's length word, if it has one."""
        if self._length_va is not None:
            self._memory.copy_out(self._length_va, size.to_bytes(8, "little"))

    def need(self, size: int) -> None:
        """TeeError(SHORT_BUFFER), with the size reported, unless `size` bytes fit."""
        if size > self.capacity:
            self.report(size)
            raise TeeError(results.SHORT_BUFFER)

    def put_at(self, offset: int, data: bytes) -> None:
        """A piece of what `need` found room for; `report` gives the whole size."""
        if data:
            self._memory.copy_out(self.va + offset, data)

    def put(self, data: bytes) -> None:
        """Deliver `data`: SHORT_BUFFER with the needed size if it does not fit."""
        self.need(len(data))
        if data:
            self._memory.copy_out(self.va, data)
        self.report(len(data))


class InPrivate(In):
    __slots__ = ()

    def decode(self, memory: TaMemory, words: tuple[int, ...]) -> bytes:  # type: ignore[override]
        va, size = words
        return memory.copy_in_private(va, size) if size else b""


class Out(Argument):
    __slots__ = ()
    registers = 2

    def decode(self, memory: UserMemory, words: tuple[int, ...]) -> OutBuffer:
        va, length_va = words
        capacity = int.from_bytes(memory.copy_in(length_va, 8), "little")
        if va and capacity:
            memory.check(va, capacity, True)
        return OutBuffer(memory, va, capacity if va else 0, length_va)

    def show(self, memory: UserMemory, words: tuple[int, ...]) -> str:
        return f"{self.name}={words[0]:#x}[*{words[1]:#x}]"


class OutFixed(Argument):
    __slots__ = ()
    registers = 2

    def decode(self, memory: UserMemory, words: tuple[int, ...]) -> OutBuffer:
        va, size = words
        if size:
            memory.check(va, size, True)
        return OutBuffer(memory, va, size, None)

    def show(self, memory: UserMemory, words: tuple[int, ...]) -> str:
        return f"{self.name}={words[0]:#x}[{words[1]}]"


class Attribute:
    """One attribute a TA passed. `a` and `b` of a value; of a buffer its address and length in bytes.

    The buffer was checked readable, and is copied by `read` alone, so that a list of many
    attributes over one large buffer costs nothing.
    """

    __slots__ = ("_memory", "a", "b", "id")

    def __init__(self, memory: UserMemory, id_: int, a: int, b: int) -> None:
        self._memory = memory
        self.id = id_
        self.a = a
        self.b = b

    @property
    def is_value(self) -> bool:
        return bool(self.id & FLAG_VALUE)

    def read(self) -> bytes:
        """The buffer. Copied now: read once, and check `b` first."""
        return self._memory.copy_in(self.a, self.b) if self.b else b""


class Chunk(In):
    __slots__ = ()

    def decode(self, memory: UserMemory, words: tuple[int, ...]) -> bytes:
        va, size = words
        if not va and size:
            raise TeeError(results.BAD_PARAMETERS, f"{self.name}: NULL with a length")
        return memory.copy_in(va, size) if size else b""


class ChunkPieces(Chunk):
    __slots__ = ()

    def decode(self, memory: UserMemory, words: tuple[int, ...]) -> Source:  # type: ignore[override]
        va, size = words
        if not va and size:
            raise TeeError(results.BAD_PARAMETERS, f"{self.name}: NULL with a length")
        return Source(memory, va, size)


class Into(Out):
    __slots__ = ("null",)

    def __init__(self, name: str, null: bool = False) -> None:
        super().__init__(name)
        self.null = null

    def decode(self, memory: UserMemory, words: tuple[int, ...]) -> OutBuffer:
        va, length_va = words
        if not length_va and self.null:
            return OutBuffer(memory, va, 0, None)
        capacity = int.from_bytes(memory.copy_in(length_va, 8), "little")
        if capacity:
            memory.check(va, capacity, True)
        return OutBuffer(memory, va, capacity, length_va)


class Attributes(Argument):
    __slots__ = ()
    registers = 2

    def decode(self, memory: UserMemory, words: tuple[int, ...]) -> list[Attribute]:
        va, count = words
        if count > MAX_ATTRIBUTES:
            raise TeeError(results.OUT_OF_MEMORY, f"{count} attributes in one call")
        raw = memory.copy_in(va, count * UTEE_ATTRIBUTE.size) if count else b""
        return [_attribute(memory, *fields) for fields in UTEE_ATTRIBUTE.iter_unpack(raw)]

    def show(self, memory: UserMemory, words: tuple[int, ...]) -> str:
        va, count = words
        return f"{self.name}={va:#x}[{count}]"


def _attribute(memory: UserMemory, a: int, b: int, id_: int) -> Attribute:
    if id_ & FLAG_VALUE:
        return Attribute(memory, id_, a & 0xFFFFFFFF, b & 0xFFFFFFFF)
    mask = (1 << 8 * memory.word) - 1
    a, b = a & mask, b & mask
    if b:
        memory.check(a, b, False)
    return Attribute(memory, id_, a, b)
