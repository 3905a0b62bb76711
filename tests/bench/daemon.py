"""Figures of the daemon: a client in C with libteec, one in Python, and what the daemon itself adds to a call."""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from normal_world import libteec
from normal_world.daemon.status import fetch
from normal_world.protocol import INVOKE, REPLY, VERSION, Op
from south.platform import Arch
from ta_loader import samples
from tee.params import Kind, Value
from tests.bench.guest import EMPTY, US, Bench
from tests.bench.measure import Figure, per_call
from tests.normal_world.kit import RawClient, flat, in_process, value

if TYPE_CHECKING:
    from collections.abc import Iterator

CALLS = 2000
ROUNDS = 9
SOURCE = Path(__file__).parent / "csrc" / "client.c"
CLIENTS = 8


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


def _compile(folder: Path) -> Path:
    uuid = samples.HELLO[Arch.AARCH64]
    low, mid, high = uuid.fields[:3]
    node = ", ".join(f"{byte:#x}" for byte in uuid.bytes[8:])
    command = [libteec.compiler(), "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-D_FILE_OFFSET_BITS=64"]
    command += [f"-DHELLO_UUID={{{low:#x}, {mid:#x}, {high:#x}, {{{node}}}}}"]
    command += [f"-I{libteec.INCLUDE}", f"-I{libteec.HERE / 'src'}", "-o", str(folder / "client"), str(SOURCE)]
    command += [str(libteec.HERE / "src" / "transport.c"), str(libteec.build(folder, libteec.compiler()))]
    subprocess.run([*command, "-Wl,-rpath,$ORIGIN"], check=True, timeout=120)
    return folder / "client"


def c_client(bench: Bench) -> Iterator[Figure]:
    """A C program on libteec, the daemon in a process of its own."""
    del bench
    with tempfile.TemporaryDirectory() as folder:
        client = _compile(Path(folder))
        options = ("--ta-dir", samples.FOLDER, "--trust", samples.public_key_file(), "-q")
        with in_process(Path(folder), *options) as served:

            def run(*arguments: object) -> list[float]:
                command = [str(client), *map(str, arguments)]
                environment = {**os.environ, "LITEBOX_SOCKET": served.path}
                done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
                return [int(line) / 1e3 for line in done.stdout.split()]

            blocking, polling, value_only, memory = run("calls", 41, 200)
            (opened,) = run("open", 41)
            times = run("many", CLIENTS, 40, 1_000_000)
    pairs = [CLIENTS * times[i] / times[i + 1] for i in range(0, len(times), 2)]
    yield Figure("bare echo between two C programs that block, for comparison", "us", blocking, "-")
    name = "value-only invoke, C client (floor: bare echo, both ends poll as they do here)"
    yield Figure(name, "us", value_only, "<= floor + 20 us", polling)
    name = "invoke with 1 MiB of shared memory, C client (floor: the value-only invoke)"
    yield Figure(name, "us", memory, "<= floor + 15 us", value_only)
    yield Figure("open session with TA load, C client, warm", "ms", opened / 1e3, "<= 5 ms")
    name = f"{CLIENTS} C clients at once whose TAs compute, times the work of one (floor: programs without a TA)"
    yield Figure(name, "x", statistics.median(pairs[::2]), ">= 1.6 on two free cores", statistics.median(pairs[1::2]))


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
