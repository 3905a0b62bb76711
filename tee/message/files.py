"""REE files of a tee-supplicant, which may end and start anew while some are open (`tee.normal.Files`).

Source: optee_os 4.5 core/tee/tee_fs_rpc.c; optee_client tee-supplicant/src/tee_supp_fs.c.
"""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING

from tee.abi.optee_rpc import Fs, RpcCmd
from tee.abi.results import BAD_PARAMETERS, ITEM_NOT_FOUND
from tee.errors import TeeError
from tee.message.rpc import value
from tee.params import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    from tee.message.arg import RawParam
    from tee.message.rpc import Rpc

    T = TypeVar("T")

NAME_MAX = 350
"""TEE_FS_NAME_MAX, bytes with the zero at the end."""
PIECE = 1 << 20
"""Bytes that one request reads or writes at most."""
SAMPLE = 64
"""Bytes of a file that are kept, to know it again."""
LISTED_MAX = 1 << 16
"""Names of one folder."""
_IN = Kind.VALUE_INPUT


class _Open:
    """A file that is open. descriptor: the supplicant's; sample: where something of it was seen last, and what."""

    __slots__ = ("descriptor", "name", "sample", "stale")

    def __init__(self, name: str, descriptor: int) -> None:
        self.name = name
        self.descriptor = descriptor
        self.stale = False
        self.sample: tuple[int, bytes] | None = None


class RpcFiles:
    """A supplicant has no request that syncs: docs/qemu-arm.md says what that means.

    A new supplicant knows nothing of the old one's descriptors, and may have other files by the same numbers. So each
    call looks first whether the file that was used last still says what it said; if not, or if a number is given
    twice, or a descriptor does not work, files are opened anew by their names.
    """

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc
        self._lock = threading.Lock()
        self._handles = itertools.count(1)
        self._open: dict[int, _Open] = {}
        self._last: _Open | None = None

    def open(self, name: str) -> int:
        return self._keep(name, self._named(Fs.OPEN, name))

    def create(self, name: str) -> int:
        return self._keep(name, self._named(Fs.CREATE, name))

    def close(self, file: int) -> None:
        with self._lock:
            found = self._open.pop(file, None)
        if found is not None and not found.stale:
            self._rpc.call(RpcCmd.FS, value(_IN, Fs.CLOSE, found.descriptor))

    def read(self, file: int, offset: int, size: int) -> bytes:
        data, found = self._with(file, lambda descriptor: self._read(descriptor, offset, size))
        found.sample = (offset, data[:SAMPLE]) if data else None
        return data

    def write(self, file: int, offset: int, data: bytes | bytearray | memoryview) -> None:
        _, found = self._with(file, lambda descriptor: self._write(descriptor, offset, memoryview(data)))
        found.sample = (offset, bytes(data[:SAMPLE])) if data else None

    def truncate(self, file: int, size: int) -> None:
        self._with(file, lambda descriptor: self._rpc.call(RpcCmd.FS, value(_IN, Fs.TRUNCATE, descriptor, size)))

    def sync(self, file: int) -> None:
        """Nothing: the protocol has no such request."""

    def remove(self, name: str) -> None:
        self._rpc.call(RpcCmd.FS, value(_IN, Fs.REMOVE), self._name(name))

    def rename(self, old: str, new: str, *, overwrite: bool) -> None:
        first, second = _encoded(old), _encoded(new)
        buffer = self._rpc.buffer(len(first) + len(second))
        buffer.shared.write(0, first + second)
        self._rpc.call(
            RpcCmd.FS,
            value(_IN, Fs.RENAME, int(overwrite)),
            buffer.memref(Kind.MEMREF_INPUT, len(first)),
            buffer.memref(Kind.MEMREF_INPUT, len(second), len(first)),
        )
        with self._lock:
            for found in self._open.values():
                if found.name == old:
                    found.name = new

    def list(self, name: str) -> Sequence[str]:
        folder = self._named(Fs.OPENDIR, name)
        names: list[str] = []
        try:
            while len(names) < LISTED_MAX:
                buffer = self._rpc.buffer(NAME_MAX)
                try:
                    back = self._rpc.call(
                        RpcCmd.FS, value(_IN, Fs.READDIR, folder), buffer.memref(Kind.MEMREF_OUTPUT, NAME_MAX)
                    )
                except TeeError as error:
                    if error.result != ITEM_NOT_FOUND:
                        raise
                    break
                text = buffer.shared.read(0, min(back[1][2], NAME_MAX)).partition(b"\0")[0]
                names.append(text.decode("utf-8", "surrogateescape"))
        finally:
            self._rpc.call(RpcCmd.FS, value(_IN, Fs.CLOSEDIR, folder))
        return names

    # --- descriptors

    def _keep(self, name: str, descriptor: int) -> int:
        with self._lock:
            if any(found.descriptor == descriptor and not found.stale for found in self._open.values()):
                for found in self._open.values():
                    found.stale = True
            handle = next(self._handles)
            self._open[handle] = _Open(name, descriptor)
        return handle

    def _with(self, file: int, use: Callable[[int], T]) -> tuple[T, _Open]:
        thread = self._rpc.thread
        if not thread.files_checked:
            thread.files_checked = True
            self._check()
        with self._lock:
            found = self._last = self._open.get(file)
        if found is None:
            raise TeeError(BAD_PARAMETERS, f"no open file {file}")
        if not found.stale:
            try:
                return use(found.descriptor), found
            except TeeError:
                found.stale = True
        again = self._named(Fs.OPEN, found.name)
        with self._lock:
            found.descriptor = again
            found.stale = False
        return use(again), found

    def _check(self) -> None:
        """Another supplicant than before has none of our files."""
        with self._lock:
            last = self._last
            sample = None if last is None or last.stale else last.sample
        if last is None or sample is None:
            return
        try:
            same = self._read(last.descriptor, sample[0], len(sample[1])) == sample[1]
        except TeeError:
            same = False
        if not same:
            with self._lock:
                for found in self._open.values():
                    found.stale = True

    # --- requests

    def _read(self, descriptor: int, offset: int, size: int) -> bytes:
        buffer = self._rpc.buffer(min(size, PIECE))
        parts: list[bytes] = []
        while size > 0:
            wanted = min(size, PIECE)
            back = self._rpc.call(
                RpcCmd.FS, value(_IN, Fs.READ, descriptor, offset), buffer.memref(Kind.MEMREF_OUTPUT, wanted)
            )
            got = min(back[1][2], wanted)
            parts.append(buffer.shared.read(0, got))
            offset += got
            size -= got
            if got < wanted:
                break
        return b"".join(parts)

    def _write(self, descriptor: int, offset: int, rest: memoryview) -> None:
        while len(rest):
            piece = rest[:PIECE]
            buffer = self._rpc.buffer(len(piece))
            buffer.shared.write(0, piece)
            self._rpc.call(
                RpcCmd.FS, value(_IN, Fs.WRITE, descriptor, offset), buffer.memref(Kind.MEMREF_INPUT, len(piece))
            )
            offset += len(piece)
            rest = rest[PIECE:]

    def _named(self, operation: Fs, name: str) -> int:
        back = self._rpc.call(RpcCmd.FS, value(_IN, operation), self._name(name), value(Kind.VALUE_OUTPUT))
        return back[2][1]

    def _name(self, name: str) -> RawParam:
        data = _encoded(name)
        buffer = self._rpc.buffer(len(data))
        buffer.shared.write(0, data)
        return buffer.memref(Kind.MEMREF_INPUT, len(data))


def _encoded(name: str) -> bytes:
    data = b"/" + name.encode("utf-8", "surrogateescape") + b"\0"
    if len(data) > NAME_MAX or data.count(b"\0") > 1:
        raise TeeError(BAD_PARAMETERS, "a file's name is too long, or has a zero in it")
    return data
