"""What tests of PTAs call them with: memrefs over byte arrays, and a TA that records what is asked of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, cast

from south.linux_host import linux_host
from tee.params import Kind, TaMemref, Value
from tee.profile import Sampling
from tests.fakes import FixedRoot, Lines

if TYPE_CHECKING:
    from uuid import UUID

    from south.platform import Console, Cpu, Platform
    from tee.ports import Program


def host_platform(console: Console | None = None) -> Platform:
    """This host, with a known key instead of a key file."""
    return linux_host(os.devnull, console=console or Lines())._replace(root_of_trust=FixedRoot())


PLACE = 0x1000
"""Address of every memref that is not NULL."""


class Memory:
    """Bytes behind a memref."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)

    def memref(self, kind: Kind, *, secure: bool = True, null: bool = False, size: int | None = None) -> TaMemref:
        return TaMemref(kind, self, 0 if null else PLACE, len(self.data) if size is None else size, secure=secure)

    def copy_in(self, va: int, size: int) -> bytes:
        return bytes(self.data)

    def copy_out(self, va: int, data: bytes) -> None:
        assert len(data) <= len(self.data), "a PTA wrote past the buffer"
        self.data[: len(data)] = data


def memref(kind: Kind, data: bytes = b"", *, secure: bool = True, null: bool = False) -> TaMemref:
    return Memory(data).memref(kind, secure=secure, null=null)


def value(kind: Kind, a: int = 0, b: int = 0) -> Value:
    return Value(kind, a, b)


class FakeCaller:
    """`tee.pta.base.Caller` that does nothing but remember."""

    def __init__(self, uuid: UUID) -> None:
        self.uuid = uuid
        self.calls: list[tuple[object, ...]] = []
        self.answer = 0
        self.pieces: list[bytes] = []
        self.sampling = Sampling(cast("Cpu", None), cast("Program", None))

    def map_zeroed(self, size: int, before: int, after: int, at: int, flags: int) -> int:
        self.calls.append(("map", size, before, after, at, flags))
        return self.answer

    def unmap(self, va: int, size: int) -> None:
        self.calls.append(("unmap", va, size))

    def immutable(self) -> list[bytes]:
        return self.pieces

    def dlopen(self, uuid: UUID, flags: int) -> None:
        self.calls.append(("dlopen", uuid, flags))

    def dlsym(self, uuid: UUID, name: str) -> int:
        self.calls.append(("dlsym", uuid, name))
        return self.answer
