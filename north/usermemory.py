"""A program's memory as its system calls may use it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from south.platform import Prot

if TYPE_CHECKING:
    from north.errors import BadAddress
    from south.platform import Space

COPY_MAX = 8 << 20
"""Bytes of a program's memory that are copied at once where a call needs all of them; more is refused."""
_RW = Prot.RW  # enum members are slow to look up


class CheckedMemory:
    """`north.syscalls.declare.UserMemory` over a space. A personality says what is raised."""

    __slots__ = ("_table", "_write", "word")

    def __init__(self, table: Space) -> None:
        self._table = table
        self._write = table.write
        self.word = table.arch.word

    def denied(self) -> BadAddress:
        """What to raise for memory that the program may not use."""
        raise NotImplementedError

    def too_much(self, size: int) -> Exception:
        """What to raise for so many bytes at once."""
        raise NotImplementedError

    def copy_in(self, va: int, size: int) -> bytes:
        if size > COPY_MAX:
            raise self.too_much(size)
        data = self._table.read(va, size, Prot.R)
        if data is None:
            raise self.denied()
        return data

    def copy_out(self, va: int, data: bytes) -> None:
        if not self._write(va, data, _RW):
            raise self.denied()

    def check(self, va: int, size: int, write: bool) -> None:
        if not self._table.check(va, size, Prot.RW if write else Prot.R):
            raise self.denied()
