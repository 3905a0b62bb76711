"""Every path that touches the host, but for trusted storage: each call of the host's on it fails once.

A service answers its defined errors, a command says one line and ends with a code; what was there before is there
wholly, or what was to be; the next try succeeds; no descriptor is left open.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import gc
import io
import json
import os
import socket
import threading
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import pytest

from south.errors import UsageError
from south.platform import Arch
from south.replacing import SUFFIX
from ta_loader import samples
from tee.errors import TeeError
from tests.fakes import Lines
from tests.host_faults import MATTERS, Faults
from tests.threads import eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TA = UUID("0a1b2c3d-4e5f-4607-8899-aabbccddeeff")
HELLO = samples.HELLO[Arch.AARCH64]


class Tried(NamedTuple):
    """act: what fails. check: given whether it succeeded, AssertionError if it left anything but the old or the new;
    it closes everything."""

    act: Callable[[], object]
    check: Callable[[bool], object]


# --- services of the normal world


class Echo:
    """A server on the loopback that answers whatever comes."""

    def __init__(self, kind: socket.SocketKind) -> None:
        self.socket = socket.socket(socket.AF_INET, kind)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self._ends = False
        if kind == socket.SOCK_STREAM:
            self.socket.listen()
        self._thread = threading.Thread(
            target=self._stream if kind == socket.SOCK_STREAM else self._datagrams, daemon=True
        )
        self._thread.start()

    def _stream(self) -> None:
        while True:
            client = self.socket.accept()[0]
            with client, contextlib.suppress(OSError):
                if self._ends:
                    return
                client.sendall(client.recv(99))

    def _datagrams(self) -> None:
        while not self._ends:
            data, sender = self.socket.recvfrom(99)
            with contextlib.suppress(OSError):
                self.socket.sendto(data, sender)

    def close(self) -> None:
        self._ends = True
        with socket.socket(socket.AF_INET, self.socket.type) as last:
            last.connect(("127.0.0.1", self.port))
            last.send(b"x")
        self._thread.join()
        self.socket.close()


def sockets(kind: socket.SocketKind) -> Callable[[Path], Tried]:
    from normal_world.supplicant.policy import Policy
    from normal_world.supplicant.sockets import HostSockets
    from tee.abi import pta_socket as abi

    protocol = abi.PROTOCOLID_TCP if kind == socket.SOCK_STREAM else abi.PROTOCOLID_UDP

    def prepare(place: Path) -> Tried:
        echo = Echo(kind)
        ours = HostSockets(Policy.parse("loopback"))

        def talk() -> None:
            handle = ours.open(1, abi.IP_VERSION_4, protocol, "127.0.0.1", echo.port)
            if kind == socket.SOCK_STREAM:
                ours.ioctl(1, handle, abi.TCP_SET_RECVBUF, (8192).to_bytes(4, "little"))
            else:
                ours.ioctl(1, handle, abi.UDP_CHANGEADDR, b"127.0.0.1\0")
                ours.ioctl(1, handle, abi.UDP_CHANGEPORT, echo.port.to_bytes(2, "little"))
            assert ours.send(1, handle, b"hello", 30) == 5
            assert ours.receive(1, handle, 99, 30) == b"hello"
            ours.close(1, handle)

        def check(done: bool) -> None:
            ours.close_all(1)
            talk()
            echo.close()

        return Tried(talk, check)

    return prepare


def c_plugins(place: Path) -> Tried:
    from normal_world.supplicant.plugins import HostPlugins
    from tests.normal_world.plugin_kit import TEST_UUID, compile_plugin

    folder = place.parent / "plugins"
    if not folder.exists():
        compile_plugin(folder)
    lines: list[str] = []

    def use(tell: Callable[[str], None]) -> None:
        plugins = HostPlugins([str(folder)], tell=tell)
        try:
            plugins.invoke(TEST_UUID, 1, 0, bytearray(b"data"), lambda: False)
        finally:
            plugins.close()

    def check(done: bool) -> None:
        assert done or all("\n" not in line and "Traceback" not in line for line in lines)
        use(pytest.fail)

    return Tried(lambda: use(lines.append), check)


def python_plugin(place: Path) -> Tried:
    from normal_world.supplicant.plugins_python import Guarded

    class Plugin:
        def invoke(self, cmd: int, sub_cmd: int, data: memoryview) -> tuple[int, int]:
            return 0, len(data)

    guarded = Guarded(Plugin(), 30, pytest.fail)

    def use() -> None:
        assert guarded.invoke(1, 0, bytearray(b"data"), lambda: False) == (0, 4)

    return Tried(use, lambda _: use())


def rpmb(place: Path) -> Tried:
    from normal_world.supplicant.rpmb_store import Geometry, RpmbStore, State

    path, geometry = str(place / "rpmb"), Geometry(1, 1, bytes(16))
    RpmbStore(path, geometry).close()
    blocks = [bytes([1]) * 256, bytes([2]) * 256]

    def use() -> None:
        store = RpmbStore(path, geometry)
        try:
            store.commit(State(bytes(32), 1), 5, blocks)
            assert store.read(5, 2) == blocks
        finally:
            store.close()

    def check(done: bool) -> None:
        store = RpmbStore(path, geometry)
        assert store.state.counter in ((1,) if done else (0, 1))
        assert store.read(5, 2) == (blocks if store.state.counter else [bytes(256)] * 2)
        store.close()
        use()

    return Tried(use, check)


def new_rpmb(place: Path) -> Tried:
    from normal_world.supplicant.rpmb_store import Geometry, RpmbStore

    def use() -> None:
        RpmbStore(str(place / "rpmb"), Geometry(1, 1, bytes(16))).close()

    def check(done: bool) -> None:
        use()
        assert os.listdir(place) == ["rpmb"]

    return Tried(use, check)


def profiles(place: Path) -> Tried:
    from normal_world.supplicant.profiles import ProfileFolder
    from tee.normal import ProfileKind

    pieces = [b"first part,", b"second part"]

    def use() -> None:
        folder = ProfileFolder(str(place / "profiles"))
        try:
            file = 0
            for piece in pieces:
                file = folder.append(ProfileKind.GMON, TA, piece, file)
        finally:
            folder.close()

    def check(done: bool) -> None:
        found = [path.read_bytes() for path in (place / "profiles").iterdir()] if (place / "profiles").exists() else []
        assert found in ([[b"".join(pieces)]] if done else [[], [pieces[0]], [b"".join(pieces)]])
        use()

    return Tried(use, check)


@functools.cache
def hello_images() -> tuple[bytes, list[bytes]]:
    """The ELF of a TA, and versions 1 and 2 of it."""
    from ta_loader.container.sign import sign
    from ta_loader.container.verify import open_container
    from ta_loader.trust import TrustStore

    trust = TrustStore([samples.public_key_file()])
    elf = bytes(open_container(samples.hello(Arch.AARCH64).read_bytes(), trust).elf)
    return elf, [sign(elf, samples.private_key().read_bytes(), HELLO, version) for version in (1, 2)]


def installing(place: Path) -> Tried:
    """A TA that is installed is the old one or the new one, and starts."""
    from normal_world.host.compose import Host
    from normal_world.host.setup import Setup
    from tee.abi.pta_uuids import PTA_SECSTOR_TA_MGMT_UUID
    from tee.params import Kind, Memref
    from tee.storage.tadb import load

    elf, images = hello_images()
    setup = Setup(trust=(samples.public_key_file(),), state=str(place / "state"))
    console = Lines()
    host = Host(setup, console=console, interruptible=False)
    host.__enter__()

    pages = host.platform.pages.shared(1 << 16)

    def install(image: bytes) -> None:
        pages.view(0, len(image))[:] = image
        opened = host.world.open_session(PTA_SECSTOR_TA_MGMT_UUID)
        done = host.world.invoke(opened.session, 0, [Memref(Kind.MEMREF_INPUT, pages, len(image))])
        host.world.close_session(opened.session)
        if done.result:
            raise TeeError(done.result, origin=done.origin)

    def use() -> None:
        install(images[1])
        opened = host.world.open_session(HELLO)
        if opened.result:
            raise TeeError(opened.result, origin=opened.origin)

    def check(done: bool) -> None:
        assert not host.world.bugs, console.text
        assert "Traceback" not in console.text
        assert done or "litebox: " in console.text
        version, image = load(host.world.storage.ree(), HELLO)
        assert version in ((2,) if done else (1, 2))
        assert image == elf
        assert not host.world.open_session(HELLO).result
        install(images[1])
        host.__exit__(None, None, None)
        with Host(setup, console=Lines(), interruptible=False) as again:
            assert load(again.world.storage.ree(), HELLO)[0] == 2
            assert not again.world.open_session(HELLO).result

    install(images[0])
    return Tried(use, check)


# --- the daemon and its clients


def listening(place: Path) -> Tried:
    from normal_world.daemon.listen import listen

    def use() -> None:
        listener = listen(str(place / "sock"), 0o660, os.getegid())
        listener.socket.close()
        listener.remove()

    def check(done: bool) -> None:
        assert done or os.listdir(place) == []
        use()

    return Tried(use, check)


def accepting(place: Path) -> Tried:
    """Whatever fails ends that client's connection at most, never the loop that accepts."""
    from normal_world.daemon.listen import listen
    from normal_world.daemon.server import Server
    from tee.world import SecureWorld
    from tests.normal_world.kit import RawClient

    world = hello_world(place)
    listener = listen(str(place / "sock"), 0o600)
    server = Server(world, [listener.socket], deadline=1.0)
    listener.socket.setblocking(False)
    client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    client.connect(listener.path)
    assert isinstance(world, SecureWorld)

    def check(done: bool) -> None:
        assert done
        client.close()
        thread = threading.Thread(target=server.serve, daemon=True)
        thread.start()
        other = RawClient(listener.path)
        assert not other.open(HELLO).result
        other.close()
        assert eventually(lambda: not server.connections, 30)
        server.stop()
        thread.join()
        listener.remove()
        world.close()
        assert not server.bugs

    return Tried(lambda: server._accept(listener.socket), check)


def hello_world(place: Path) -> Any:
    from south.linux_host import linux_host
    from ta_loader.source import Loader
    from ta_loader.store import TaStore
    from ta_loader.trust import TrustStore
    from tee.world import SecureWorld

    store = TaStore([samples.FOLDER], TrustStore([samples.public_key_file()]))
    return SecureWorld(linux_host(str(place / "state"), console=Lines()), Loader(store))


def client(place: Path) -> Tried:
    from normal_world import Context, Value
    from tests.normal_world.kit import in_thread

    ends = contextlib.ExitStack()
    world = hello_world(place)
    ends.callback(world.close)
    path, _ = ends.enter_context(in_thread(world, place))

    def use() -> None:
        with Context.daemon(path) as tee:
            with tee.open_session(str(HELLO)) as session:
                memory = tee.allocate(4096)
                session.invoke(0, Value.inout(41))
                memory.close()

    def check(done: bool) -> None:
        use()
        ends.close()

    return Tried(use, check)


# --- files


def replaced(place: Path) -> Tried:
    from south.replacing import replace

    out = place / "out"
    out.write_bytes(b"old")

    def check(done: bool) -> None:
        assert out.read_bytes() in ((b"new",) if done else (b"old", b"new"))
        assert os.listdir(place) == ["out"]

    return Tried(lambda: replace(str(out), b"new"), check)


def folder(place: Path) -> Tried:
    from south.replacing import temporary_folder

    def use() -> None:
        with temporary_folder("work", place) as work:
            (work / "file").write_bytes(b"x")
            os.rename(work / "file", place / "out")

    def check(done: bool) -> None:
        left = {name for name in os.listdir(place) if not name.endswith(SUFFIX)}
        assert left == {"out"} if done else left <= {"out"}
        use()

    return Tried(use, check)


def key(place: Path) -> Tried:
    from south.linux_host import linux_host

    def use() -> bytes:
        return linux_host(str(place / "state")).root_of_trust.hardware_unique_key()

    def check(done: bool) -> None:
        assert use() == use()
        assert os.listdir(place / "state") == ["hardware-unique-key"]

    return Tried(use, check)


def private_folder(place: Path) -> Tried:
    from normal_world.run_with.sweeper import PrivateFolder

    def use() -> None:
        PrivateFolder().close()

    return Tried(use, lambda _: use())


# --- commands


class Command(NamedTuple):
    """words: its command line, with @ for a folder. made: AssertionError if what is there is no whole thing."""

    words: str
    made: Callable[[Path, bool], object]


def trace(place: Path, done: bool) -> None:
    if done or (place / "trace").exists():
        assert json.loads((place / "trace").read_text())


def signed(place: Path, done: bool) -> None:
    from ta_loader.container.verify import open_container
    from ta_loader.trust import TrustStore

    if done or (place / "ta").exists():
        open_container((place / "ta").read_bytes(), TrustStore([samples.public_key_file()]))


def project(place: Path, done: bool) -> None:
    from ta_loader.cli.new import template_files

    found = [path for path in place.rglob("*") if path.is_file() and path != place / "elf"]
    assert len(found) == len(list(template_files())) if done or (place / "greeter").exists() else not found


def pages(place: Path, done: bool) -> None:
    """Each of them whole."""
    for path in (place / "man").rglob("*.1*") if (place / "man").exists() else ():
        assert path.read_text().startswith(('.\\"', ".TH"))
        assert path.stat().st_size > 200


def exported(place: Path, done: bool) -> None:
    if (place / "out" / "index.json").exists():
        assert json.loads((place / "out" / "index.json").read_text())
    else:
        assert not done


def stored(place: Path, done: bool) -> None:
    from ta_loader.cli import main

    assert main(["storage", "--state", str(place / "state"), "check"]) == 0


SIGN = f"sign @/elf --out @/ta --key {samples.private_key()} --uuid {TA}"
COMMANDS = {
    "run": Command("run hello --state @/state --invoke 0 value:1 --trace-out @/trace --profile-dir @/profiles", trace),
    "new": Command("new greeter --dir @/greeter", project),
    "man": Command("man --out @/man", pages),
    "sign": Command(SIGN, signed),
    "storage put": Command(f"storage --state @/state put {TA} object @/elf", stored),
    "storage export": Command("storage --state @/state export @/out", exported),
}


def command(given: Command) -> Callable[[Path], Tried]:
    def prepare(place: Path) -> Tried:
        from ta_loader.cli import main

        (place / "elf").write_bytes(b"\x7fELF" + bytes(range(256)) * 20)
        (place / "state").mkdir(mode=0o700)
        if given.words.startswith("storage"):
            (place / "state" / "tee").mkdir(mode=0o700)
            words = f"storage --state {place}/state put {TA} before {place}/elf".split()
            assert main(words) == 0
        said = io.StringIO()

        def use() -> None:
            with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
                code = main([word.replace("@", str(place)) for word in given.words.split()])
            if code:
                raise TeeError(code, said.getvalue())

        def check(done: bool) -> None:
            text = said.getvalue()
            lines = [line for line in text.splitlines() if line.startswith(("litebox-ta: ", "litebox: "))]
            assert done or lines, text
            assert "Traceback" not in text
            assert "internal error" not in text
            given.made(place, done)
            assert not [path for path in place.rglob(f"*{SUFFIX}") if path.is_file()]

        return Tried(use, check)

    return prepare


class Trial(NamedTuple):
    """defined: what it may raise."""

    prepare: Callable[[Path], Tried]
    defined: tuple[type[Exception], ...] = (TeeError,)


TRIALS = {
    "TCP": Trial(sockets(socket.SOCK_STREAM), (TeeError, OSError)),
    "UDP": Trial(sockets(socket.SOCK_DGRAM), (TeeError, OSError)),
    "C plugins": Trial(c_plugins, (TeeError, UsageError, OSError)),
    "Python plugins": Trial(python_plugin),
    "RPMB": Trial(rpmb, (UsageError, OSError)),
    "a new RPMB": Trial(new_rpmb, (UsageError, OSError)),
    "profiles": Trial(profiles, (TeeError, UsageError)),
    "installing a TA": Trial(installing),
    "listening": Trial(listening, (UsageError,)),
    "accepting": Trial(accepting, ()),
    "client": Trial(client),
    "replacing": Trial(replaced, (OSError,)),
    "folder": Trial(folder, (OSError,)),
    "key": Trial(key, (OSError,)),
    "private folder": Trial(private_folder, (OSError,)),
    **{name: Trial(command(given)) for name, given in COMMANDS.items()},
}
SETTLED = 30.0
"""Seconds until a process or a thread that has ended has closed what it had."""


def descriptors() -> dict[str, str]:
    out = {}
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            out[number] = os.readlink(f"/proc/self/fd/{number}")
    return {number: where for number, where in out.items() if not where.startswith(f"/proc/{os.getpid()}")}


def attempt(trial: Trial, faults: Faults, place: Path, at: int, number: int, *, first: bool = False) -> list[str]:
    """The names of the calls that were made. first: of all, in which the process gets what it then keeps."""
    place.mkdir(mode=0o700)
    before = descriptors()
    tried = trial.prepare(place)
    problem: BaseException | None = None
    faults.arm(at, number)
    try:
        tried.act()
    except trial.defined as error:
        problem = error
    finally:
        faults.disarm()
    assert problem is None or faults.fired, problem
    if problem is not None:
        assert "Traceback" not in str(problem)
    names = list(faults.names)
    tried.check(problem is None)
    problem = None
    del tried
    if not first and len(descriptors()) > len(before):
        gc.collect()  # which takes longer than most of all this
        settled = eventually(lambda: len(descriptors()) <= len(before), SETTLED)
        assert settled, set(descriptors().values()) - set(before.values())
    return names


def chosen(names: list[str], every: bool) -> list[tuple[int, int]]:
    """Which call fails, and with what: all of them in all ways; or the first and the last of each kind."""
    if every:
        return [(at, number) for at, name in enumerate(names) for number in MATTERS[name]]
    out = []
    for name in dict.fromkeys(names):
        places = [at for at, other in enumerate(names) if other == name]
        picked = sorted({places[0], places[-1]})
        out += [(at, MATTERS[name][turn % len(MATTERS[name])]) for turn, at in enumerate(picked)]
    return out


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.fuzz)], ids=["some", "all"])
@pytest.mark.parametrize("name", TRIALS)
def test_each_call_of_the_host_fails_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, every: bool
) -> None:
    trial = TRIALS[name]
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    faults = Faults(monkeypatch)
    names = attempt(trial, faults, tmp_path / "whole", -1, 0, first=True)
    assert names
    problems = []
    for at, number in chosen(names, every):
        try:
            attempt(trial, faults, tmp_path / f"{at}-{number}", at, number)
        except BaseException as problem:
            faults.disarm()
            where = f"call {at} ({faults.fired or names[at]}) with {errno.errorcode[number]}"
            problems.append(f"{where}: {type(problem).__name__}: {problem}".splitlines()[0][:300])
    assert not problems, "\n".join(problems)
