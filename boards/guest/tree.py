"""A root file system that is being put together: paths and what is there, before anything is written."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from boards.guest.cpio import Entry
from south.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

MERGED = ("bin", "sbin", "lib")
"""Links into usr/ since merged-usr."""
MAX_OVERLAY = 256 << 20
"""Bytes that a user's folder may add: all of it is in the guest's memory."""
MAX_OVERLAY_FILES = 20_000


class Tree:
    """Folders come into being with what is in them; the later of two things at one path wins."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        for name in MERGED:
            self.folder(f"usr/{name}")
            self._entries[name] = Entry(name, stat.S_IFLNK | 0o777, f"usr/{name}".encode())

    def folder(self, path: str, mode: int = 0o755) -> None:
        self._put(path, stat.S_IFDIR | mode)

    def file(self, path: str, content: Path | bytes, mode: int = 0o644) -> None:
        self._put(path, stat.S_IFREG | mode, content)

    def link(self, path: str, target: str) -> None:
        self._put(path, stat.S_IFLNK | 0o777, os.fsencode(target))

    def device(self, path: str, mode: int, major: int, minor: int) -> None:
        """mode: with S_IFCHR or S_IFBLK."""
        self._put(path, mode, device=(major, minor))

    def overlay(self, base: Path) -> list[Path]:
        """Everything below `base`, at the same place below the root; the files among it.

        UsageError for what is no file, folder or link, and for more than `MAX_OVERLAY`.
        """
        out: list[Path] = []
        total = 0
        for count, (path, status) in enumerate(_walk(base), 1):
            inside = path.relative_to(base).as_posix()
            mode = stat.S_IMODE(status.st_mode)
            if stat.S_ISDIR(status.st_mode):
                if inside not in MERGED:
                    self.folder(inside, mode)
            elif stat.S_ISLNK(status.st_mode):
                self.link(inside, os.readlink(path))
            elif stat.S_ISREG(status.st_mode):
                total += status.st_size
                self.file(inside, path, mode)
                out.append(path)
            else:
                raise UsageError(f"{path}: is no file, folder or link; the guest's image can hold nothing else")
            if total > MAX_OVERLAY or count > MAX_OVERLAY_FILES:
                raise UsageError(
                    f"{base}: has more than {MAX_OVERLAY >> 20} MiB or {MAX_OVERLAY_FILES} files, "
                    "too much for a guest that keeps all of it in memory"
                )
        return out

    def entries(self) -> list[Entry]:
        """Each folder before what is in it; in the same order whatever order they came in."""
        return [self._entries[name] for name in sorted(self._entries, key=lambda name: name.split("/"))]

    def key(self) -> str:
        """Stands for what would be written, without reading it: a file that was touched counts as another."""
        digest = hashlib.sha256()
        for name, mode, content, device in self.entries():
            if isinstance(content, Path):
                status = _status(content)
                what: object = (status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
            else:
                what = hashlib.sha256(content).hexdigest()
            digest.update(repr((name, mode, what, device)).encode() + b"\n")
        return digest.hexdigest()[:16]

    def _put(self, path: str, mode: int, content: Path | bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        place = PurePosixPath(path)
        if place.is_absolute() or ".." in place.parts or not place.parts:
            raise UsageError(f"{path!r} is no path below a root")
        if place.parts[0] in MERGED:
            place = PurePosixPath("usr") / place
        for parent in reversed(place.parents[:-1]):
            known = self._entries.get(str(parent))
            if known is None:
                self._entries[str(parent)] = Entry(str(parent), stat.S_IFDIR | 0o755)
            elif not stat.S_ISDIR(known.mode):
                raise UsageError(f"{path}: {parent} is no folder in the guest")
        known = self._entries.get(str(place))
        if known is not None and stat.S_ISDIR(known.mode) and not stat.S_ISDIR(mode):
            raise UsageError(f"{path}: is a folder in the guest")
        self._entries[str(place)] = Entry(str(place), mode, content, device)


def _walk(base: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """What is below `base`, sorted, links not followed."""
    try:
        names = sorted(os.listdir(base))
    except OSError as problem:
        raise UsageError(f"{base}: {problem.strerror}") from None
    for name in names:
        path = base / name
        status = _status(path)
        yield path, status
        if stat.S_ISDIR(status.st_mode):
            yield from _walk(path)


def _status(path: Path) -> os.stat_result:
    try:
        return path.lstat()
    except OSError as problem:
        raise UsageError(f"{path}: {problem.strerror}") from None
