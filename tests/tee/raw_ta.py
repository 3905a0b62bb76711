"""A TA that makes any system call, in a world of its own, with its second memory to lay things out in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from south.linux_host import linux_host
from south.linux_host.host import NullConsole
from south.platform import PAGE, Arch
from ta_loader import samples
from ta_loader.source import Loader
from ta_loader.store import TaStore
from ta_loader.trust import TrustStore
from tee.abi.algorithms import Algorithm, Mode
from tee.abi.objects import ObjectType
from tee.params import Kind, Memref, Value
from tee.syscalls.crypto import ROWS
from tee.world import SecureWorld
from tests.tas import cryptdrv

if TYPE_CHECKING:
    from pathlib import Path

N = {row.name: row.number for row in ROWS}
AttrValue = tuple[int, bytes] | tuple[int, int, int]


def octets(number: int, size: int | None = None) -> bytes:
    return number.to_bytes(size or (number.bit_length() + 7) // 8, "big")


class RawTa:
    """A session with the TA that makes any system call; its second memory is `scratch`."""

    def __init__(self, state: Path, arch: Arch) -> None:
        loader = Loader(TaStore([str(cryptdrv.HERE)], TrustStore([samples.public_key_file()])))
        self.world = SecureWorld(linux_host(str(state), console=NullConsole()), loader)
        opened = self.world.open_session(cryptdrv.UUIDS[arch])
        assert not opened.result
        self._session = opened.session
        self._pages = self.world.platform.pages.shared(PAGE)
        self.scratch = self._pages.view(0, PAGE)

    def call(self, name: str, *params: Value | Memref) -> None:
        outcome = self.world.invoke(self._session, N[name], params)
        assert not outcome.result, (name, outcome)

    def memory(self, data: bytes, kind: Kind = Kind.MEMREF_INPUT) -> Memref:
        pages = self.world.platform.pages.shared(PAGE)
        pages.view(0, len(data))[:] = data
        return Memref(kind, pages, len(data))

    def populate(self, key: int, *attrs: AttrValue) -> None:
        self.call("cryp_obj_populate", Value(Kind.VALUE_INPUT, key), self.memory(cryptdrv.attributes(*attrs)))

    def operation(
        self, algo: Algorithm, mode: Mode, type_: ObjectType, bits: int, *attrs: AttrValue
    ) -> tuple[int, int]:
        """(operation, its key)."""
        key, state = Value(Kind.VALUE_OUTPUT), Value(Kind.VALUE_OUTPUT)
        self.call("cryp_obj_alloc", Value(Kind.VALUE_INPUT, type_, bits), key)
        self.populate(key.a, *attrs)
        self.call("cryp_state_alloc", Value(Kind.VALUE_INPUT, algo, mode), Value(Kind.VALUE_INPUT, key.a, 0), state)
        return state.a, key.a

    def raw(self, *records: bytes) -> list[int]:
        """The results of system calls in one entry."""
        memory = self.memory(b"".join(records), Kind.MEMREF_INOUT)
        whole = Memref(Kind.MEMREF_INOUT, self._pages, PAGE)
        assert not self.world.invoke(self._session, cryptdrv.CMD_RAW, [memory, whole]).result
        assert memory.pages is not None
        done = bytes(memory.pages.view(0, memory.size))
        return [cryptdrv.raw_result(done, i) for i in range(len(records))]
