"""REE files below one folder of the host: what tee-supplicant's tee_supp_fs.c does, and no way out of the folder.

Every name is walked part by part from an open folder with O_NOFOLLOW, so neither `..` nor a link leads outside,
whoever changes the tree meanwhile. Files are 0600, folders 0700.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from south.descriptors import shut
from south.linux_host.state import StateError, open_folder
from south.replacing import rename_new
from tee.abi.results import (
    ACCESS_CONFLICT,
    BAD_PARAMETERS,
    BUSY,
    GENERIC,
    ITEM_NOT_FOUND,
    OUT_OF_MEMORY,
    STORAGE_NO_SPACE,
)
from tee.errors import TeeError
from tee.normal import RESERVED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NAME_MAX = 1024
"""Bytes of a whole name; OP-TEE's own names have 350 at most (TEE_FS_NAME_MAX)."""
PART_MAX = 255
BUSY_SECONDS = 30.0
"""How long others, who take milliseconds each, may keep the folder: a process that is stopped is not waited for."""
DEPTH_MAX = 16
"""Parts of a name; bounds the descriptors of one call."""
OPEN_MAX = 512
"""Open files; beyond them OUT_OF_MEMORY."""
READ_MAX = 64 << 20
"""Bytes of one read; a sparse file costs its writer nothing, but its reader memory."""
OFFSET_MAX = (1 << 63) - 1

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""O_NONBLOCK: a FIFO in the folder must not hang us."""

_RESULTS = {
    errno.ENOENT: ITEM_NOT_FOUND,
    errno.EEXIST: ACCESS_CONFLICT,
    errno.ENOSPC: STORAGE_NO_SPACE,
    errno.EDQUOT: STORAGE_NO_SPACE,
    errno.EFBIG: STORAGE_NO_SPACE,
    errno.EMFILE: OUT_OF_MEMORY,
    errno.ENFILE: OUT_OF_MEMORY,
    errno.ENOMEM: OUT_OF_MEMORY,
    errno.ELOOP: BAD_PARAMETERS,
    errno.ENOTDIR: BAD_PARAMETERS,
    errno.ENAMETOOLONG: BAD_PARAMETERS,
    errno.EINVAL: BAD_PARAMETERS,
}


@contextmanager
def _as_tee() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TeeError(_RESULTS.get(error.errno or 0, GENERIC), error.strerror or str(error)) from None
    except MemoryError:
        raise TeeError(OUT_OF_MEMORY) from None


def _parts(name: str) -> list[bytes]:
    """The parts of a name that stays inside; TeeError(BAD_PARAMETERS) for any other."""
    try:
        whole = name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise TeeError(BAD_PARAMETERS, "not a file name") from None
    parts = whole.split(b"/")
    if len(whole) > NAME_MAX or len(parts) > DEPTH_MAX or b"\0" in whole:
        raise TeeError(BAD_PARAMETERS, "not a file name")
    if any(part in (b"", b".", b"..") or len(part) > PART_MAX for part in parts):
        raise TeeError(BAD_PARAMETERS, "a name that leaves the folder, or has an empty or too long part")
    return parts


def _require_regular(info: os.stat_result, shown: str) -> None:
    """shown: the file's path, for messages."""
    if not stat.S_ISREG(info.st_mode):
        raise TeeError(BAD_PARAMETERS, f"{shown} is not a regular file")
    if info.st_nlink > 1:
        text = f"{shown} has another name (a hard link), whose file would change, too: copy it"
        raise TeeError(BAD_PARAMETERS, text) from StateError(text)


class _Open:
    """A descriptor, -1 when closed; the lock keeps a close from pulling it away from another thread's call."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.lock = threading.Lock()

    def close(self) -> bool:
        with self.lock:
            fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)
        return fd >= 0


class ReeFiles:
    """`tee.normal.Files` in `folder`, which is made if it is not there.

    A name may not be absolute, nor have empty parts, `.`, `..` or NUL: BAD_PARAMETERS, as for a part that is a link
    or no folder, for anything but a regular file, and for a file that has another name. May be used by several threads.
    """

    def __init__(self, folder: str | os.PathLike[str] | int, *, shown: str = "") -> None:
        """folder: a descriptor of it is taken as it is, and stays the caller's. shown: how messages call it.

        StateError: it is a link, somebody else's, or others can write it; OSError: it cannot be made or opened.
        """
        fd = os.dup(folder) if isinstance(folder, int) else open_folder(folder, make=True)
        try:
            self._gate = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
        except BaseException:
            os.close(fd)
            raise
        self._shown = shown or ("" if isinstance(folder, int) else os.fspath(folder))
        self._root = fd
        """A lock on it is this process's alone, for nobody else has this open file description."""
        self._names = threading.Lock()
        """Held while the tree changes: a folder must not be emptied away between its making and its first file."""
        self._table = threading.Lock()
        self._files: dict[int, _Open] = {}
        self._free = list(range(OPEN_MAX, 0, -1))

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """No other process that uses the folder this way is inside meanwhile. BUSY: one does not leave."""
        self._enter()
        try:
            yield
        finally:
            fcntl.flock(self._gate, fcntl.LOCK_UN)

    def _enter(self) -> None:
        give_up = time.monotonic() + BUSY_SECONDS
        pause = 0.0005
        while True:
            with _as_tee():
                try:
                    return fcntl.flock(self._gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    pass
            if time.monotonic() >= give_up:
                raise TeeError(BUSY, f"another process has had the storage for {BUSY_SECONDS:g} s")
            time.sleep(pause)
            pause = min(2 * pause, 0.02)

    def shut(self) -> None:
        """Close everything; what is called later gets BAD_PARAMETERS or GENERIC."""
        with self._table:
            files, self._files, self._free = list(self._files.values()), {}, []
            root, self._root = self._root, -1
        for file in files:
            with suppress(OSError):  # the next ones, too; what had to last was synced
                file.close()
        if root >= 0:
            shut(root)
            shut(self._gate)

    # --- handles

    def _add(self, fd: int) -> int:
        with self._table:
            if self._free:
                handle = self._free.pop()
                self._files[handle] = _Open(fd)
                return handle
        os.close(fd)
        raise TeeError(OUT_OF_MEMORY, f"more than {OPEN_MAX} open files")

    @contextmanager
    def _use(self, file: int) -> Iterator[int]:
        with self._table:
            found = self._files.get(file)
        if found is None:
            raise TeeError(BAD_PARAMETERS, f"no open file {file}")
        with found.lock, _as_tee():
            if found.fd < 0:
                raise TeeError(BAD_PARAMETERS, f"no open file {file}")
            yield found.fd

    # --- walking

    @contextmanager
    def _walk(self, folders: Sequence[bytes], *, make: bool = False) -> Iterator[list[int]]:
        """Descriptors of the root and of each folder below it. make: missing ones are made, and durable."""
        with self._table:
            if self._root < 0:
                raise TeeError(GENERIC, "the files are shut")
            chain = [os.dup(self._root)]
        try:
            for part in folders:
                if make:
                    try:
                        os.mkdir(part, 0o700, dir_fd=chain[-1])
                        os.fsync(chain[-1])
                    except FileExistsError:
                        pass
                chain.append(os.open(part, _FOLDER, dir_fd=chain[-1]))
            yield chain
        finally:
            for fd in chain:
                shut(fd)

    @staticmethod
    def _prune(chain: Sequence[int], folders: Sequence[bytes]) -> int:
        """Remove the folders that are empty, deepest first; the index in `chain` of the deepest that stays."""
        last = len(folders)
        while last:
            try:
                os.rmdir(folders[last - 1], dir_fd=chain[last - 1])
            except OSError:
                break
            last -= 1
        return last

    # --- Files: by name

    def open(self, name: str) -> int:
        *folders, leaf = _parts(name)
        with _as_tee(), self._walk(folders) as chain:
            try:
                fd = os.open(leaf, os.O_RDWR | _FILE, dir_fd=chain[-1])
            except OSError as error:
                if error.errno not in (errno.EROFS, errno.EACCES):
                    raise
                fd = os.open(leaf, os.O_RDONLY | _FILE, dir_fd=chain[-1])
            return self._add(self._checked(fd, name))

    def _checked(self, fd: int, name: str) -> int:
        try:
            _require_regular(os.fstat(fd), os.path.join(self._shown, name))
        except BaseException:
            shut(fd)
            raise
        return fd

    def create(self, name: str) -> int:
        """A new file's name is durable on return."""
        *folders, leaf = _parts(name)
        if not self._free:
            raise TeeError(OUT_OF_MEMORY, f"more than {OPEN_MAX} open files")
        with _as_tee(), self._names, self._walk(folders, make=True) as chain:
            fd = -1
            try:
                fd = self._checked(os.open(leaf, os.O_RDWR | os.O_CREAT | _FILE, 0o600, dir_fd=chain[-1]), name)
                reserved = _is_reserved(fd)
                os.ftruncate(fd, 0)
                if not reserved:
                    # Also if it was there: whoever made it may have been killed before this.
                    os.fsync(chain[-1])
            except OSError:
                if fd >= 0:
                    shut(fd)
                self._prune(chain, folders)
                raise
            return self._add(fd)

    def remove(self, name: str) -> None:
        *folders, leaf = _parts(name)
        with _as_tee(), self._names, self._walk(folders) as chain:
            os.unlink(leaf, dir_fd=chain[-1])
            self._prune(chain, folders)

    def reserve(self, names: Sequence[str]) -> None:
        """`tee.normal.Reserving`; names in the folder itself."""
        leaves = [(leaf, name) for name in names for leaf in _parts(name)]
        made: list[int] = []
        with _as_tee(), self._names, self._walk([]) as (folder,):
            try:
                for leaf, name in leaves:
                    fd = self._checked(os.open(leaf, os.O_RDWR | os.O_CREAT | _FILE, 0o600, dir_fd=folder), name)
                    made.append(fd)
                    if fd == made[0] and _is_reserved(fd):
                        return
                    os.ftruncate(fd, 0)
                os.fsync(folder)
                for fd in made:
                    os.pwrite(fd, RESERVED, 0)
            finally:
                for fd in made:
                    os.close(fd)

    def release(self, name: str) -> None:
        """`tee.normal.Reserving`."""
        file = self.open(name)
        try:
            self.truncate(file, 0)
            self.write(file, 0, RESERVED)
        finally:
            self.close(file)

    def rename(self, old: str, new: str, *, overwrite: bool) -> None:
        *old_folders, old_leaf = _parts(old)
        *new_folders, new_leaf = _parts(new)
        with _as_tee(), self._names, self._walk(old_folders) as source, self._walk(new_folders) as target:
            info = os.stat(old_leaf, dir_fd=source[-1], follow_symlinks=False)
            _require_regular(info, os.path.join(self._shown, old))
            if overwrite:
                os.rename(old_leaf, new_leaf, src_dir_fd=source[-1], dst_dir_fd=target[-1])
            else:
                rename_new(source[-1], old_leaf, target[-1], new_leaf)
            os.fsync(target[-1])
            if old_folders != new_folders:
                os.fsync(source[-1])

    def list(self, name: str) -> Sequence[str]:
        """`""` is the folder itself."""
        with _as_tee(), self._walk(_parts(name) if name else []) as chain:
            return sorted(os.listdir(chain[-1]))

    # --- Files: by handle

    def close(self, file: int) -> None:
        with self._table:
            found = self._files.pop(file, None)
        if found is None or not found.close():
            raise TeeError(BAD_PARAMETERS, f"no open file {file}")
        with self._table:
            if self._root >= 0:
                self._free.append(file)

    def read(self, file: int, offset: int, size: int) -> bytes:
        _require_range(offset, size)
        with self._use(file) as fd:
            size = min(size, max(0, os.fstat(fd).st_size - offset))
            if size > READ_MAX:
                raise TeeError(OUT_OF_MEMORY, f"a read of {size} bytes")
            found = os.pread(fd, size, offset)
            while 0 < len(found) < size:
                more = os.pread(fd, size - len(found), offset + len(found))
                if not more:
                    break
                found += more
            return found

    def write(self, file: int, offset: int, data: bytes | bytearray | memoryview) -> None:
        with memoryview(data) as whole, whole.cast("B") as rest:
            _require_range(offset, len(rest))
            with self._use(file) as fd:
                done = 0
                while done < len(rest):
                    done += os.pwrite(fd, rest[done:], offset + done)

    def truncate(self, file: int, size: int) -> None:
        _require_range(0, size)
        with self._use(file) as fd:
            os.ftruncate(fd, size)

    def sync(self, file: int) -> None:
        with self._use(file) as fd:
            os.fdatasync(fd)


def _is_reserved(fd: int) -> bool:
    return os.pread(fd, len(RESERVED) + 1, 0) == RESERVED


def _require_range(offset: int, size: int) -> None:
    if offset < 0 or size < 0 or offset + size > OFFSET_MAX:
        raise TeeError(BAD_PARAMETERS, f"offset {offset}, size {size}")
