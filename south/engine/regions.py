"""The region table of one guest's memory, in C (csrc/regions.c, dirty.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from south.engine.binding import check, ffi, lib
from south.platform import EngineError

if TYPE_CHECKING:
    from south.platform import Arch, Pages, Prot, RegionFlag

_CAST = ffi.cast
_BYTES = ffi.typeof("uint8_t *")
_MAP = lib.lb_map
_WRITE = lib.lb_write


class Snapshot:
    """Private memory of a space at one moment; regions must be the same at restore."""

    __slots__ = ("copy", "size", "table")

    def __init__(self, table: RegionTable, copy: Any, size: int) -> None:
        self.table = table
        self.copy = copy
        self.size = size

    def __del__(self) -> None:
        lib.lb_snapshot_free(self.table.raw, self.copy, self.size)


class RegionTable:
    """What of `south.platform.Space` needs no CPU. csrc/space.c says which threads may do what at once."""

    def __init__(self, arch: Arch, description: Any, arena: Pages) -> None:
        self.arch = arch
        self._arena = arena
        (run,) = arena.runs
        error = ffi.new("int *")
        raw = lib.lb_space_new(description, _CAST(_BYTES, run[0]), run[1], error)
        if raw == ffi.NULL:
            check(error[0], "cannot make a space")
        self._raw = ffi.gc(raw, lib.lb_space_free)

    @property
    def raw(self) -> Any:
        """Its struct lb_space; NULL when it is closed."""
        return self._raw

    def map(self, va: int, size: int, prot: Prot, flags: RegionFlag, pages: Pages, offset: int) -> None:
        runs = pages.runs
        if len(runs) == 1 and offset + size <= runs[0][1]:
            address = _CAST(_BYTES, runs[0][0] + offset)
            error = _MAP(self._raw, va, size, prot, flags, address)
            if error:
                check(error, f"cannot map {size:#x} bytes at {va:#x}")
            return
        done = 0
        at = 0
        for host, length in pages.runs:
            begin = max(offset, at)
            end = min(offset + size, at + length)
            if begin < end:
                address = _CAST(_BYTES, host + begin - at)
                error = lib.lb_map(self._raw, va + done, end - begin, int(prot), int(flags), address)
                if error:
                    if done:
                        lib.lb_unmap(self._raw, va, done)
                    check(error, f"cannot map {size:#x} bytes at {va:#x}")
                done += end - begin
            at += length
        if done != size:
            if done:
                lib.lb_unmap(self._raw, va, done)
            raise EngineError(f"cannot map {size:#x} bytes at {va:#x}: the pages end before that")

    def unmap(self, va: int, size: int) -> None:
        error = lib.lb_unmap(self._raw, va, size)
        if error:
            check(error, f"cannot unmap {va:#x}")

    def protect(self, va: int, size: int, prot: Prot) -> None:
        check(lib.lb_protect(self._raw, va, size, int(prot)), f"cannot protect {va:#x}")

    def keep(self, pages: Pages) -> None:
        """Let the engine know memory that will be mapped again and again: each map is then one table entry."""
        for host, length in pages.runs:
            check(lib.lb_back(self._raw, _CAST(_BYTES, host), length, True), "cannot register memory")

    def forget(self, pages: Pages) -> None:
        """Undo `keep`; the memory must not be mapped any more when it goes away."""
        for host, length in pages.runs:
            lib.lb_unback(self._raw, _CAST(_BYTES, host), length)

    def read(self, va: int, size: int, need: Prot) -> bytes | None:
        if size <= 0:
            return b""
        if lib.lb_check(self._raw, va, size, int(need)):
            return None
        out = bytearray(size)
        lib.lb_read(self._raw, va, ffi.from_buffer(out), size, int(need))
        return bytes(out)

    def write(self, va: int, data: bytes | bytearray | memoryview, need: Prot) -> bool:
        size = len(data)
        if not size:
            return True
        return not _WRITE(self._raw, va, data if type(data) is bytes else ffi.from_buffer(data), size, need)

    def check(self, va: int, size: int, need: Prot) -> bool:
        """True if the guest itself may access all of [va, va + size) like that."""
        return size <= 0 or not lib.lb_check(self._raw, va, size, int(need))

    def invalidate(self, va: int, size: int) -> None:
        """Forget translations of code that the host rewrote."""
        lib.lb_invalidate(self._raw, va, size)

    def snapshot(self) -> Snapshot:
        """Memory to go back to. Costs a look at all private memory once; then each page its first write."""
        copy = lib.lb_snapshot(self._raw)
        if copy == ffi.NULL:
            raise EngineError("cannot copy the space's memory: out of memory")
        return Snapshot(self, copy, self._arena.size)

    def restore(self, snapshot: object) -> None:
        """Go back. Costs what was written since, if `snapshot` is the one last taken or restored; else all memory."""
        if not isinstance(snapshot, Snapshot) or snapshot.table is not self:
            raise TypeError("restore() wants what snapshot() of this space gave")
        exposed = getattr(self._arena, "exposed", None)
        lib.lb_go_back(self._raw, snapshot.copy, ffi.NULL if exposed is None else ffi.from_buffer("uint8_t[]", exposed))

    def close(self) -> None:
        """Give the table up; it lives until its last CPU is closed."""
        raw, self._raw = self._raw, ffi.NULL
        if raw != ffi.NULL:
            ffi.release(raw)
