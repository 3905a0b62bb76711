"""Landlock: the paths, ports and processes that this process can still reach. Raw system calls; libc has no names.

Source: linux/landlock.h and Documentation/userspace-api/landlock.rst of the kernel. A ruleset covers the thread
that asks for it and what it starts later, so it is made before there are other threads.
"""

from __future__ import annotations

import ctypes
import enum
import os
import stat
import struct
from collections.abc import Iterable

# The same numbers on every architecture (asm-generic/unistd.h).
NR_CREATE_RULESET, NR_ADD_RULE, NR_RESTRICT_SELF = 444, 445, 446
CREATE_RULESET_VERSION = 1
RULE_PATH_BENEATH = 1
NEWEST_ABI = 7
"""The newest that is used here: what later ones can do is not asked for."""
RULESET_ATTR = struct.Struct("=QQQ")
"""struct landlock_ruleset_attr: handled_access_fs, handled_access_net, scoped"""
PATH_BENEATH_ATTR = struct.Struct("=Qi")
"""struct landlock_path_beneath_attr, packed: allowed_access, parent_fd"""


class Access(enum.IntFlag):
    """LANDLOCK_ACCESS_FS_*"""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    TRUNCATE = 1 << 14
    IOCTL_DEV = 1 << 15


_FIRST = Access((Access.MAKE_SYM << 1) - 1)
HANDLED = {1: _FIRST, 2: _FIRST | Access.REFER, 3: _FIRST | Access.REFER | Access.TRUNCATE}
"""By ABI version; IOCTL_DEV comes with 5."""
NET_TCP = 0b11
"""LANDLOCK_ACCESS_NET_BIND_TCP and _CONNECT_TCP; ABI 4"""
SCOPED = 0b11
"""LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET and LANDLOCK_SCOPE_SIGNAL; ABI 6"""

READ = Access.READ_FILE | Access.READ_DIR
WRITE = (
    READ
    | Access.WRITE_FILE
    | Access.REMOVE_DIR
    | Access.REMOVE_FILE
    | Access.MAKE_DIR
    | Access.MAKE_REG
    | Access.MAKE_SOCK
    | Access.REFER
    | Access.TRUNCATE
)
ON_FILES = Access.EXECUTE | Access.WRITE_FILE | Access.READ_FILE | Access.TRUNCATE | Access.IOCTL_DEV
"""What can be said of a path that is no folder."""

LATER = {
    2: "moving files between folders",
    3: "emptying files (seccomp does)",
    4: "TCP",
    5: "ioctl of devices (seccomp does)",
    6: "signals (seccomp does) and abstract sockets of others",
}
"""What is guarded from this ABI on. ABI 1 refuses every move between folders: that leaves nothing open."""

_libc = ctypes.CDLL(None, use_errno=True)


class LandlockError(Exception):
    """Nothing was restricted; says why."""


def _call(number: int, *arguments: int | bytes | None) -> int:
    """Arguments are as wide as the kernel reads them: ctypes would pass 32 bits."""
    wide = [ctypes.c_long(argument) if isinstance(argument, int) else argument for argument in arguments]
    result = int(_libc.syscall(ctypes.c_long(number), *wide))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def abi() -> int:
    """The kernel's version of Landlock. LandlockError: there is none."""
    try:
        return _call(NR_CREATE_RULESET, None, 0, CREATE_RULESET_VERSION)
    except OSError as problem:
        raise LandlockError(f"the kernel has no Landlock ({problem.strerror})") from None


def handled(version: int) -> Access:
    """Rights to files that this version can withhold."""
    rights = HANDLED[min(version, 3)]
    return rights | Access.IOCTL_DEV if version >= 5 else rights


def unguarded(version: int) -> list[str]:
    """What a kernel with this ABI leaves to other layers, or open."""
    return [what for since, what in LATER.items() if since > max(version, 2)]


def restrict(
    read: Iterable[str],
    write: Iterable[str],
    *,
    unlink: Iterable[str],
    sockets: bool,
) -> int:
    """Leave the calling thread no other paths than these; the ABI version. LandlockError.

    unlink: folders whose files may be removed, and nothing else.
    Paths that are not there are passed over: nothing is reached through them. sockets: TCP stays open.
    """
    version = min(abi(), NEWEST_ABI)
    rights = handled(version)
    net = NET_TCP if version >= 4 and not sockets else 0
    scoped = SCOPED if version >= 6 else 0
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    try:
        ruleset = _call(NR_CREATE_RULESET, RULESET_ATTR.pack(rights, net, scoped)[:size], size, 0)
    except OSError as problem:
        raise LandlockError(f"the kernel makes no ruleset ({problem.strerror})") from None
    try:
        rules = (
            (read, READ),
            (write, WRITE),
            (unlink, Access.REMOVE_FILE),
        )
        for paths, access in rules:
            for path in paths:
                _allow(ruleset, path, access & rights)
        _call(NR_RESTRICT_SELF, ruleset, 0)
    except OSError as problem:
        raise LandlockError(f"the kernel refuses a rule ({problem.strerror})") from None
    finally:
        os.close(ruleset)
    return version


def _allow(ruleset: int, path: str, access: Access) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            access &= ON_FILES
        if not access:
            return
        _call(NR_ADD_RULE, ruleset, RULE_PATH_BENEATH, PATH_BENEATH_ATTR.pack(access, fd), 0)
    finally:
        os.close(fd)
