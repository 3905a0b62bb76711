"""How much the daemon can hold for all users together, from what the host gives this process.

Each connection, session and shared memory object costs file descriptors and entries of the kernel's table of mappings.
When either runs out, nothing works any more for anybody, so a part of both is never given to clients.
"""

from __future__ import annotations

import resource
from typing import NamedTuple

MAX_MAP_COUNT = "/proc/sys/vm/max_map_count"
_MAPS_DEFAULT = 65530
"""DEFAULT_MAX_MAP_COUNT (linux/mm.h)"""
MEMINFO = "/proc/meminfo"
"""Not sysconf(3): that is a system call (sysinfo) which a restricted daemon does not have, and libc returns whatever
lies on its stack then."""
_MEMORY_DEFAULT = 1 << 30
_FILES_MOST = 1 << 20
"""A limit that is infinite, or higher, counts as this."""

FILES_RESERVE = 256
"""File descriptors for TAs' files and sockets, trusted storage and the daemon itself; at most a quarter of all."""
FILES_PER_CONNECTION = 3
"""Its socket, its process' pidfd, and one that is passed with a request or a reply."""
MAPS_PER_CONNECTION = 4
"""Stack and guard page of its thread, and what malloc gives a thread."""
MAPS_PER_SESSION = 16
"""An instance of its own: arena, translated code and libraries of the engine are 4 when it is made (measured), and
memory it touches and gives back splits some of them."""
MAPS_PER_OBJECT = 1
BYTES_PER_SESSION = 4 << 20
"""Of host memory, for an instance that does little (3.5 MB measured for the sample TA)."""


class Capacity(NamedTuple):
    """For all users together: connections, sessions, objects of shared memory, memory (their bytes)."""

    connections: int
    sessions: int
    objects: int
    memory: int


def of_host() -> Capacity:
    """From RLIMIT_NOFILE, vm.max_map_count and the size of memory."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return derive(files, _max_map_count(), _memory())


def derive(files: int, maps: int, memory: int) -> Capacity:
    """files: RLIMIT_NOFILE, -1 for infinity; maps: vm.max_map_count; memory: of the host, bytes."""
    if not 0 <= files <= _FILES_MOST:
        files = _FILES_MOST
    files -= min(FILES_RESERVE, files // 4)
    maps -= maps // 4  # Python, libraries, and instances that TAs open by themselves
    return Capacity(
        connections=max(1, min(files // FILES_PER_CONNECTION, maps // 8 // MAPS_PER_CONNECTION)),
        sessions=max(1, min(maps // 2 // MAPS_PER_SESSION, memory // 2 // BYTES_PER_SESSION)),
        objects=max(1, maps * 3 // 8 // MAPS_PER_OBJECT),
        memory=max(1, memory),
    )


def _max_map_count() -> int:
    try:
        with open(MAX_MAP_COUNT) as file:
            return int(file.read())
    except (OSError, ValueError):
        return _MAPS_DEFAULT


def _memory() -> int:
    """Of the host, bytes. MemTotal is in KiB (proc_meminfo(5))."""
    try:
        with open(MEMINFO) as file:
            for line in file:
                name, _, rest = line.partition(":")
                if name == "MemTotal":
                    return int(rest.split()[0]) << 10
    except (OSError, ValueError, IndexError):
        pass
    return _MEMORY_DEFAULT
