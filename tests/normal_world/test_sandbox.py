"""The restricted process: what works in it, what is refused, what ends it, and that the docs say the same.

Each case is a process of its own: there is no way back out of the sandbox.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest

from normal_world.daemon import syscalls
from normal_world.daemon.logins import LOGIN_APPLICATION
from normal_world.daemon.sandbox import Layer, Report, runtime_paths
from normal_world.daemon.status import fetch
from south.linux_host import landlock, seccomp
from south.platform import Arch
from ta_loader import samples
from tee.params import Kind
from tests.normal_world.kit import RawClient, in_process, value
from tests.threads import eventually

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "daemon.md"
COUNT = 101
"""Calls that are always allowed. Whoever changes it says in `syscalls.ALLOWED` and in docs/daemon.md why."""


def _missing() -> str:
    """Why this host cannot restrict a process; empty: it can."""
    try:
        landlock.abi()
        with seccomp.Filter():
            pass
    except (landlock.LandlockError, seccomp.SeccompError) as problem:
        return str(problem)
    return ""


needs_host = pytest.mark.skipif(bool(_missing()), reason=f"this host cannot restrict a process: {_missing()}")


def child(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
    )


RESTRICT = """
import sys
from normal_world.daemon.sandbox import restrict
report = restrict([], sys.argv[1:2], sockets="sockets" in sys.argv)
print(report.line())
if not report.complete:
    sys.exit(3)
"""

WORK = """
import hashlib, os, signal, socket, sys, threading, time
from normal_world.daemon.sandbox import restrict
from normal_world.host.compose import Host
from normal_world.host.setup import Setup

state, outside = sys.argv[1:3]
parent = os.getppid()
pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
with Host(Setup(state=state, quiet=True)) as host:
    hello = host.resolve("hello")
    report = restrict([os.path.join(outside, "ta")], [state], sockets=False)
    print(report.line())
    before = set(sys.modules)
    from ta_loader.cli.calls import Caller
    from ta_loader.cli.params import parse_params
    from tee.session import PUBLIC

    results = []

    def work():
        import colorsys, decimal, sqlite3
        caller = Caller(host)
        session, _ = caller.open(hello, (), PUBLIC)
        value = caller.invoke(session, hello, 0, parse_params(("value:41",))).result
        hashed = caller.invoke(session, hello, 1, parse_params(("in:str:abc", "out:32"))).result
        panic = caller.invoke(session, hello, 2, parse_params(("value-in:1",))).result
        results.append((value, hashed, panic))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("results", *(int(result) for result in sorted(set(results))[0]), len(set(results)))
    print("imported", {"decimal", "sqlite3", "colorsys"} <= set(sys.modules) - before)

    # What the daemon does with clients and with trusted storage.
    shared = host.platform.pages.shared(8192)
    socket.send_fds(pair[0], [b"frame"], [shared.fd])
    frame, fds, _, _ = socket.recv_fds(pair[1], 512, 1)
    os.stat(fds[0])
    pair[0].settimeout(0.01)
    new, old = os.path.join(state, "new"), os.path.join(state, "folder", "old")
    os.mkdir(os.path.dirname(old), 0o700)
    fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    os.pwrite(fd, b"data", 0), os.fsync(fd), os.ftruncate(fd, 2), os.close(fd)
    os.rename(new, old)
    os.listdir(os.path.dirname(old)), os.unlink(old), os.rmdir(os.path.dirname(old))
    time.sleep(0.001), os.getrandom(4), signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.kill(os.getpid(), signal.SIGTERM)
    from normal_world.daemon.programs import program_of
    print("program", program_of(os.getpid()) == program_of(parent) != None, program_of(0x7FFFFFFF))
    print("storage and clients")

    def refused(name, attempt):
        try:
            attempt()
        except OSError as problem:
            print("refused", name, problem.errno)
        else:
            print("ALLOWED", name)

    refused("other-program", lambda: os.readlink(f"/proc/{parent}/exe"))
    refused("shadow", lambda: open("/etc/shadow", "rb"))
    refused("passwd", lambda: open("/etc/passwd", "rb"))
    refused("home", lambda: os.listdir(os.path.expanduser("~")))
    refused("outside-read", lambda: open(os.path.join(outside, "file"), "rb"))
    refused("outside-write", lambda: open(os.path.join(outside, "new"), "wb"))
    refused("outside-rename", lambda: os.rename(state, os.path.join(outside, "moved")))
    refused("code-write", lambda: open(os.__file__, "ab"))
    refused("symlink", lambda: os.symlink("/etc/shadow", os.path.join(state, "link")))
    refused("link", lambda: os.link("/etc/shadow", os.path.join(state, "link")))
    refused("inet", lambda: socket.socket(socket.AF_INET))
    refused("inet6", lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
    refused("unix", lambda: socket.socket(socket.AF_UNIX))
    refused("netlink", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW))
    refused("kill", lambda: os.kill(parent, 0))
    refused("chmod", lambda: os.chmod(state, 0o777))
    tas = open(os.path.join(outside, "ta"), "rb")  # a folder that may be read
    refused("fchmod", lambda: os.fchmod(tas.fileno(), 0o6777))
    refused("fchown", lambda: os.fchown(tas.fileno(), 1, 1))
    refused("utime", lambda: os.utime(tas.name, (1, 1)))
    refused("futime", lambda: os.utime(tas.fileno(), (1, 1)))
    refused("xattr", lambda: os.setxattr(tas.name, "user.x", b"x"))
    refused("truncate", lambda: os.truncate(tas.name, 0))
    import fcntl
    refused("owner", lambda: fcntl.fcntl(pair[0], fcntl.F_SETOWN, parent))
    refused("signal", lambda: fcntl.fcntl(pair[0], fcntl.F_SETSIG, signal.SIGUSR1))
    refused("async", lambda: fcntl.fcntl(pair[0], fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC))
    refused("notify", lambda: fcntl.fcntl(os.open(state, os.O_RDONLY), fcntl.F_NOTIFY, fcntl.DN_CREATE))
    refused("lease", lambda: fcntl.fcntl(tas, fcntl.F_SETLEASE, fcntl.F_RDLCK))
    refused("attach", lambda: pair[0].setsockopt(socket.SOL_SOCKET, 26, bytes(16)))  # SO_ATTACH_FILTER
    refused("chown", lambda: os.chown(state, 1, 1))
    refused("setuid", lambda: os.setuid(12345))
    refused("nice", lambda: os.nice(1))
"""


@needs_host
def test_a_world_works_and_the_host_is_out_of_reach(tmp_path: Path) -> None:
    state, outside = tmp_path / "state", tmp_path / "outside"
    state.mkdir(mode=0o700)
    outside.mkdir()
    (outside / "file").write_text("secret")
    (outside / "ta").write_text("ta")
    before = (outside / "ta").stat()
    done = child(WORK, str(state), str(outside))
    assert done.returncode == 0, done.stderr + done.stdout
    lines = done.stdout.splitlines()
    assert "NOT ACTIVE" not in lines[0]
    assert f"{COUNT} system calls allowed" in lines[0] or os.uname().machine != "x86_64"
    assert lines[1:4] == ["results 0 0 4294914084 1", "imported True", "program True None"]
    assert lines[4] == "storage and clients"
    assert not [line for line in lines if line.startswith("ALLOWED")]
    assert len(lines) == 5 + 31, done.stdout
    after = (outside / "ta").stat()
    assert (after.st_mode, after.st_mtime, after.st_size) == (before.st_mode, before.st_mtime, before.st_size)


@needs_host
@pytest.mark.parametrize("version", range(1, 8))
def test_an_older_landlock_lets_no_file_be_emptied_and_no_signal_out(version: int, tmp_path: Path) -> None:
    """The kernel's ABI as it would be: rights that came later are not asked for."""
    (tmp_path / "state").mkdir()
    (tmp_path / "ta").write_text("ta")
    code = f"""
import fcntl, os, signal, socket, sys
from south.linux_host import landlock
landlock.abi = lambda: {version}
from normal_world.daemon.sandbox import restrict
ta, pair, parent = sys.argv[2], socket.socketpair(), os.getppid()
report = restrict([ta], [sys.argv[1]], sockets=False)
print(report.line())
def signal_by_descriptor():
    fcntl.fcntl(pair[0], fcntl.F_SETOWN, parent)
for attempt in (
    lambda: os.truncate(ta, 0),
    lambda: os.open(ta, os.O_RDONLY | os.O_TRUNC),
    lambda: os.open(ta, 3 | os.O_TRUNC),
    lambda: os.open(ta, os.O_WRONLY | os.O_TRUNC),
    lambda: os.kill(parent, 0),
    signal_by_descriptor,
):
    try:
        print("done", attempt())
    except OSError as problem:
        print("refused")
os.close(os.open(os.path.join(sys.argv[1], "own"), os.O_RDWR | os.O_CREAT | os.O_TRUNC))
"""
    done = child(code, str(tmp_path / "state"), str(tmp_path / "ta"))
    line, *lines = done.stdout.splitlines()
    assert lines == ["refused"] * 6, done.stdout + done.stderr
    assert not done.stderr
    assert (tmp_path / "ta").read_text() == "ta"
    if landlock.abi() >= version:
        named = line.partition("Landlock (")[2].partition("seccomp (")[0]
        assert f"ABI {version}" in named
        for since, what in ((3, "emptying files"), (4, "TCP"), (5, "ioctl of devices"), (6, "signals")):
            assert (what in named) == (version < since)


@needs_host
@pytest.mark.parametrize(
    "attempt",
    [
        "libc.ptrace(0, 0, 0, 0)",
        "libc.process_vm_readv(os.getppid(), 0, 0, 0, 0, 0)",
        "os.execv('/bin/true', ['true'])",
        "os.posix_spawn('/bin/true', ['true'], {})",
        "libc.mount(b'x', b'/', b'tmpfs', 0, 0)",
        "libc.chroot(b'/')",
        "libc.unshare(0x10000000)",
        "libc.syscall(321, 0, 0, 0)",  # bpf on x86-64; on others EPERM, below
    ],
)
def test_what_ends_the_process(attempt: str, tmp_path: Path) -> None:
    if "321" in attempt and os.uname().machine != "x86_64":
        attempt = attempt.replace("321", "280")  # bpf, asm-generic/unistd.h
    done = child(f"import ctypes, os\nlibc = ctypes.CDLL(None)\n{RESTRICT}\n{attempt}\n", str(tmp_path))
    if attempt.startswith("os.posix_spawn"):  # libc's clone without CLONE_THREAD: refused, which is as good
        assert "PermissionError" in done.stderr
    else:
        assert done.returncode == -syscalls.FATAL_SIGNAL, done.stdout + done.stderr


@needs_host
def test_other_processes_and_namespaces_cannot_be_made(tmp_path: Path) -> None:
    code = (
        RESTRICT
        + """
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
try:
    os.fork()
except OSError as problem:
    print("fork", problem.errno == errno.EPERM)
if os.uname().machine == "x86_64":
    print(libc.syscall(435, 0, 0), ctypes.get_errno() == errno.ENOSYS)  # clone3
    print(libc.syscall(0x40000000 | 39))  # getpid by the x32 table: another architecture's
"""
    )
    done = child(code, str(tmp_path))
    lines = done.stdout.splitlines()[1:]
    assert lines[0] == "fork True"
    if os.uname().machine == "x86_64":
        assert lines[1:] == ["-1 True"]
        assert done.returncode == -signal.SIGSYS


@needs_host
def test_the_filter_holds_for_threads_that_were_there(tmp_path: Path) -> None:
    code = """
import socket, sys, threading
from normal_world.daemon.sandbox import restrict
go, out = threading.Event(), []
def early():
    go.wait()
    try:
        socket.socket(socket.AF_INET)
    except OSError as problem:
        out.append(problem.errno)
thread = threading.Thread(target=early)
thread.start()
report = restrict([], [sys.argv[1]], sockets=False)
go.set()
thread.join()
print(report.line())
print(out)
"""
    first, second = child(code, str(tmp_path)).stdout.splitlines()
    assert second == "[1]"
    assert "NOT ACTIVE: all threads (1 had been started" in first, "Landlock is by thread, and the report says it"


@needs_host
def test_sockets_are_open_where_the_policy_says_so(tmp_path: Path) -> None:
    code = (
        RESTRICT
        + """
import socket
with socket.create_server(("127.0.0.1", 0)) as server:
    with socket.create_connection(server.getsockname()) as client:
        client.sendall(b"x")
        print(socket.getaddrinfo("localhost", 80)[0][4][0] in ("::1", "127.0.0.1"))
try:
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
except OSError as problem:
    print(problem.errno)
"""
    )
    # A server of our own is needed to talk to, so this test takes `listen` in; the daemon never listens on TCP.
    patch = (
        "from normal_world.daemon import syscalls\nfrom south.linux_host.seccomp import Rule\n"
        "syscalls.SOCKETS |= {n: Rule('') for n in ('listen',)}\n"
    )
    done = child(patch + code, str(tmp_path), "sockets")
    assert done.stdout.splitlines()[1:] == ["True", "1"], done.stderr


@needs_host
def test_the_daemon_serves_restricted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hello = Path(samples.hello_file(Arch.AARCH64))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        options = ("--ta-dir", str(hello.parent), "--trust", samples.public_key_file())
        with in_process(tmp_path, *options) as daemon:
            assert manager.recv(4096).startswith(b"READY=1\nSTATUS=listening on ")
            line = (tmp_path / "log").read_text().splitlines()[0]
            assert line.startswith("hardening: ")
            assert "NOT ACTIVE" not in line
            status = Path(f"/proc/{daemon.process.pid}/status").read_text()
            for state in ("CapPrm:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"):
                assert state in status or (state.startswith("CapBnd") and os.getuid())
            helper = int(Path(f"/proc/{daemon.process.pid}/task/{daemon.process.pid}/children").read_text())
            client = RawClient(daemon.path)
            opened = client.open(UUID(hello.stem), login=LOGIN_APPLICATION)
            assert opened.result == 0, "the client's program is told"
            assert client.invoke(opened.id, 0, value(Kind.VALUE_INOUT, 41)).params[0][2] == 42
            (context,) = fetch(daemon.path)["contexts"]
            assert context["exe"] == os.readlink("/proc/self/exe")
            daemon.process.send_signal(signal.SIGTERM)
            assert manager.recv(4096).startswith(b"STOPPING=1\n")
            assert daemon.process.wait(20) == 0
            assert not os.path.exists(daemon.path)
            assert eventually(lambda: not _alive(helper))


@needs_host
def test_no_helper_outlives_a_killed_daemon(tmp_path: Path) -> None:
    with in_process(tmp_path) as daemon:
        helper = int(Path(f"/proc/{daemon.process.pid}/task/{daemon.process.pid}/children").read_text())
        assert _alive(helper)
        os.kill(helper, signal.SIGTERM)  # meant for both, as Ctrl-C is: the daemon still needs it
        daemon.process.kill()
        daemon.process.wait()
        assert eventually(lambda: not _alive(helper))


def _alive(pid: int) -> bool:
    """Zombies of a reaper that takes its time are not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.parametrize(("module", "name"), [("seccomp", "SONAME"), ("landlock", "NR_CREATE_RULESET")])
def test_a_missing_layer_is_told_and_the_rest_holds(module: str, name: str, tmp_path: Path) -> None:
    value = {"SONAME": '"libnothing.so.9"', "NR_CREATE_RULESET": "100000"}[name]
    patch = f"from south.linux_host import {module}\n{module}.{name} = {value}\n"
    if module == "seccomp":
        patch += "seccomp.Filter.__init__.__defaults__ = (seccomp.SONAME,)\n"
    done = child(patch + RESTRICT, str(tmp_path))
    assert done.returncode == 3
    lack = done.stdout.split("NOT ACTIVE: ")[1]
    assert {"seccomp": "libseccomp is not there", "landlock": "the kernel has no Landlock"}[module] in lack
    assert "no new privileges" in done.stdout


def test_report() -> None:
    some = Report((Layer("a", True, "x"), Layer("b", False, "y")))
    assert (some.complete, some.active("a"), some.active("b"), some.active("c")) == (False, True, False, False)
    assert some.line() == "hardening: a (x) - NOT ACTIVE: b (y)"
    assert Report((Layer("b", False, "y"),)).line() == "hardening: nothing - NOT ACTIVE: b (y)"


def test_the_list_is_counted_and_reasoned() -> None:
    assert len(syscalls.ALLOWED) == COUNT
    for rules in (syscalls.ALLOWED, syscalls.SOCKETS, syscalls.PROGRAMS):
        assert all(rule.reason.strip() for rule in rules.values())
    assert not set(syscalls.FATAL) & set(syscalls.allowed(sockets=True))


def test_every_name_is_a_system_call() -> None:
    try:
        with seccomp.Filter() as rules:
            for sockets in (False, True):
                rules.allow(syscalls.allowed(sockets=sockets))
            assert rules.unknown == []
    except seccomp.SeccompError as problem:
        pytest.skip(f"this host cannot restrict a process: {problem}")


def test_docs_list_the_same_calls() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*) \|$", DOCS.read_text(), re.MULTILINE)
    tables = {"always": syscalls.ALLOWED, "sockets": syscalls.SOCKETS}
    expected = {(name, when, rule.reason) for when, rules in tables.items() for name, rule in rules.items()}
    assert set(rows) == expected
    assert len(rows) == len(expected)


def test_runtime_paths() -> None:
    paths = runtime_paths()
    assert "/" not in paths
    assert all(os.path.isabs(path) for path in paths)
    for file in (os.__file__, socket.__file__, pytest.__file__):
        assert any(os.path.realpath(file).startswith(f"{path}/") for path in paths)
