"""A TA without a CPU: memory in bytearrays, and system calls made through the declared rows."""

from __future__ import annotations

import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, cast
from uuid import UUID

from north.errors import OutOfMemory
from south.linux_host.host import NullConsole
from tee import services
from tee.abi import results
from tee.abi.attributes import FLAG_VALUE, UTEE_ATTRIBUTE
from tee.abi.results import Result
from tee.errors import AccessDenied, TeeError
from tee.objects import ObjectTable
from tee.storage.store import EnumeratorTable, TrustedStorage
from tee.syscalls import crypto, properties, storage
from tests.fakes import FixedRoot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from north.syscalls.declare import Syscall
    from south.platform import Clock, Engine, PageSource, Platform
    from tee.crypto.task import Task
    from tee.services.properties import Implementation

ROWS = {row.name: row for row in (*crypto.ROWS, *properties.ROWS, *storage.ROWS)}
BASE = 0x40000000
SIZE = 1 << 20


def handler(row: Syscall) -> Callable[..., Result | None]:
    """What serves a row; LookupError if nothing does."""
    return cast("Callable[..., Result | None]", services.find(row.handler))


class FakeMemory:
    """One writable region at BASE, and the last page of it read-only."""

    def __init__(self, word: int = 8) -> None:
        self.word = word
        self.bytes = bytearray(SIZE)
        self.read_only = BASE + SIZE - 4096
        self._next = BASE

    def check(self, va: int, size: int, write: bool) -> None:
        if not BASE <= va <= va + size <= BASE + SIZE or (write and va + size > self.read_only):
            raise AccessDenied

    def copy_in(self, va: int, size: int) -> bytes:
        self.check(va, size, False)
        return bytes(self.bytes[va - BASE : va - BASE + size])

    def copy_in_private(self, va: int, size: int) -> bytes:
        return self.copy_in(va, size)

    def copy_out(self, va: int, data: bytes) -> None:
        self.check(va, len(data), True)
        self.bytes[va - BASE : va - BASE + len(data)] = data

    def place(self, data: bytes) -> int:
        """Address of a fresh copy of `data`."""
        va = self._next
        self._next += len(data) + 15 & -16
        assert self._next < self.read_only
        self.copy_out(va, data)
        return va

    @contextmanager
    def scratch(self) -> Iterator[None]:
        """What is placed meanwhile is forgotten afterwards."""
        mark = self._next
        yield
        self._next = mark

    def word_at(self, va: int, size: int = 4) -> int:
        return int.from_bytes(self.copy_in(va, size), "little")


class FakeEntropy:
    """Counts, so that every byte is told from the next."""

    def __init__(self) -> None:
        self.given = 0

    def fill(self, size: int) -> bytes:
        out = bytes((self.given + i) % 251 for i in range(size))
        self.given += size
        return out


class Client(NamedTuple):
    login: int
    uuid: UUID


class FakeTask:
    """`TaskContext`. native: the C side; one is made when it is needed first."""

    def __init__(self, native: Task | None = None, limit: int = 64, word: int = 8) -> None:
        from south.platform import Platform
        from tee.services.properties import Implementation

        self.uuid = UUID("8aaaf200-2450-11e4-abe2-0002a5d5c51b")
        self.client = Client(4, UUID("00112233-4455-6677-8899-aabbccddeeff"))
        self.memory = FakeMemory(word)
        self.objects = ObjectTable(limit)
        self.entropy = FakeEntropy()
        self.platform: Platform = Platform(
            "fake",
            cast("Engine", None),
            cast("PageSource", None),
            cast("Clock", None),
            self.entropy,
            FixedRoot(bytes(range(16)), b"0123456789abcdef"),
            NullConsole(),
        )
        self.implementation: Implementation = Implementation()
        self._native = native
        self.flags = 0
        self.enumerators = EnumeratorTable(limit)
        self.storage = TrustedStorage(self.platform, None)

    @property
    def native(self) -> Task:
        if self._native is None:
            from tee.crypto.task import Task

            self._native = Task()
        return self._native

    def go_on(self) -> None:
        """Nothing stops it for good."""

    def call(self, name: str, *words: int) -> Result:
        """Make a system call; its TEE_Result."""
        row = ROWS[name]
        try:
            return handler(row)(self, *row.decode(self.memory, words + (0,) * 8)) or results.SUCCESS
        except OutOfMemory:
            return results.OUT_OF_MEMORY
        except TeeError as error:
            return error.result

    # --- pieces of what libutee does

    def cell(self, value: int = 0, size: int = 4) -> int:
        return self.memory.place(value.to_bytes(size, "little"))

    def alloc(self, type_: int, bits: int) -> int:
        cell = self.cell()
        assert self.call("cryp_obj_alloc", type_, bits, cell) == results.SUCCESS
        return self.memory.word_at(cell)

    def attributes(self, *attrs: tuple[int, bytes | int]) -> tuple[int, int]:
        """(address, count) of an array of `struct utee_attribute`."""
        raw = b""
        for id_, value in attrs:
            if isinstance(value, int):
                assert id_ & FLAG_VALUE
                raw += UTEE_ATTRIBUTE.pack(value, 0, id_)
            else:
                raw += UTEE_ATTRIBUTE.pack(self.memory.place(value), len(value), id_)
        return self.memory.place(raw), len(attrs)

    def populate(self, handle: int, *attrs: tuple[int, bytes | int]) -> Result:
        return self.call("cryp_obj_populate", handle, *self.attributes(*attrs))

    def get(self, handle: int, attr: int, room: int = 2048) -> tuple[Result, bytes]:
        """(result, value) of an attribute."""
        out, length = self.memory.place(bytes(room)), self.cell(room, 8)
        result = self.call("cryp_obj_get_attr", handle, attr, out, length)
        return result, self.memory.copy_in(out, min(self.memory.word_at(length, 8), room))

    def info(self, handle: int) -> tuple[int, ...]:
        """type, bits, max bits, usage, data size, data position, flags."""
        at = self.memory.place(bytes(28))
        assert self.call("cryp_obj_get_info", handle, at) == results.SUCCESS
        return struct.unpack("<7I", self.memory.copy_in(at, 28))

    def state(self, algo: int, mode: int, key1: int = 0, key2: int = 0) -> tuple[Result, int]:
        cell = self.cell()
        result = self.call("cryp_state_alloc", algo, mode, key1, key2, cell)
        return result, self.memory.word_at(cell)

    def key(self, type_: int, bits: int, secret: bytes, attr: int = 0xC0000000) -> int:
        """A populated symmetric key."""
        handle = self.alloc(type_, bits)
        assert self.populate(handle, (attr, secret)) == results.SUCCESS
        return handle

    def into(self, name: str, state: int, data: bytes, room: int) -> tuple[Result, bytes, int]:
        """A call (state, data, size, out, *size): its result, output and reported length."""
        out, length = self.memory.place(bytes(room)), self.cell(room, 8)
        result = self.call(name, state, self.memory.place(data), len(data), out, length)
        reported = self.memory.word_at(length, 8)
        return result, self.memory.copy_in(out, min(reported, room)), reported
