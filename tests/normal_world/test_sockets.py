"""Sockets for TAs: UDP on the loopback, and what the policy refuses."""

from __future__ import annotations

import socket

import pytest

from normal_world.supplicant.policy import Policy
from normal_world.supplicant.sockets import HostSockets
from tee.abi import results
from tee.errors import TeeError


def test_udp_and_policy() -> None:
    ours = HostSockets(Policy.parse("loopback"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        handle = ours.open(1, 1, 0x66, "127.0.0.1", peer.getsockname()[1])
        assert ours.send(1, handle, b"hello", 1) == 5
        assert peer.recv(99) == b"hello"
    with pytest.raises(TeeError) as caught:
        ours.open(1, 1, 0x65, "192.0.2.1", 9)
    assert caught.value.result == results.ACCESS_DENIED
    ours.close_all(1)
