"""Frames that are not of the protocol: a defined error or a hang-up, and the daemon serves on."""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING

import pytest

from normal_world import protocol
from normal_world.protocol import Op
from south.platform import Arch
from ta_loader import samples
from tee.abi import results
from tee.abi.results import Origin
from tee.params import Kind
from tests.normal_world.frames import Mutator
from tests.normal_world.kit import RawClient, flat, memory, value
from tests.threads import eventually

if TYPE_CHECKING:
    from normal_world.daemon.server import Server

HELLO = samples.HELLO[Arch.AARCH64]
_INVOKE = protocol.INVOKE.pack(protocol.VERSION, Op.INVOKE, protocol.INVOKE.size, 1, 1, 0, *(0,) * 16)


@pytest.mark.parametrize(
    "frame",
    [
        struct.pack("<HHI", 2, Op.INVOKE, protocol.INVOKE.size) + _INVOKE[8:],
        struct.pack("<HHI", 1, 99, 8),
        struct.pack("<HHI", 1, 0, 8),
        struct.pack("<HHI", 1, Op.INVOKE, 8),
        struct.pack("<HHI", 1, Op.INVOKE, 0xFFFFFFFF) + _INVOKE[8:],
        _INVOKE[:-1],
        _INVOKE + b"x",
        protocol.HELLO.pack(1, Op.HELLO, protocol.HELLO.size, bytes(16)),
    ],
    ids=["version", "op", "no op", "short", "length", "cut", "long", "second hello"],
)
def test_a_wrong_frame_is_answered_and_ends_the_connection(daemon: tuple[str, Server], frame: bytes) -> None:
    client = RawClient(daemon[0])
    client.send_frame(frame)
    reply = client.receive()
    assert reply is not None
    assert (reply.result, reply.origin) == (results.BAD_PARAMETERS, Origin.COMMS)
    assert client.receive() is None
    assert RawClient(daemon[0]).hello.result == 0


def test_what_has_no_header_or_is_too_long_ends_the_connection(daemon: tuple[str, Server]) -> None:
    client = RawClient(daemon[0])
    client.send_frame(bytes(protocol.FRAME_MAX + 1))
    assert client.receive() is None
    client = RawClient(daemon[0])
    client.send_frame(b"abc")
    reply = client.receive()
    assert reply is None or reply.result == results.BAD_PARAMETERS


def test_calls_need_a_context(daemon: tuple[str, Server]) -> None:
    client = RawClient(daemon[0], None)
    client.send_frame(_INVOKE)
    reply = client.receive()
    assert reply is not None
    assert reply.result == results.BAD_PARAMETERS


def test_files_that_nobody_asked_for_are_closed(daemon: tuple[str, Server]) -> None:
    fd = memory(4096)
    client = RawClient(daemon[0])
    client.send_frame(_INVOKE, [fd, fd, fd])
    reply = client.receive()
    assert reply is not None
    assert reply.result == results.BAD_PARAMETERS
    client.close()
    assert eventually(lambda: not daemon[1].connections)
    assert not daemon[1].memory.files


@pytest.mark.parametrize("frames", [2_000, pytest.param(10_000, marks=pytest.mark.fuzz)])
def test_mutated_frames(daemon: tuple[str, Server], frames: int) -> None:
    mutator = Mutator(daemon[0], random.Random(frames))
    for _ in range(frames):
        mutator.step()
    mutator.close()
    assert daemon[1].bugs == 0
    client = RawClient(daemon[0])
    session = client.open(HELLO).id
    assert client.ask(Op.INVOKE, 1, session, 0, *flat([value(Kind.VALUE_INOUT, 1)])).result == 0
    client.close()
    assert eventually(lambda: not daemon[1].connections)
    assert not daemon[1].memory.files
    assert not daemon[1].contexts
