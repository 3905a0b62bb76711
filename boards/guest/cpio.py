"""An archive of format newc, which the kernel unpacks as its first root file system.

Source: Documentation/driver-api/early-userspace/buffer-format.rst, init/initramfs.c. The same entries make the same
bytes: no time, owner or inode of this machine gets in.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from south.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_NAME = 4095
"""Bytes without the final zero: PATH_MAX, beyond which the kernel skips an entry silently."""
MAX_SIZE = (1 << 32) - 1
"""Bytes of one file: eight hexadecimal digits."""
TRAILER = "TRAILER!!!"
PIECE = 1 << 20


class Entry(NamedTuple):
    """mode: st_mode, with the file's type. content: of a file, in a file or in memory, or a link's target."""

    name: str
    mode: int
    content: Path | bytes = b""
    device: tuple[int, int] = (0, 0)


def write(entries: Iterable[Entry], out: IO[bytes]) -> int:
    """Bytes written. UsageError for what the format cannot hold, and for a file that changes meanwhile."""
    total = 0
    for inode, entry in enumerate([*entries, Entry(TRAILER, 0)], 1):
        name = os.fsencode(entry.name)
        if len(name) > MAX_NAME:
            raise UsageError(f"{entry.name[:60]}...: a path in an initramfs has at most {MAX_NAME} bytes")
        if isinstance(entry.content, Path):
            total += _write_file(inode, entry, name, entry.content, out)
        else:
            total += out.write(_header(inode, entry, name, len(entry.content)) + _padded(entry.content))
    return total


def _write_file(inode: int, entry: Entry, name: bytes, path: Path, out: IO[bytes]) -> int:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_SIZE:
                raise UsageError(f"{path}: a file in an initramfs has at most {MAX_SIZE} bytes")
            total = out.write(_header(inode, entry, name, size))
            left = size
            while left:
                data = file.read(min(left, PIECE))
                if not data:
                    raise UsageError(f"{path}: it became shorter while it was read")
                total += out.write(data)
                left -= len(data)
    except OSError as problem:
        raise UsageError(f"{path}: {problem.strerror}") from None
    return total + out.write(bytes(-size % 4))


def _header(inode: int, entry: Entry, name: bytes, size: int) -> bytes:
    # ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
    fields = (inode, entry.mode, 0, 0, 1, 0, size, 0, 0, *entry.device, len(name) + 1, 0)
    return _padded(b"070701" + b"".join(b"%08X" % field for field in fields) + name + b"\0")


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
