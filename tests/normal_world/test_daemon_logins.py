"""Client UUIDs by login method. Oracle: UUIDv5 of RFC 4122 §4.3, computed here from SHA-1."""

from __future__ import annotations

import hashlib
import os
import socket
from uuid import UUID

import pytest

from normal_world.daemon import logins
from normal_world.daemon.logins import Peer, client_of, read_peer
from tee.abi import results
from tee.abi.results import Origin
from tee.errors import TeeError

NAMESPACE = bytes.fromhex("58ac9ca020864683a1b8ec4bc08e01b6")
PEER = Peer(4242, 0x3E8, 100, frozenset({7, 0x1F}))


def uuid5(name: str) -> UUID:
    digest = bytearray(hashlib.sha1(NAMESPACE + name.encode()).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    return UUID(bytes=bytes(digest))


def refused(peer: Peer, login: int, group: int = 0) -> tuple[int, int]:
    with pytest.raises(TeeError) as caught:
        client_of(peer, login, group)
    return caught.value.result, caught.value.origin


def test_as_the_driver_has_them() -> None:
    assert client_of(PEER, logins.LOGIN_PUBLIC, 0) == (0, UUID(int=0))
    assert client_of(PEER, logins.LOGIN_USER, 0) == (1, uuid5("uid=3e8"))
    assert client_of(PEER, logins.LOGIN_GROUP, 100) == (2, uuid5("gid=64"))
    assert client_of(PEER, logins.LOGIN_GROUP, 0x1F) == (2, uuid5("gid=1f"))


def test_only_own_groups_and_no_kernel() -> None:
    denied = (results.ACCESS_DENIED, Origin.COMMS)
    assert refused(PEER, logins.LOGIN_GROUP, 8) == denied
    assert refused(PEER, logins.LOGIN_GROUP_APPLICATION, 8) == denied
    assert refused(PEER, 0x80000000) == denied
    assert refused(PEER, 0xBFFFFFFF) == denied


@pytest.mark.parametrize("login", [3, 7, 8, 0x7FFFFFFF, 0xC0000000, 0xF0000000, 0xFFFFFFFF])
def test_what_is_no_login_method(login: int) -> None:
    assert refused(PEER, login) == (results.BAD_PARAMETERS, Origin.COMMS)


def test_applications_are_the_kernels_word() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        peer = read_peer(ours)
        try:
            assert (peer.pid, peer.uid, peer.gid) == (os.getpid(), os.geteuid(), os.getegid())
            assert set(os.getgroups()) <= peer.groups | {peer.gid}
            exe = os.readlink("/proc/self/exe").encode().hex()
            assert client_of(peer, 4, 0).uuid == uuid5(f"exe={exe}")
            assert client_of(peer, 5, 0).uuid == uuid5(f"uid={peer.uid:x}:exe={exe}")
            assert client_of(peer, 6, peer.gid).uuid == uuid5(f"gid={peer.gid:x}:exe={exe}")
        finally:
            peer.close()


def test_an_application_that_is_gone_is_not_told() -> None:
    """Its number may be another process's by now: this one's, say."""
    stale = Peer(os.getpid(), 0, 0, start=logins.start_time(os.getpid()) - 1)
    assert refused(stale, logins.LOGIN_APPLICATION) == (results.BAD_PARAMETERS, Origin.COMMS)
    pid = os.fork()
    if not pid:
        os._exit(0)
    start, pidfd = logins.start_time(pid), os.pidfd_open(pid)
    os.waitid(os.P_PID, pid, os.WEXITED)
    dead = Peer(pid, 0, 0, start=start, pidfd=pidfd)
    assert refused(dead, logins.LOGIN_APPLICATION) == (results.BAD_PARAMETERS, Origin.COMMS)
    dead.close()
