"""libteec against a fake daemon: frames, copies, threads, fork, cancellation, hang-ups; native, ASan, qemu-user."""

from __future__ import annotations

import array
import mmap
import os
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from normal_world import libteec, protocol
from normal_world.protocol import Op
from tests.sanitized import needed

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = Path(__file__).parent / "csrc" / "client.c"
SCENARIOS = ("basic", "temporary", "registered", "allocated", "cancel", "threads", "forks", "hang_up", "races")
FLIP, WAIT, HANG_UP, LIE, SHORT_FRAME, SEEN, CLOSES = range(7)
BAD, CANCEL, NOT_FOUND, SHORT_BUFFER = 0xFFFF0006, 0xFFFF0002, 0xFFFF0008, 0xFFFF0010


class FakeDaemon:
    """Its TA flips the bits of all memory it is offered, and says that half of it is the answer."""

    def __init__(self, path: Path) -> None:
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(str(path))
        self.listener.listen(16)
        self.memory: dict[int, tuple[mmap.mmap, int]] = {}
        self.calls: dict[int, threading.Event] = {}
        self.tokens: set[bytes] = set()
        self.opened: list[tuple[Any, ...]] = []
        self.ops: list[int] = []
        self.problems: list[str] = []
        self.lock = threading.Lock()
        self.late = threading.Event()
        """Set: registrations are answered after a while."""
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client: socket.socket) -> None:
        with client:
            while True:
                try:
                    frame, ancillary, _, _ = client.recvmsg(protocol.FRAME_MAX, socket.CMSG_SPACE(16))
                except OSError:
                    return
                fds = array.array("i")
                for _, _, data in ancillary:
                    fds.frombytes(data[: len(data) - len(data) % 4])
                reply = self.answer(frame, list(fds)) if frame else None
                for fd in fds:
                    os.close(fd)
                if reply is None:
                    return
                try:
                    client.send(reply)
                except OSError:
                    return

    def answer(self, frame: bytes, fds: list[int]) -> bytes | None:
        version, op, length = protocol.HEADER.unpack_from(frame)
        if version != 1 or length != len(frame) or length != protocol.REQUESTS[op].size:
            self.problems.append(f"frame {frame.hex()}")
        words = protocol.REQUESTS[op].unpack(frame)
        self.ops.append(op)
        result, number, token, params = 0, 0, bytes(16), [0] * 16
        if op == Op.HELLO:
            token = words[3]
            if token == bytes(16):
                token = os.urandom(16)
                self.tokens.add(token)
            elif token not in self.tokens:
                self.problems.append("a token that was never given")
        elif op == Op.OPEN_SESSION:
            self.opened.append(words[4:7])
            number = 7
        elif op == Op.REGISTER_SHM:
            if self.late.is_set():
                time.sleep(0.5)
            with self.lock:
                number = len(self.ops) + 100
                while number in self.memory:
                    number += 1
                self.memory[number] = mmap.mmap(fds[0], 0), words[3]
            if not 0 < words[3] <= os.fstat(fds[0]).st_size:
                self.problems.append("size of a registration")
        elif op == Op.RELEASE_SHM:
            if self.memory.pop(words[3], None) is None:
                self.problems.append("release of nothing")
        elif op == Op.CANCEL:
            waiting = self.calls.get(words[3])
            result = 0 if waiting else NOT_FOUND
            if waiting:
                waiting.set()
        elif op == Op.INVOKE:
            command = words[5]
            if command == HANG_UP:
                return None
            if command == SHORT_FRAME:
                return protocol.HEADER.pack(1, op, protocol.REPLY.size)
            if command == WAIT:
                time.sleep(0.002)  # a cancellation gets here before the call that it cancels
                waiting = self.calls[words[3]] = threading.Event()
                result = CANCEL if waiting.wait(30) else 0
            elif command == LIE:
                result, params = SHORT_BUFFER, [6, 0, 0, 0x7FFFFFFF, *[0] * 12]
            elif command == CLOSES:
                params = [2, 0, self.ops.count(Op.CLOSE_SESSION), 0, *[0] * 12]
            else:
                params = self.flip(words[6:])
        return protocol.REPLY.pack(1, op, protocol.REPLY.size, result, 4, number, 0, 0, token, *params)

    def flip(self, words: tuple[int, ...]) -> list[int]:
        out: list[int] = []
        for at in range(0, 16, 4):
            kind, shm, a, b = words[at : at + 4]
            if 1 <= kind <= 3:
                out += [kind, 0, a + 1, b + 1] if kind > 1 else [0] * 4
                continue
            if kind and shm == protocol.NO_SHM:
                if a or b:
                    self.problems.append("a NULL memref with a size")
            elif kind:
                memory, _ = self.memory[shm]
                memory[a : a + b] = bytes(~byte & 0xFF for byte in memory[a : a + b])
            out += [kind, 0, 0, b // 2] if kind > 5 else [0] * 4
        return out


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    fake = FakeDaemon(tmp_path / "tee.sock")
    yield fake
    fake.listener.close()


def compile_client(folder: Path, cc: str, *flags: str, sources: bool = False) -> Path:
    """The test program; with the library's sources compiled in, or (default) with the library beside it."""
    if not libteec.has_c_library(cc):
        pytest.skip(f"{cc} is not installed")
    out = folder / "client"
    command = [cc, "-std=gnu11", "-D_FILE_OFFSET_BITS=64", "-g", "-pthread", "-Wall", "-Wextra", "-Werror", *flags]
    command += [f"-I{libteec.INCLUDE}", "-o", str(out), str(SOURCE)]
    if sources:
        command += [str(path) for path in sorted((libteec.HERE / "src").glob("*.c"))]
    else:
        command += [str(libteec.build(folder, cc)), "-Wl,-rpath,$ORIGIN"]
    subprocess.run(command, check=True, timeout=60)
    return out


def run(command: list[str], tmp_path: Path, **environment: str) -> None:
    env = {**os.environ, "LITEBOX_SOCKET": str(tmp_path / "tee.sock"), **environment}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_client(tmp_path_factory.mktemp("native"), "cc")


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    flags = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    return compile_client(tmp_path_factory.mktemp("asan"), "cc", *flags, sources=True)


@pytest.fixture(scope="module")
def aarch64(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("qemu-aarch64") is None:
        pytest.skip("qemu-aarch64 is not installed")
    return compile_client(tmp_path_factory.mktemp("aarch64"), "aarch64-linux-gnu-gcc")


@pytest.fixture(scope="module")
def threaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_client(tmp_path_factory.mktemp("tsan"), "cc", "-O1", "-fsanitize=thread", sources=True)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_client(tmp_path_factory.mktemp("valgrind"), "cc", "-O1", sources=True)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_native(native: Path, daemon: FakeDaemon, tmp_path: Path, scenario: str) -> None:
    run([str(native), scenario], tmp_path)
    assert not daemon.problems


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_sanitized(sanitized: Path, daemon: FakeDaemon, tmp_path: Path, scenario: str) -> None:
    run([str(sanitized), scenario], tmp_path)
    assert not daemon.problems


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_qemu_user(aarch64: Path, daemon: FakeDaemon, tmp_path: Path, scenario: str) -> None:
    run(["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu", str(aarch64), scenario], tmp_path)
    assert not daemon.problems


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_thread_sanitizer(threaded: Path, daemon: FakeDaemon, tmp_path: Path, scenario: str) -> None:
    command = [needed("setarch"), "-R", str(threaded), scenario]
    run(command, tmp_path, TSAN_OPTIONS="halt_on_error=1 exitcode=9 die_after_fork=0")
    assert not daemon.problems


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_valgrind(plain: Path, daemon: FakeDaemon, tmp_path: Path, scenario: str) -> None:
    run([needed("valgrind"), "-q", "--error-exitcode=9", str(plain), scenario], tmp_path)
    assert not daemon.problems


@pytest.mark.parametrize("checked", ["sanitized", "threaded"])
def test_memory_shared_while_the_context_is_finalized(
    checked: str, request: pytest.FixtureRequest, daemon: FakeDaemon, tmp_path: Path
) -> None:
    """The registration is under way: what it made is let go, and nothing of it stays with the context."""
    daemon.late.set()
    program = [str(request.getfixturevalue(checked)), "finalized"]
    run([needed("setarch"), "-R", *program] if checked == "threaded" else program, tmp_path)
    assert not daemon.problems


def test_without_daemon(native: Path, tmp_path: Path) -> None:
    run([str(native), "nobody"], tmp_path)


@pytest.fixture(scope="module")
def fooled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client, which sees $FAKE_UID as the daemon's."""
    flags = ("-Wl,--wrap=getsockopt", str(SOURCE.parent / "other_uid.c"))
    return compile_client(tmp_path_factory.mktemp("uid"), "cc", *flags, sources=True)


@pytest.mark.parametrize("given", ["", "12346", "12345x", "-1", "4294979641", " 12345"])
def test_a_stranger_that_serves_hears_nothing(fooled: Path, daemon: FakeDaemon, tmp_path: Path, given: str) -> None:
    run([str(fooled), "stranger"], tmp_path, FAKE_UID="12345", LITEBOX_SERVER_UID=given)
    assert daemon.ops == []


@pytest.mark.parametrize("uid", [0, os.geteuid(), 12345])
def test_root_oneself_and_who_is_named_may_serve(fooled: Path, daemon: FakeDaemon, tmp_path: Path, uid: int) -> None:
    named = {"LITEBOX_SERVER_UID": "12345"} if uid == 12345 else {}
    run([str(fooled), "basic"], tmp_path, FAKE_UID=str(uid), **named)
    assert daemon.ops[0] == Op.HELLO


def test_open_frame(native: Path, daemon: FakeDaemon, tmp_path: Path) -> None:
    run([str(native), "basic"], tmp_path, LITEBOX_SPIN_US="0")
    assert daemon.opened == [(bytes(range(1, 17)), 2, 77)]
    assert daemon.ops == [Op.HELLO, Op.OPEN_SESSION, Op.INVOKE, Op.CLOSE_SESSION]


def test_temporary_memory_is_registered_once(native: Path, daemon: FakeDaemon, tmp_path: Path) -> None:
    run([str(native), "temporary"], tmp_path)
    assert daemon.ops.count(Op.REGISTER_SHM) == 3
    assert daemon.ops.count(Op.INVOKE) == 21


def test_exports(native: Path) -> None:
    """The dynamic symbols of optee_client 4.5's library, without versions."""
    library = native.parent / "libteec.so.2"
    listing = subprocess.run(["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True)
    names = {line.split()[-1] for line in listing.stdout.splitlines()}
    calls = "AllocateSharedMemory CloseSession FinalizeContext InitializeContext InvokeCommand OpenSession"
    calls += " RegisterSharedMemory RegisterSharedMemoryFileDescriptor ReleaseSharedMemory RequestCancellation"
    assert names == {f"TEEC_{name}" for name in calls.split()} | {"_dprintf", "dump_buffer"}
    for name in ("libteec.so.2", "libteec.so.1"):
        head = subprocess.run(["objdump", "-p", native.parent / name], check=True, capture_output=True, text=True)
        assert f"SONAME               {name}\n" in head.stdout
