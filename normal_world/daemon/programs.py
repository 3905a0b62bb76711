"""Which program a client runs: application logins and the status ask for it.

Landlock keeps a restricted process from /proc/PID/exe of every process outside of its domain (the link is guarded
as ptrace is). So a child is forked before: it keeps that one right, has no other system calls than the few it
takes to read a number and answer a path, and ends with the daemon.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import threading

from normal_world.daemon import syscalls
from south.linux_host import privileges, seccomp

_PID = struct.Struct("=i")
_PATH_MAX = 4096
"""linux/limits.h"""
_FD = 3
_TIMEOUT = 5.0
"""Seconds that an answer may take: a guard against a child that was stopped."""

_lock = threading.Lock()
_child: socket.socket | None = None


def program_of(pid: int) -> str | None:
    """Path of the executable that the process runs at this moment; None: not to be told."""
    if pid <= 0:
        return None
    if _child is None:
        return _readlink(pid)
    try:
        with _lock:
            _child.send(_PID.pack(pid), socket.MSG_NOSIGNAL)
            answer = _child.recv(_PATH_MAX)
    except OSError:
        return None
    return os.fsdecode(answer[1:]) or None


def _readlink(pid: int) -> str | None:
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return None


def start() -> None:
    """Fork the child that answers `program_of` from here on. OSError."""
    global _child
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        try:
            _run(theirs.fileno())
        finally:
            os._exit(0)
    theirs.close()
    ours.settimeout(_TIMEOUT)
    # Its first word: it has restricted itself, or could not.
    try:
        restricted = ours.recv(_PATH_MAX) == b"+"
    except OSError:
        restricted = False
    if not restricted:
        ours.close()
        os.waitpid(pid, 0)
        raise OSError(0, "the process that tells clients' programs could not restrict itself")
    _child = ours


def _run(fd: int) -> None:
    """The child's life. It ends when the daemon's side of the socket is closed, and by no signal meant for both."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.set_wakeup_fd(-1)
    if fd != _FD:
        os.dup2(fd, _FD)
    for standard in range(_FD):
        os.close(standard)
    os.closerange(_FD + 1, os.sysconf("SC_OPEN_MAX"))
    privileges.no_new_privileges()
    privileges.drop_capabilities(keep=privileges.CAP_SYS_PTRACE)
    privileges.no_core_dumps()
    with seccomp.Filter() as rules:
        rules.allow(syscalls.PROGRAMS)
        rules.kill(syscalls.FATAL)
        rules.load()
        os.write(_FD, b"+")
        while len(request := os.read(_FD, _PID.size)) == _PID.size:
            path = _readlink(_PID.unpack(request)[0])
            os.write(_FD, b"=" + os.fsencode(path or "")[: _PATH_MAX - 1])
