"""The state file of an emulated RPMB: key, write counter and data that move together, whenever the process dies.

A header, two marks, two slots, then one record a block. A commit is one slot: the whole small state (key, counter) and
the blocks that change, under a SHA-256; it counts once it is synced. Only then are its blocks written to their
records. Slots take turns, so by the time one is written over, the sync of the next has made its blocks durable.
Opening writes the blocks of the valid slots to their records again, older first. The higher mark is the number of
the last commit known to be whole: if its slot is not valid it was damaged, not torn, and that is reported.
All numbers are little-endian.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
import struct
from typing import TYPE_CHECKING, NamedTuple

from south.descriptors import shut
from south.errors import UsageError
from south.replacing import beside, rename_new, sweep
from tee.abi.rpmb import DATA_SIZE, KEY_MAC_SIZE, SIZE_UNIT

if TYPE_CHECKING:
    from collections.abc import Sequence

MAGIC = b"LiteBox emulated RPMB\0\0\0"
VERSION = 1
PAGE = 4096
_HEADER = struct.Struct("<24sIHH16s")
"""magic, version, size_mult, reliable_sectors, cid"""
_MARK = struct.Struct("<Q")
_SLOT = struct.Struct("<QI32sIHH")
"""number of the commit, whether there is a key, key, write counter, first block, blocks that follow"""
_SUM = hashlib.sha256().digest_size
_MARK_AT = PAGE
_MARK_STEP = 512
_SLOTS_AT = 2 * PAGE
_BLOCK_SUM = 16
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_RECORD = DATA_SIZE + _BLOCK_SUM


class Geometry(NamedTuple):
    """size_mult: units of 128 KiB; reliable_sectors: 512-byte sectors of a reliable write; cid: 16 bytes."""

    size_mult: int
    reliable_sectors: int
    cid: bytes

    @property
    def blocks(self) -> int:
        return self.size_mult * SIZE_UNIT // DATA_SIZE

    @property
    def reliable_blocks(self) -> int:
        """Blocks of the longest authenticated write."""
        return self.reliable_sectors * 512 // DATA_SIZE

    @property
    def slot_size(self) -> int:
        return -(-(_SLOT.size + self.reliable_blocks * DATA_SIZE + _SUM) // PAGE) * PAGE

    @property
    def records_at(self) -> int:
        return _SLOTS_AT + 2 * self.slot_size

    @property
    def file_size(self) -> int:
        return self.records_at + self.blocks * _RECORD


class State(NamedTuple):
    """key None: not programmed yet."""

    key: bytes | None = None
    counter: int = 0


class _Commit(NamedTuple):
    number: int
    state: State
    first: int
    blocks: Sequence[bytes]


def _sealed(data: bytes) -> bytes:
    return data + hashlib.sha256(data).digest()


def _unsealed(raw: bytes, size: int) -> bytes | None:
    """The first `size` bytes, if the SHA-256 that follows is theirs."""
    data = raw[:size]
    return data if len(data) == size and hashlib.sha256(data).digest() == raw[size : size + _SUM] else None


def _record(index: int, data: bytes) -> bytes:
    return data + hashlib.blake2b(data, digest_size=_BLOCK_SUM, salt=struct.pack("<Q", index)).digest()


def _pack(commit: _Commit) -> bytes:
    key, counter = commit.state
    head = _SLOT.pack(
        commit.number, key is not None, key or bytes(KEY_MAC_SIZE), counter, commit.first, len(commit.blocks)
    )
    return _sealed(head + b"".join(commit.blocks))


def _unpack(raw: bytes, geometry: Geometry) -> _Commit | None:
    number, has_key, key, counter, first, count = _SLOT.unpack_from(raw)
    if count > geometry.reliable_blocks or first + count > geometry.blocks or has_key > 1:
        return None
    data = _unsealed(raw, _SLOT.size + count * DATA_SIZE)
    if data is None:
        return None
    blocks = [data[at : at + DATA_SIZE] for at in range(_SLOT.size, len(data), DATA_SIZE)]
    return _Commit(number, State(key if has_key else None, counter), first, blocks)


def _write(fd: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(fd, view, at)
        view, at = view[done:], at + done


class RpmbStore:
    """An open state file; one process at a time. `commit` and `read` raise OSError, and are for one thread at a time.

    After an OSError of `commit` what the medium holds is not known: `broken` is set, and every later call fails until
    the file is opened anew.
    """

    def __init__(self, path: str, wanted: Geometry, within: int | None = None) -> None:
        """Open the file, or make it. wanted.cid empty: whatever it has, which a new file must not.

        within: descriptor of the folder that the last part of `path` is a name in.

        UsageError: another process has it, it is not the user's alone, it is damaged, or it was made with another
        geometry. OSError: of the host.
        """
        self.broken = False
        self.path = path
        folder, name = os.path.split(path)
        # Whatever the folder is by its name a moment later: one and the same for all that follows.
        place = os.open(folder or ".", _FOLDER) if within is None else os.dup(within)
        try:
            sweep(place, name)
            if not exists(name, place):
                _make(place, name, wanted)
            self._fd = os.open(name, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=place)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            raise UsageError(f"{path} is a symbolic link: name the file itself, or remove the link") from None
        finally:
            shut(place)
        try:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(f"{path}: the emulated RPMB is in use by another process") from None
            self._require_own(os.fstat(self._fd))
            self.geometry = self._header(wanted)
            self._number, self.state = self._recover()
        except BaseException:
            shut(self._fd)
            raise

    def close(self) -> None:
        self.broken = True
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _require_own(self, info: os.stat_result) -> None:
        if not stat.S_ISREG(info.st_mode):
            raise UsageError(f"{self.path} is not a regular file: name another one")
        if info.st_uid != os.geteuid() or info.st_mode & 0o022:
            raise UsageError(f"{self.path} can be changed by other users: chown, chmod go-w, or name another file")
        if info.st_nlink != 1:
            raise UsageError(f"{self.path} has another name (a hard link), whose file would change, too: copy it")

    def _damaged(self, what: str) -> UsageError:
        return UsageError(f"{self.path}: the emulated RPMB's state is damaged ({what}); it was left as it is")

    def _header(self, wanted: Geometry) -> Geometry:
        data = _unsealed(os.pread(self._fd, _HEADER.size + _SUM, 0), _HEADER.size)
        if data is None:
            raise self._damaged("header")
        magic, version, *values = _HEADER.unpack(data)
        if magic != MAGIC or version != VERSION:
            raise UsageError(f"{self.path}: not an emulated RPMB of version {VERSION}")
        found = Geometry(*values)
        if found != wanted._replace(cid=wanted.cid or found.cid):
            raise UsageError(
                f"{self.path}: made with size_mult {found.size_mult}, reliable_sectors {found.reliable_sectors} "
                f"and CID {found.cid.hex()}; name these, or another file"
            )
        if os.fstat(self._fd).st_size != found.file_size:
            raise self._damaged("length")
        return found

    def _recover(self) -> tuple[int, State]:
        marks = [
            _unsealed(os.pread(self._fd, _MARK.size + _SUM, _MARK_AT + turn * _MARK_STEP), _MARK.size)
            for turn in range(2)
        ]
        whole = max((_MARK.unpack(mark)[0] for mark in marks if mark is not None), default=None)
        if whole is None:
            raise self._damaged("marks")
        size, found = self.geometry.slot_size, []
        for turn in range(2):
            commit = _unpack(os.pread(self._fd, size, _SLOTS_AT + turn * size), self.geometry)
            if commit is not None and commit.number % 2 == turn:
                found.append(commit)
        found.sort()
        if not found or found[-1].number < whole:
            raise self._damaged("the last commit is gone")
        if len(found) == 2 and found[1].number != found[0].number + 1:
            raise self._damaged("commits out of turn")
        self._check_records(found)
        for commit in found:
            self._write_records(commit)
        last = found[-1]
        os.fdatasync(self._fd)
        self._write_mark(last.number)
        return last.number, last.state

    def _check_records(self, commits: Sequence[_Commit]) -> None:
        """All but those that the commits are about to write."""
        at = self.geometry.records_at
        raw = os.pread(self._fd, self.geometry.file_size - at, at)
        torn = {commit.first + i for commit in commits for i in range(len(commit.blocks))}
        for index in range(self.geometry.blocks):
            record = raw[index * _RECORD : (index + 1) * _RECORD]
            if index not in torn and record != _record(index, record[:DATA_SIZE]):
                raise self._damaged(f"block {index}")

    def _write_records(self, commit: _Commit) -> None:
        if commit.blocks:
            records = b"".join(_record(commit.first + i, data) for i, data in enumerate(commit.blocks))
            _write(self._fd, records, self.geometry.records_at + commit.first * _RECORD)

    def _write_mark(self, number: int) -> None:
        _write(self._fd, _sealed(_MARK.pack(number)), _MARK_AT + number % 2 * _MARK_STEP)

    def commit(self, state: State, first: int = 0, blocks: Sequence[bytes] = ()) -> None:
        """The state and the blocks from `first` on, all or nothing; durable on return."""
        if self.broken:
            raise OSError(f"{self.path}: closed, or an earlier write failed")
        number = self._number + 1
        commit = _Commit(number, state, first, blocks)
        self.broken = True
        _write(self._fd, _pack(commit), _SLOTS_AT + number % 2 * self.geometry.slot_size)
        os.fdatasync(self._fd)
        self._write_records(commit)
        self._write_mark(number)
        self._number, self.state, self.broken = number, state, False

    def read(self, first: int, count: int) -> list[bytes]:
        """OSError also for a block that is not as it was written."""
        if self.broken:
            raise OSError(f"{self.path}: closed, or an earlier write failed")
        raw = os.pread(self._fd, count * _RECORD, self.geometry.records_at + first * _RECORD)
        found = []
        for i in range(count):
            record = raw[i * _RECORD : (i + 1) * _RECORD]
            data = record[:DATA_SIZE]
            if record != _record(first + i, data):
                raise OSError(f"{self.path}: block {first + i} is damaged")
            found.append(data)
        return found


def exists(path: str, within: int | None = None) -> bool:
    """Something of that name; a link that leads nowhere, too. within: the folder that its last part is a name in."""
    try:
        os.stat(os.path.basename(path) if within is not None else path, dir_fd=within, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _make(place: int, name: str, geometry: Geometry) -> None:
    """A blank file appears whole, or not at all; one that another process makes meanwhile is left alone."""
    with beside(place, name, 0o600) as (fd, temporary):
        _blank(fd, geometry)
        with contextlib.suppress(FileExistsError):
            rename_new(place, temporary, place, name)
    os.fsync(place)


def _blank(fd: int, geometry: Geometry) -> None:
    os.posix_fallocate(fd, 0, geometry.file_size)
    _write(fd, _sealed(_HEADER.pack(MAGIC, VERSION, *geometry)), 0)
    for number in range(2):
        _write(fd, _sealed(_MARK.pack(number)), _MARK_AT + number * _MARK_STEP)
        _write(fd, _pack(_Commit(number, State(), 0, ())), _SLOTS_AT + number * geometry.slot_size)
    data = bytes(DATA_SIZE)
    _write(fd, b"".join(_record(index, data) for index in range(geometry.blocks)), geometry.records_at)
    os.fsync(fd)
