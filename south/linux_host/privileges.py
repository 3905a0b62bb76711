"""What a process can give up with prctl, capset and rlimits. Sources: prctl(2), capabilities(7), linux/prctl.h."""

from __future__ import annotations

import ctypes
import os
import resource
import struct

PR_SET_DUMPABLE = 4
PR_CAPBSET_READ, PR_CAPBSET_DROP = 23, 24
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
CAPABILITY_VERSION_3 = 0x20080522
"""_LINUX_CAPABILITY_VERSION_3 (linux/capability.h): two sets of three words"""
CAPABILITY_MAX = 64
CAP_SYS_PTRACE = 19

_libc = ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, *arguments: int) -> int:
    wide = [ctypes.c_ulong(argument) for argument in (*arguments, 0, 0, 0, 0)[:4]]
    result = int(_libc.prctl(ctypes.c_int(option), *wide))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def no_new_privileges() -> None:
    """From here on no execve gives more than there is (set-user-ID, file capabilities). OSError."""
    _prctl(PR_SET_NO_NEW_PRIVS, 1)


def drop_capabilities(keep: int | None = None) -> int:
    """Give up every capability, or all but one, for good; how many were given up. OSError: some are left."""
    held = _effective()
    kept = held & (0 if keep is None else 1 << keep)
    if held:
        for number in range(CAPABILITY_MAX):
            try:
                _prctl(PR_CAPBSET_READ, number)
            except OSError:
                break  # the first number that the kernel does not know
            try:
                _prctl(PR_CAPBSET_DROP, number)
            except OSError:
                pass  # without CAP_SETPCAP; with no new privileges nothing comes back from that set
    try:
        _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    except OSError:
        pass  # before Linux 4.3 there were none
    header = struct.pack("=Ii", CAPABILITY_VERSION_3, 0)
    low, high = kept & 0xFFFFFFFF, kept >> 32
    if _libc.capset(header, struct.pack("=6I", low, low, 0, high, high, 0)) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    if _effective() != kept:
        raise OSError(0, "the kernel left some")
    return (held ^ kept).bit_count()


def _effective() -> int:
    """The effective set of the calling thread, as a bit mask."""
    header = ctypes.create_string_buffer(struct.pack("=Ii", CAPABILITY_VERSION_3, 0))
    data = ctypes.create_string_buffer(24)
    if _libc.capget(header, data) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    low, _, _, high, _, _ = struct.unpack("=6I", data.raw[:24])
    return int(low | high << 32)


def no_core_dumps() -> None:
    """Keys stay out of core files, and other processes of the same user out of our memory. OSError, ValueError."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(PR_SET_DUMPABLE, 0)


def other_threads() -> int:
    """Threads of this process beside the calling one; what is restricted by thread does not hold for them."""
    return len(os.listdir("/proc/self/task")) - 1
