"""Figures of the daemon: a client in Python over its socket, and what the daemon itself adds to a call."""

from __future__ import annotations

import socket
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from normal_world.daemon.status import fetch
from normal_world.protocol import INVOKE, REPLY, VERSION, Op
from ta_loader import samples
from tee.params import Kind, Value
from tests.bench.guest import EMPTY, US, Bench
from tests.bench.measure import Figure, per_call
from tests.normal_world.kit import RawClient, flat, in_process, value

if TYPE_CHECKING:
    from collections.abc import Iterator

CALLS = 2000
ROUNDS = 9


def _echo() -> float:
    """Seconds of a round trip of the same frames with a thread that blocks; nothing is looked at."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    reply = bytes(REPLY.size)

    def answer() -> None:
        while theirs.recv(INVOKE.size):
            theirs.send(reply)

    thread = threading.Thread(target=answer)
    thread.start()
    request = bytes(INVOKE.size)

    def ask() -> None:
        ours.send(request)
        ours.recv(REPLY.size)

    try:
        return per_call(ask, CALLS, ROUNDS)
    finally:
        ours.close()
        thread.join()
        theirs.close()


def daemon(bench: Bench) -> Iterator[Figure]:
    direct = per_call(lambda: bench.world.invoke(bench.session, EMPTY, (Value(Kind.VALUE_INPUT, 1, 2),)), CALLS) * US
    with tempfile.TemporaryDirectory() as folder:
        options = ("--ta-dir", samples.FOLDER, "--trust", samples.public_key_file(), "-q")
        with in_process(Path(folder), *options) as served:
            client = RawClient(served.path)
            client.socket.setblocking(True)
            session = client.open(bench.uuid).id
            frame = INVOKE.pack(
                VERSION, Op.INVOKE, INVOKE.size, 1, session, EMPTY, *flat([value(Kind.VALUE_INPUT, 1, 2)])
            )

            def ask() -> None:
                client.socket.send(frame)
                client.socket.recv(REPLY.size)

            ask()
            before = fetch(served.path)["totals"]
            whole = per_call(ask, CALLS, ROUNDS) * US
            after = fetch(served.path)["totals"]
            inside = (after["seconds"] - before["seconds"]) / (after["calls"] - before["calls"]) * US
    yield Figure("value-only invoke, Python client and daemon (floor: a blocking echo)", "us", whole, "-", _echo() * US)
    yield Figure("what the daemon adds to a call (floor: the world's invoke)", "us", inside - direct, "<= 8 us", direct)
