"""Socket activation and notification, against what systemd's manual pages say a service is given."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from south.linux_host import systemd

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CHILD = """
import os, sys
os.environ["LISTEN_PID"] = sys.argv[1].replace("OWN", str(os.getpid()))
from south.linux_host.systemd import listen_fds
try:
    found = listen_fds(*sys.argv[2:])
except ValueError as problem:
    sys.exit(str(problem))
print([entry.fileno() for entry in found], [entry.get_inheritable() for entry in found],
      [name for name in os.environ if name.startswith("LISTEN_")])
"""


def activated(fds: list[int], count: str, names: str = "", pid: str = "OWN", *wanted: str) -> tuple[str, str]:
    """What a service sees to which `fds` are handed from number 3 on, as the service manager does it."""
    moves = [f"os.dup2({fd}, {100 + index})" for index, fd in enumerate(fds)]
    moves += [f"os.dup2({100 + index}, {3 + index})" for index in range(len(fds))]
    moves.append("os.execv(sys.executable, [sys.executable, '-c', *sys.argv[1:]])")
    starter = "; ".join(["import os, sys", *moves])
    environment = os.environ | {"LISTEN_FDS": count}
    if names:
        environment["LISTEN_FDNAMES"] = names
    done = subprocess.run(
        [sys.executable, "-c", starter, _CHILD, pid, *wanted],
        env=environment,
        pass_fds=fds,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    return done.stdout.strip(), done.stderr.strip()


@pytest.fixture
def listeners() -> Iterator[list[int]]:
    sockets = [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2)]
    yield [entry.fileno() for entry in sockets]
    for entry in sockets:
        entry.close()


@pytest.fixture(autouse=True)
def unconnected(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test hears of another's service manager."""
    for name in ("NOTIFY_SOCKET", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        monkeypatch.delenv(name, raising=False)
    systemd.close_notifier()
    yield
    systemd.close_notifier()


def test_sockets_are_taken_over(listeners: list[int]) -> None:
    assert activated(listeners, "2") == ("[3, 4] [False, False] []", "")


def test_by_name(listeners: list[int]) -> None:
    assert activated(listeners, "2", "tee:other", "OWN", "other") == ("[4] [False] []", "")
    assert activated(listeners, "2", "tee", "OWN", "tee") == ("[] [] []", ""), "names that do not fit are none"


def test_meant_for_another_process(listeners: list[int]) -> None:
    assert activated(listeners, "2", pid="1") == ("[] [] []", "")


@pytest.mark.parametrize("count", ["", "0", "-1", "1e3", "99999999999", "65", " 1", "\u0661"])
def test_senseless_counts(count: str) -> None:
    assert activated([], count) == ("[] [] []", "")


def test_no_socket(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        out, err = activated([file.fileno()], "1")
    assert (out, "file descriptor 3" in err) == ("", True)


@pytest.mark.parametrize("abstract", [False, True])
def test_notify(abstract: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"@litebox-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name[1:] if abstract else name)
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        assert systemd.ready("one\nREADY=0 line")
        assert "NOTIFY_SOCKET" not in os.environ, "children are not the service"
        assert manager.recv(4096).decode().split("\n") == [
            "READY=1",
            "STATUS=one READY=0 line",
            f"MAINPID={os.getpid()}",
        ]
        assert systemd.status("serving")
        assert manager.recv(4096) == b"STATUS=serving"
        assert systemd.stopping("two calls are under way")
        assert manager.recv(4096) == b"STOPPING=1\nSTATUS=two calls are under way"
        manager.close()
        assert systemd.notify("X=1") is False, "gone"


@pytest.mark.parametrize("name", ["", "/", "relative", "@" + "a" * 200, "/no/such/socket", "vsock:2:1"])
def test_nobody_listens(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    assert systemd.notify("READY=1") is False
