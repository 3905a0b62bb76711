"""The daemon as a process: start, stop, sockets that are stale or taken, clients that are killed."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import socket
import stat
import subprocess
import time
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from normal_world import Context, Value
from normal_world.daemon.listen import listen
from normal_world.daemon.status import fetch
from normal_world.protocol import Op
from south.errors import UsageError
from south.platform import Arch
from ta_loader import samples
from tee.abi import results
from tee.errors import TeeError
from tee.params import Kind
from tests.normal_world.kit import LITEBOX_TA, RawClient, flat, in_process, memory, memref, value
from tests.tas import cryptdrv, hogs, prof
from tests.threads import PATIENCE, cpu_seconds, eventually

if TYPE_CHECKING:
    from pathlib import Path

HELLO = samples.HELLO[Arch.AARCH64]
OPTIONS = ("--ta-dir", samples.FOLDER, "--trust", samples.public_key_file(), "--grace", "0.2", "--deadline", "1")
KILLED = 30


def test_start_status_and_stop(tmp_path: Path) -> None:
    with in_process(tmp_path, *OPTIONS, "--mode", "0640") as daemon:
        assert stat.S_IMODE(os.stat(daemon.path).st_mode) == 0o640
        client = RawClient(daemon.path)
        session = client.open(HELLO).id
        assert client.invoke(session, 0, value(Kind.VALUE_INOUT, 1)).params[0][2] == 2
        for option in ("--json", "--metrics", ""):
            command = [*LITEBOX_TA, "status", "--socket", daemon.path, *([option] if option else [])]
            done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
            if option == "--json":
                assert json.loads(done.stdout)["contexts"][0]["pid"] == os.getpid()
            elif option == "--metrics":
                assert "litebox_sessions" in done.stdout
            else:
                assert str(HELLO) in done.stdout
        with pytest.raises(UsageError, match="listens"):
            listen(daemon.path)
        client.send(Op.INVOKE, 9, session, 6, *(0,) * 16)  # spins for ever
        assert eventually(lambda: fetch(daemon.path)["contexts"][0]["calls_in_flight"] == 1)
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.process.wait(15) == 0
        assert not os.path.exists(daemon.path)
    log = (tmp_path / "log").read_text()
    assert f"listening on {daemon.path}" in log
    assert "Traceback" not in log


def test_a_daemon_that_was_given_no_ta_serves_the_samples(tmp_path: Path) -> None:
    """Within its sandbox; their key opens nothing else."""
    tas = tmp_path / "tas"
    tas.mkdir()
    (tas / f"{UUID(int=7)}.ta").write_bytes(samples.hello().read_bytes())
    with in_process(tmp_path, "--ta-dir", str(tas)) as daemon, Context.daemon(daemon.path) as tee:
        for name in samples.NAMES:
            with tee.open_session(name) as session:
                assert session.invoke(0, Value.inout(41))[0].a == 42  # type: ignore[union-attr]
        with pytest.raises(TeeError) as refused:
            tee.open_session(UUID(int=7))
        assert refused.value.result == results.SECURITY


def test_a_stale_socket_is_taken_over_and_nothing_else(tmp_path: Path) -> None:
    path = str(tmp_path / "tee.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as dead:
        dead.bind(path)
    listener = listen(path, 0o600)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    os.rename(path, path + ".ours")
    (tmp_path / "tee.sock").write_text("mine")
    listener.remove()
    assert (tmp_path / "tee.sock").read_text() == "mine"
    with pytest.raises(UsageError, match="no socket"):
        listen(path)
    with pytest.raises(UsageError, match="cannot listen"):
        listen(str(tmp_path / ("x" * 200)))
    listener.socket.close()


def test_folders_are_made_for_the_usual_place_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no such folder; make it"):
        listen(str(tmp_path / "typo" / "tee.sock"))
    usual = str(tmp_path / "runtime" / "litebox" / "tee.sock")
    monkeypatch.setenv("LITEBOX_SOCKET", usual)
    with pytest.raises(UsageError, match="No such file or directory"):
        listen(usual)
    assert not list(tmp_path.iterdir())
    (tmp_path / "runtime").mkdir()
    made = listen(usual)
    assert stat.S_IMODE(os.stat(tmp_path / "runtime/litebox").st_mode) == 0o700
    made.socket.close()


def _victim(path: str, random: random.Random) -> int:
    """A child that calls until it dies; its process id."""
    spins = random.random() < 0.5
    pid = os.fork()
    if pid:
        return pid
    try:
        client = RawClient(path)
        session = client.open(HELLO).id
        client.register(memory(4096), 4096)
        while True:
            client.invoke(session, 0, value(Kind.VALUE_INOUT, 1))
            if spins:
                client.invoke(session, 6)
    finally:
        os._exit(1)


def test_profiles_reach_their_folder_from_within_the_sandbox(tmp_path: Path) -> None:
    uuid, folder = prof.UUIDS[Arch.AARCH64], tmp_path / "profiles"
    options = (*OPTIONS, "--ta-dir", str(prof.HERE), "--profile-dir", str(folder))
    with in_process(tmp_path, *options) as daemon:
        client = RawClient(daemon.path)
        for _ in range(2):
            session = client.open(uuid).id
            assert client.invoke(session, prof.GPROF, value(Kind.VALUE_INOUT, 1000)).result == 0
        client.close()
    names = [f"{kind}-{uuid}{number}.out" for kind in ("ftrace", "gmon") for number in (".1", "")]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert all(path.stat().st_size > 100 for path in folder.iterdir())


def test_killed_clients_leave_nothing(tmp_path: Path) -> None:
    with in_process(tmp_path, *OPTIONS, "-q", "--no-sandbox") as daemon:
        steady = RawClient(daemon.path)
        session = steady.open(HELLO).id
        steady.invoke(session, 0, value(Kind.VALUE_INOUT, 1))
        before = daemon.counts()
        chance = random.Random(3)
        for _ in range(KILLED):
            pid = _victim(daemon.path, chance)
            time.sleep(chance.random() * 0.03)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            assert steady.invoke(session, 0, value(Kind.VALUE_INOUT, 1)).result == 0
        assert eventually(lambda: daemon.counts() == before), (before, daemon.counts())
        status = fetch(daemon.path)
        assert [len(entry["sessions"]) for entry in status["contexts"]] == [1]
        assert len(status["instances"]) == 1
        assert status["bugs"] == 0
        steady.close()
    assert "Traceback" not in (tmp_path / "log").read_text()


def _send(client: RawClient, hog: hogs.Hog) -> int:
    """Begin that call of a fresh cryptdrv; its session."""
    session = client.open(cryptdrv.UUIDS[Arch.AARCH64]).id
    params = []
    for data in (hog.records, hog.scratch):
        fd = memory(len(data))
        os.pwrite(fd, data, 0)
        params.append(memref(Kind.MEMREF_INOUT, client.register(fd, len(data)).id, len(data)))
    client.send(Op.INVOKE, 9, session, cryptdrv.CMD_RAW, *flat(params))
    return session


@pytest.mark.parametrize("hog", hogs.HOGS.values(), ids=hogs.HOGS)
def test_a_killed_client_and_sigterm_end_what_libcrypto_computes(tmp_path: Path, hog: hogs.Hog) -> None:
    """Within the grace period and the deadline, and little more; the hogs go on for more than five seconds."""

    def busy() -> bool:
        return any(context["calls_in_flight"] for context in fetch(daemon.path)["contexts"])

    with in_process(tmp_path, *OPTIONS, "--ta-dir", str(cryptdrv.HERE)) as daemon:
        pid = os.fork()
        if not pid:
            try:
                client = RawClient(daemon.path)
                _send(client, hog)
                client.receive()
            finally:
                os._exit(1)
        assert eventually(busy)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        used = cpu_seconds(daemon.process.pid)
        assert eventually(lambda: not fetch(daemon.path)["instances"])
        assert cpu_seconds(daemon.process.pid) - used < 2

        client = RawClient(daemon.path)
        _send(client, hog)
        assert eventually(busy)
        daemon.process.send_signal(signal.SIGTERM)
        used = cpu_seconds(daemon.process.pid)
        spent = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        reply = client.receive()
        assert reply is not None
        assert reply.result == results.TARGET_DEAD
        assert daemon.process.wait(PATIENCE) == 0
        assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - spent < used + 3
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_a_refused_image_is_explained_once_and_not_kept() -> None:
    from normal_world.host.images import ToldProblems

    told: list[str] = []
    problems = ToldProblems(told.append)
    for _ in range(3):
        problems.append((HELLO, TeeError(results.SECURITY, "no key")))
        problems.append((HELLO, TeeError(results.ITEM_NOT_FOUND, "nowhere")))
    for n in range(2 * ToldProblems.MOST):
        problems.append((HELLO, TeeError(results.SECURITY, f"{n}")))
    assert not problems
    assert told[0] == f"litebox: TA {HELLO}: no key\n"
    assert len(told) == len(set(told)) == ToldProblems.MOST


def test_bad_options_are_told(tmp_path: Path) -> None:
    for options in (["--mode", "0999"], ["--group", "no-such-group"], ["--max-sessions", "0"], ["--spin", "-1"]):
        command = [*LITEBOX_TA, "serve", "--socket", str(tmp_path / "s"), *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
