"""Threads, processes, and processes that are killed, on one store on this host's file system."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from normal_world.supplicant.files import ReeFiles
from tee.abi import results
from tee.errors import TeeError
from tee.storage.inspect import check
from tee.storage.keys import StorageKeys
from tee.storage.ree_fs import ReeFs
from tests.fakes import FixedRoot
from tests.tee.storage.kit import HUK, OTHER, OWNER, Entropy, key
from tests.tee.storage.reader import read_store
from tests.tee.storage.test_services import READ, SHARE_READ, SHARE_WRITE, WRITE, Ta
from tests.threads import together

ROOT = Path(__file__).parents[3]
SIZE = 10000


def at(folder: Path, seed: int = 0) -> ReeFs:
    return ReeFs(ReeFiles(folder), Entropy(seed), StorageKeys(FixedRoot(HUK)))


def test_threads(tmp_path: Path) -> None:
    system = at(tmp_path)

    def work(number: int) -> None:
        owner = (OWNER, OTHER)[number % 2]
        for turn in range(12):
            name = key(b"%d-%d" % (number, turn % 3), owner)
            data = b"%d" % number * (turn * 997)
            file = system.create(name, data, overwrite=True)
            file.write(turn, b"!")
            assert file.read(0, 1 << 20)[turn + 1 :] == data[turn + 1 :]
            file.close()
            if turn % 3 == 2:
                system.remove(name)

    together(work, range(6))
    found = list(check(system))
    assert len(found) == 12
    assert {row.key.owner for row in found} == {OWNER, OTHER}


def test_tas_in_threads_share_an_object() -> None:
    """Several instances of one TA: every write is whole, whoever reads."""
    first = Ta()
    flags = READ | WRITE | SHARE_READ | SHARE_WRITE
    first.close(first.made(b"n", bytes(SIZE), flags))
    seen: set[bytes] = set()

    def work(number: int) -> None:
        ta = Ta(first.storage, first.files)
        assert ta.open(b"n", flags) == results.SUCCESS
        obj = ta.out
        for _ in range(10):
            assert ta.seek(obj, 0) == results.SUCCESS
            assert ta.write(obj, bytes([number]) * SIZE) == results.SUCCESS
            seen.update(bytes([byte]) for byte in set(ta.data(obj)))
            assert len(set(ta.data(obj))) == 1
        ta.close(obj)

    together(work, range(1, 5))
    assert not len(first.storage.pobjs)


WORKER = """
import sys
from pathlib import Path
from tests.tee.storage.test_concurrency import work_for_ever, work_beside_others
{"for ever": work_for_ever, "beside": work_beside_others}[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
"""


def start(kind: str, folder: Path, number: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, kind, str(folder), str(number)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )


def work_for_ever(folder: Path, generation: int) -> None:
    """Every version of the object is one byte all over."""
    system = at(folder, generation << 32 | int(time.time()))
    print("ready", flush=True)
    while True:
        generation += 1
        byte = bytes([generation % 251])
        file = system.open(key(b"written"))
        file.write(0, byte * SIZE)
        file.close()
        system.create(key(b"made"), byte * SIZE, overwrite=True).close()
        name = key(b"moved %d" % (generation % 2))
        try:
            system.rename(key(b"moved %d" % ((generation + 1) % 2)), name)
        except TeeError:
            system.create(name, byte * SIZE, overwrite=True).close()


def work_beside_others(folder: Path, number: int) -> None:
    system = at(folder, number << 32)
    for turn in range(25):
        mine = key(b"%d" % number)
        system.create(mine, bytes([turn]) * SIZE, overwrite=True).close()
        shared = system.open(key(b"shared"))
        shared.write(number * 8, turn.to_bytes(8, "big"))
        assert int.from_bytes(shared.read(number * 8, 8), "big") == turn
        shared.close()


def test_processes_beside_each_other(tmp_path: Path) -> None:
    system = at(tmp_path)
    kept = system.create(key(b"shared"), bytes(64), overwrite=False)
    workers = [start("beside", tmp_path, number) for number in range(3)]
    assert [worker.wait(60) for worker in workers] == [0, 0, 0]
    assert kept.read(0, 64) == (24).to_bytes(8, "big") * 3 + bytes(40), "what others wrote is seen by who had it open"
    found = {row.oid: row.data for row in read_store({p.name: p.read_bytes() for p in tmp_path.iterdir()}, HUK)}
    assert found == {b"shared": kept.read(0, 64), **{b"%d" % number: b"\x18" * SIZE for number in range(3)}}


@pytest.mark.slow
@pytest.mark.parametrize("kills", [12, pytest.param(500, marks=pytest.mark.real)])
def test_kill_at_any_time(tmp_path: Path, kills: int) -> None:
    start_of_all = at(tmp_path)
    for name in (b"written", b"made"):
        start_of_all.create(key(name), bytes(SIZE), overwrite=False).close()
    chance = random.Random(7)
    for turn in range(kills):
        worker = start("for ever", tmp_path, turn)
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
        time.sleep(chance.uniform(0.0, 0.08))
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        worker.stdout.close()
        found = {row.oid: row.data for row in read_store({p.name: p.read_bytes() for p in tmp_path.iterdir()}, HUK)}
        assert {b"written", b"made"} <= set(found)
        assert all(len(data) == SIZE and len(set(data)) == 1 for data in found.values())
