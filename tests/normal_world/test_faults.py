"""kill -9 at random moments, of clients and of the daemon: nothing leaks, and who is left is told and served.

The moments are drawn from a seed that a failing test's report shows; FAULTS_SEED repeats it.
"""

from __future__ import annotations

import json
import os
import random
import select
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from normal_world import libteec
from normal_world.daemon.status import fetch
from normal_world.protocol import SOCKET_VARIABLE
from south.platform import PAGE, Arch
from ta_loader import samples
from tee.params import Kind
from tests.normal_world.kit import LITEBOX_TA, RawClient, in_process, value
from tests.threads import eventually

if TYPE_CHECKING:
    from tests.normal_world.kit import Daemon

SOURCE = Path(__file__).parent / "csrc" / "faults_client.c"
HELLO = samples.HELLO[Arch.AARCH64]
OPTIONS = ("--ta-dir", samples.FOLDER, "--trust", samples.public_key_file(), "--grace", "0.2", "-q")
BATCH = 10
"""Clients at once."""
LIFE = 0.06
"""Seconds; longer than it takes a client to start."""
MOST_TIMES = 4
"""As many kills as are wanted at most, on a busy machine."""
SETTLED = 20.0
"""Seconds until what the dead had is gone."""

GROWTH = 16 << 20
"""Bytes of resident memory that a heap may gain by being used."""


class Held(NamedTuple):
    """What a daemon holds, all of it for somebody. mapped: memory objects in its address space."""

    contexts: int
    connections: int
    sessions: int
    instances: int
    shm_objects: int
    shm_bytes: int
    files: int
    threads: int
    mapped: int


def held(daemon: Daemon) -> Held:
    status = fetch(daemon.path)
    contexts = status["contexts"]
    files, threads = daemon.counts()
    return Held(
        len(contexts),
        status["connections"],
        sum(len(context["sessions"]) for context in contexts),
        len(status["instances"]),
        sum(context["shm"]["objects"] for context in contexts),
        sum(context["shm"]["bytes"] for context in contexts),
        files,
        threads,
        Path(f"/proc/{daemon.process.pid}/maps").read_text().count("/memfd:"),
    )


def settled(daemon: Daemon, connections: int) -> Held:
    """When no more than `connections` are there, that of the question itself included."""
    seen: list[Held] = []

    def calm() -> bool:
        seen.append(held(daemon))
        return seen[-1].connections == connections

    assert eventually(calm, SETTLED), seen[-1]
    return seen[-1]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C client, beside the library it is linked with."""
    folder = tmp_path_factory.mktemp("faults")
    library = libteec.build(folder, libteec.compiler())
    command = [libteec.compiler(), "-std=gnu11", "-O2", "-g", "-pthread", "-Wall", "-Wextra", "-Werror"]
    command += [f"-I{libteec.INCLUDE}", "-o", str(folder / "client"), str(SOURCE), str(library), "-Wl,-rpath,$ORIGIN"]
    subprocess.run(command, check=True, timeout=60)
    return folder / "client"


@pytest.fixture
def chance() -> random.Random:
    seed = int(os.environ.get("FAULTS_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"FAULTS_SEED={seed}")
    return random.Random(seed)


def run(client: Path, path: str, mode: str, chance: random.Random) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [client, mode, str(chance.randrange(1 << 32))],
        env={**os.environ, SOCKET_VARIABLE: path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def kill_all(clients: list[subprocess.Popen[bytes]], chance: random.Random) -> None:
    chance.shuffle(clients)
    for one in clients:
        time.sleep(chance.random() * LIFE / BATCH)
        one.kill()
    for one in clients:
        assert one.wait() == -9, "a client ended by itself, before it was killed"
        for pipe in (one.stdin, one.stdout):
            assert pipe
            pipe.close()


@pytest.mark.parametrize("kills", [30, pytest.param(1000, marks=[pytest.mark.real, pytest.mark.slow])])
def test_killed_clients_leave_nothing(client: Path, chance: random.Random, tmp_path: Path, kills: int) -> None:
    with in_process(tmp_path, *OPTIONS) as daemon:
        steady = RawClient(daemon.path)
        session = steady.open(HELLO).id
        assert steady.invoke(session, 0, value(Kind.VALUE_INOUT, 1)).result == 0
        before = settled(daemon, 2)
        resident: list[int] = []
        for batch in range(MOST_TIMES * kills // BATCH):
            # On a busy machine more of them have to die before they have done enough between them.
            if batch >= kills // BATCH and fetch(daemon.path)["totals"]["calls"] > 3 * kills:
                break
            clients = [run(client, daemon.path, "victim", chance) for _ in range(BATCH)]
            time.sleep(chance.random() * LIFE)
            kill_all(clients, chance)
            assert steady.invoke(session, 0, value(Kind.VALUE_INOUT, 1)).params[0][2] == 2
            assert eventually(lambda: held(daemon) == before, SETTLED), (before, held(daemon))
            resident.append(int(Path(f"/proc/{daemon.process.pid}/statm").read_text().split()[1]) * PAGE)
        part = len(resident) // 3
        assert min(resident[-part:]) - min(resident[:part]) < GROWTH, resident
        done = subprocess.run(
            [*LITEBOX_TA, "status", "--json", "--socket", daemon.path], capture_output=True, timeout=30, check=True
        )
        status = json.loads(done.stdout)
        assert status["bugs"] == 0
        assert status["totals"]["calls"] > 3 * kills, "they did not live long enough to do anything"
        assert [len(context["sessions"]) for context in status["contexts"]] == [1]
        steady.close()
    assert "Traceback" not in (tmp_path / "log").read_text()


def say(client: subprocess.Popen[bytes], word: str, seconds: float = 30.0) -> list[int]:
    """The numbers of the next line, which begins with `word`."""
    assert client.stdout
    ready, _, _ = select.select([client.stdout], [], [], seconds)
    assert ready, f"not {word} within {seconds} s"
    first, *numbers = client.stdout.readline().decode().split() or ["nothing: the client has ended"]
    assert first == word
    return [int(number) for number in numbers]


@pytest.mark.parametrize("kills", [5, pytest.param(100, marks=[pytest.mark.real, pytest.mark.slow])])
def test_clients_outlive_their_daemons(client: Path, chance: random.Random, tmp_path: Path, kills: int) -> None:
    """They are told COMMUNICATION of COMMS in every call, keep nothing, and go on with the next daemon."""
    path = str(tmp_path / "tee.sock")
    survivor = run(client, path, "survivor", chance)
    left: list[list[int]] = []
    for number in range(kills + 1):
        with in_process(tmp_path, *OPTIONS) as daemon:
            say(survivor, "back")
            if number < kills:
                time.sleep(chance.random() * LIFE)
                daemon.process.kill()
                daemon.process.wait()
                left.append(say(survivor, "lost"))
                continue
            assert survivor.stdin
            survivor.stdin.close()
            assert survivor.wait(30) == 0
            assert eventually(lambda: held(daemon)[:6] == (0, 1, 0, 0, 0, 0), SETTLED), held(daemon)
            assert fetch(path)["bugs"] == 0
    assert survivor.stdout
    survivor.stdout.close()
    assert left == [left[0]] * kills, "descriptors or memory of lost contexts stay with the client"
    assert left[0][1] == 0
    assert "Traceback" not in (tmp_path / "log").read_text()
