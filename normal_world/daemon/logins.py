"""Who a client is: the kernel's word about a socket's peer, and the client UUIDs that follow from it.

Public, user and group logins are as Linux's TEE driver has them, kernel logins are refused as it refuses
them (drivers/tee/tee_core.c: tee_session_calc_client_uuid, tee_ioctl_open_session). The driver does not
serve application logins; here their UUID is a UUIDv5 in the driver's namespace of the path of the peer's
executable: `exe=PATH`, `uid=X:exe=PATH` or `gid=X:exe=PATH`.
"""

from __future__ import annotations

import os
import socket
import struct
from typing import NamedTuple

from normal_world.daemon.programs import program_of
from tee.abi import results
from tee.abi.results import Origin
from tee.client_uuid import derived, group_uuid, user_uuid
from tee.errors import TeeError
from tee.session import PUBLIC, Client

LOGIN_PUBLIC = 0  # TEEC_LOGIN_*, GP TEE Client API v1.0 §4.2.2
LOGIN_USER = 1
LOGIN_GROUP = 2
LOGIN_APPLICATION = 4
LOGIN_USER_APPLICATION = 5
LOGIN_GROUP_APPLICATION = 6
LOGIN_REE_KERNEL_MIN = 0x80000000  # TEE_IOCTL_LOGIN_REE_KERNEL_MIN and _MAX, Linux uapi/linux/tee.h
LOGIN_REE_KERNEL_MAX = 0xBFFFFFFF

SO_PEERPIDFD = 77  # asm-generic/socket.h, Linux 6.5
MAX_GROUPS = 65536  # NGROUPS_MAX, Linux uapi/linux/limits.h
_UCRED = struct.Struct("<iII")  # struct ucred: pid, uid, gid


class Peer(NamedTuple):
    """Credentials at connect(2). start: the process's start time, clock ticks since boot; 0: not known.

    pidfd: names the process for good, -1: not to be had.
    """

    pid: int
    uid: int
    gid: int
    groups: frozenset[int] = frozenset()
    start: int = 0
    pidfd: int = -1

    def close(self) -> None:
        if self.pidfd >= 0:
            os.close(self.pidfd)


def read_peer(connection: socket.socket) -> Peer:
    """OSError if the kernel does not tell."""
    pid, uid, gid = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    groups = _groups(connection.fileno())
    return Peer(pid, uid, gid, groups, start_time(pid), _pidfd(connection, pid))


def _groups(fd: int) -> frozenset[int]:
    from normal_world._transport import ffi, lib

    room = 64
    while True:
        found = ffi.new("uint32_t[]", room)
        count = lib.lb_peer_groups(fd, found, room)
        if count >= 0:
            return frozenset(found[0:count])
        if room >= MAX_GROUPS:
            return frozenset()  # a kernel without SO_PEERGROUPS: the main group alone
        room = MAX_GROUPS


def _pidfd(connection: socket.socket, pid: int) -> int:
    try:
        raw = connection.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD, 4)
        return int(struct.unpack("<i", raw)[0])
    except OSError:
        pass
    try:
        return os.pidfd_open(pid)
    except OSError:
        return -1


def start_time(pid: int) -> int:
    """Field 22 of /proc/PID/stat (proc_pid_stat(5)); 0 if there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0


def executable(peer: Peer) -> str | None:
    """Path of the peer's program, None if it cannot be told for sure that it is the peer's."""
    path = program_of(peer.pid)
    if path is None:
        return None
    # The number may be another process's by now: then the pidfd's is gone, or the start time differs.
    if peer.pid <= 0 or not peer.start or start_time(peer.pid) != peer.start:
        return None
    if peer.pidfd >= 0 and not _alive(peer.pidfd):
        return None
    return path


def _alive(pidfd: int) -> bool:
    import select

    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return not poll.poll(0)


def client_of(peer: Peer, login: int, group: int) -> Client:
    """Who opens a session with login method `login`; group: what a group login names.

    TeeError: ACCESS_DENIED for a group the peer is not in and for kernel logins, BAD_PARAMETERS for what
    is no login method, or an application that cannot be told.
    """
    if login == LOGIN_PUBLIC:
        return PUBLIC
    if LOGIN_REE_KERNEL_MIN <= login <= LOGIN_REE_KERNEL_MAX:
        raise TeeError(results.ACCESS_DENIED, "kernel logins are the kernel's", Origin.COMMS)
    if login in (LOGIN_GROUP, LOGIN_GROUP_APPLICATION) and group != peer.gid and group not in peer.groups:
        raise TeeError(results.ACCESS_DENIED, f"the client is not in group {group}", Origin.COMMS)
    if login == LOGIN_USER:
        return Client(login, user_uuid(peer.uid))
    if login == LOGIN_GROUP:
        return Client(login, group_uuid(group))
    who = {
        LOGIN_APPLICATION: "",
        LOGIN_USER_APPLICATION: f"uid={peer.uid:x}:",
        LOGIN_GROUP_APPLICATION: f"gid={group:x}:",
    }.get(login)
    if who is None:
        raise TeeError(results.BAD_PARAMETERS, f"{login:#x} is no login method", Origin.COMMS)
    path = executable(peer)
    if path is None:
        raise TeeError(results.BAD_PARAMETERS, "the client's program cannot be told", Origin.COMMS)
    return Client(login, derived(f"{who}exe={path.encode('utf-8', 'surrogateescape').hex()}"))
