"""An initramfs of one static program: an archive of format newc, as the kernel's
Documentation/driver-api/early-userspace/buffer-format.rst describes it."""

from __future__ import annotations

import gzip
import lzma
import stat
from pathlib import PurePath
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

INIT = """\
#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
/bin/busybox --install -s /bin
export PATH=/bin HOME=/
for module in /modules/*.ko; do test -e "$module" && insmod "$module"; done
while :; do setsid -c sh; done
"""


class Member(NamedTuple):
    name: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def archive(members: Iterable[Member]) -> bytes:
    out = bytearray()
    for inode, member in enumerate([*members, Member("TRAILER!!!", 0)], 1):
        name = member.name.encode() + b"\0"
        # ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
        fields = (inode, member.mode, 0, 0, 1, 0, len(member.data), 0, 0, *member.device, len(name), 0)
        out += b"070701" + b"".join(b"%08X" % field for field in fields) + name
        out += bytes(-len(out) % 4) + member.data
        out += bytes(-len(out) % 4)
    return bytes(out)


def busybox_initramfs(busybox: Path, modules: Sequence[Path] = (), files: Mapping[str, Path] | None = None) -> bytes:
    """Boots to a root shell on the console. modules: of the kernel (.ko.xz), inserted in this order; files: by their
    path in it."""
    members = [
        Member("bin", stat.S_IFDIR | 0o755),
        Member("dev", stat.S_IFDIR | 0o755),
        Member("dev/console", stat.S_IFCHR | 0o600, device=(5, 1)),
        Member("bin/busybox", stat.S_IFREG | 0o755, busybox.read_bytes()),
        Member("init", stat.S_IFREG | 0o755, INIT.encode()),
    ]
    if modules:
        members.append(Member("modules", stat.S_IFDIR | 0o755))
    for number, path in enumerate(modules):
        name = f"modules/{number}-{path.name.removesuffix('.xz')}"
        members.append(Member(name, stat.S_IFREG | 0o644, lzma.decompress(path.read_bytes())))
    folders = {str(folder) for name in files or () for folder in PurePath(name).parents} - {".", "bin", "dev"}
    members += [Member(folder, stat.S_IFDIR | 0o755) for folder in sorted(folders)]
    members += [Member(name, stat.S_IFREG | 0o755, path.read_bytes()) for name, path in (files or {}).items()]
    return gzip.compress(archive(members), 1, mtime=0)
