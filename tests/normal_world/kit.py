"""A client of the daemon in plain Python, and daemons to talk to: in a process of their own, or in this one."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from normal_world import protocol
from normal_world.protocol import Op
from tee.params import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from normal_world.daemon.server import Server
    from tee.world import SecureWorld

LITEBOX_TA = [sys.executable, "-m", "ta_loader.cli"]

RawParam = tuple[int, int, int, int]
"""kind, shm, a, b"""
NONE: RawParam = (0, 0, 0, 0)


class Reply(NamedTuple):
    op: int
    result: int
    origin: int
    id: int
    size: int
    token: bytes
    params: tuple[RawParam, ...]
    fds: list[int]


def value(kind: Kind, a: int = 0, b: int = 0) -> RawParam:
    return (kind, 0, a, b)


def memref(kind: Kind, shm: int, size: int, offset: int = 0) -> RawParam:
    return (kind, shm, offset, size)


def flat(params: Sequence[RawParam]) -> list[int]:
    return [word for param in [*params, *[NONE] * (4 - len(params))] for word in param]


class RawClient:
    """One connection. Says HELLO unless token is None."""

    def __init__(self, path: str, token: bytes | None = protocol.NO_TOKEN) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(20)
        self.socket.connect(path)
        self.token = b""
        self._calls = iter(range(1, 1 << 30))
        if token is not None:
            reply = self.ask(Op.HELLO, token)
            self.hello = reply
            self.token = reply.token

    def send(self, op: int, *words: Any, fds: Sequence[int] = ()) -> None:
        layout = protocol.REQUESTS[Op(op)]
        frame = layout.pack(protocol.VERSION, op, layout.size, *words)
        self.send_frame(frame, fds)

    def send_frame(self, frame: bytes, fds: Sequence[int] = ()) -> None:
        if fds:
            socket.send_fds(self.socket, [frame], list(fds))
        else:
            self.socket.send(frame)

    def receive(self) -> Reply | None:
        """None at hang-up."""
        try:
            frame, fds, _, _ = socket.recv_fds(self.socket, protocol.FRAME_MAX, 4)
        except ConnectionResetError:
            return None
        if not frame:
            return None
        version, op, length, result, origin, number, zero, size, token, *words = protocol.REPLY.unpack(frame)
        assert (version, length, zero) == (protocol.VERSION, len(frame), 0)
        params = tuple((*words[i : i + 4],) for i in range(0, 16, 4))
        return Reply(op, result, origin, number, size, token, params, fds)

    def ask(self, op: int, *words: Any, fds: Sequence[int] = ()) -> Reply:
        self.send(op, *words, fds=fds)
        reply = self.receive()
        assert reply is not None, "the daemon hung up"
        assert reply.op == op
        return reply

    def open(self, uuid: UUID, *params: RawParam, login: int = 0, data: int = 0, call: int | None = None) -> Reply:
        call = next(self._calls) if call is None else call
        return self.ask(Op.OPEN_SESSION, call, uuid.bytes, login, data, *flat(params))

    def invoke(self, session: int, command: int, *params: RawParam, call: int | None = None) -> Reply:
        call = next(self._calls) if call is None else call
        return self.ask(Op.INVOKE, call, session, command, *flat(params))

    def register(self, fd: int, size: int) -> Reply:
        return self.ask(Op.REGISTER_SHM, size, fds=[fd])

    def close(self) -> None:
        self.socket.close()


def memory(size: int, *, seal: bool = True) -> int:
    """A memfd as libteec makes it."""
    import fcntl

    fd = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    if seal:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    return fd


@contextlib.contextmanager
def in_thread(world: SecureWorld, folder: Path, **options: Any) -> Iterator[tuple[str, Server]]:
    """A daemon in this process: its socket's path, and the server."""
    from normal_world.daemon.listen import listen
    from normal_world.daemon.server import Server

    listener = listen(str(folder / "tee.sock"), 0o600)
    server = Server(world, [listener.socket], **options)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield listener.path, server
    finally:
        server.stop()
        thread.join(30)
        listener.remove()
        assert not thread.is_alive()


class Daemon(NamedTuple):
    path: str
    process: subprocess.Popen[bytes]

    def counts(self) -> tuple[int, int]:
        """Open files and threads."""
        folder = f"/proc/{self.process.pid}"
        return len(os.listdir(f"{folder}/fd")), len(os.listdir(f"{folder}/task"))


@contextlib.contextmanager
def in_process(folder: Path, *options: str) -> Iterator[Daemon]:
    """`litebox-ta serve` with its state and socket in `folder`; its standard error goes to `folder`/log."""
    path = str(folder / "tee.sock")
    ours, theirs = os.pipe()
    command = [*LITEBOX_TA, "serve", "--socket", path, "--state", str(folder / "state"), *options]
    with open(folder / "log", "ab") as log:
        process = subprocess.Popen(
            [*command, "--ready-fd", str(theirs)], pass_fds=[theirs], stderr=log, stdin=subprocess.DEVNULL
        )
    os.close(theirs)
    try:
        ready, _, _ = select.select([ours], [], [], 20)
        assert ready
        assert os.read(ours, 1), (folder / "log").read_text()
        yield Daemon(path, process)
    finally:
        os.close(ours)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
