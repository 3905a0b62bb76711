"""Figures of the engine and the secure world, through the Python API and the sample TA."""

from __future__ import annotations

import ctypes
import os
import resource
import statistics
import subprocess
import tempfile
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

from south.linux_host import linux_host
from south.linux_host.host import NullConsole
from south.platform import PAGE, Arch
from ta_loader import samples
from ta_loader.source import Loader
from ta_loader.store import TaStore
from ta_loader.trust import TrustStore
from tee.params import Kind, Memref, Value
from tee.world import SecureWorld
from tests.bench.measure import Figure, in_turns
from tests.real import debian
from tests.tas import cryptdrv

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20
US = 1e6
OWN_HASH, EMPTY, SYSTEM_TIME, REE_TIME, TOUCH, BARE_LOOP = 3, 7, 8, 9, 13, 15  # hello's commands
LOOPS = 20_000
RECORDS = 2_000
CLOSE_TA_SESSION, GET_CANCELLATION_FLAG = 6, 9  # system calls


class Bench:
    """A world with the sample TA, and a session to it."""

    def __init__(self, state: str) -> None:
        root = debian.root()
        dirs = [samples.FOLDER, str(cryptdrv.path(Arch.AARCH64).parent)]
        trust = [samples.public_key_file()]
        if root is not None:
            dirs.append(str(debian.ta_dir()))
            trust.append(str(debian.kit()))
        self.state = state
        self.platform = linux_host(state, console=NullConsole())
        self.world = SecureWorld(self.platform, Loader(TaStore(dirs, TrustStore(trust))))
        self.uuid = samples.HELLO[Arch.AARCH64]
        self.session = self.open()

    def open(self) -> int:
        opened = self.world.open_session(self.uuid)
        assert not opened.result, opened
        return opened.session

    def call(self, command: int, *params: Value | Memref, session: int | None = None) -> None:
        outcome = self.world.invoke(self.session if session is None else session, command, params)
        assert not outcome.result, outcome

    def memory(self, size: int, kind: Kind = Kind.MEMREF_INOUT) -> Memref:
        return Memref(kind, self.platform.pages.shared(size), size)


def invoke(bench: Bench) -> Iterator[Figure]:
    instance = bench.world._sessions[bench.session].instance
    assert instance is not None
    cpu, entry, sp = instance.cpu, instance.program.entry, instance._params_va
    value = Value(Kind.VALUE_INPUT, 1, 2)
    big = bench.memory(MIB)
    raw, whole, mapped = in_turns(
        (lambda: cpu.enter(entry, sp, (2, 1, sp, EMPTY)), 500),
        (lambda: bench.world.invoke(bench.session, EMPTY, (value,)), 500),
        (lambda: bench.world.invoke(bench.session, TOUCH, (big,)), 500),
    )
    name = "value-only invoke, Python API (floor: the engine's entry alone)"
    yield Figure(name, "us", whole * US, "<= 12 us", raw * US)
    name = "1 MiB inout memref invoke; the TA touches one byte (floor: the value-only invoke)"
    yield Figure(name, "us", mapped * US, "<= 15 us", whole * US)


def calls(bench: Bench) -> Iterator[Figure]:
    count = Value(Kind.VALUE_INPUT, LOOPS)
    bare, native, python = (
        seconds / LOOPS * 1e9
        for seconds in in_turns(
            (lambda: bench.call(BARE_LOOP, count), 1),
            (lambda: bench.call(SYSTEM_TIME, count), 1),
            (lambda: bench.call(REE_TIME, count), 1),
        )
    )
    yield Figure("system call served in C, above the bare loop", "ns", native - bare, "<= 60 ns")
    yield Figure("REE time, served in Python with its handler, above the bare loop", "ns", python - bare, "-")
    yield Figure(
        "system call served in Python, a handler that finds nothing to do, above one that C answers",
        "ns",
        _trivial(bench),
        "<= 1200 ns",
    )


def _trivial(bench: Bench) -> float:
    """Nanoseconds of close_ta_session of a session that does not exist, above a call that C answers in as little."""
    opened = bench.world.open_session(cryptdrv.UUIDS[Arch.AARCH64])
    scratch = bench.memory(PAGE)
    work = []
    for number in (GET_CANCELLATION_FLAG, CLOSE_TA_SESSION):
        records = cryptdrv.raw(number) * RECORDS
        ref = bench.memory(len(records))
        assert ref.pages is not None
        ref.pages.view(0, len(records))[:] = records
        work.append((partial(bench.call, cryptdrv.CMD_RAW, ref, scratch, session=opened.session), 1))
    native, python = in_turns(*work)
    return (python - native) / RECORDS * 1e9


def compute(bench: Bench) -> Iterator[Figure]:
    data, out = bench.memory(MIB, Kind.MEMREF_INPUT), bench.memory(PAGE, Kind.MEMREF_OUTPUT)

    def guest() -> None:
        out.size = 32
        bench.call(OWN_HASH, data, out)

    with tempfile.TemporaryDirectory() as folder:
        library = os.path.join(folder, "native.so")
        source = os.path.join(samples.FOLDER, "src", "sha256.c")
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, source], check=True)
        loaded = ctypes.CDLL(library)
    plain, digest = ctypes.create_string_buffer(MIB), ctypes.create_string_buffer(32)
    ours, native = in_turns((guest, 1), (lambda: loaded.sample_sha256(plain, ctypes.c_size_t(MIB), digest), 1))
    name = "the sample's own SHA-256 in C over 1 MiB, guest against native"
    yield Figure(name, "us", ours * US, "<= 6.5 x", native * US)


def threads(bench: Bench) -> Iterator[Figure]:
    sessions = [bench.open(), bench.open()]
    count = Value(Kind.VALUE_INPUT, 20_000_000)

    def run(number: int) -> float:
        start = time.perf_counter()
        work = [
            threading.Thread(target=bench.call, args=(BARE_LOOP, count), kwargs={"session": s})
            for s in sessions[:number]
        ]
        for thread in work:
            thread.start()
        for thread in work:
            thread.join()
        return time.perf_counter() - start

    ratios = [2 * run(1) / run(2) for _ in range(5)]
    yield Figure("two instances in two threads, times the work of one", "x", statistics.median(ratios), ">= 1.7")


def opening(bench: Bench) -> Iterator[Figure]:
    if debian.root() is None:
        return
    from uuid import UUID

    crypt = UUID("cb3e5ba0-adf1-11e0-998b-0002a5d5c51b")

    def cycle() -> None:
        start = time.perf_counter()
        opened = bench.world.open_session(crypt)
        spent.append((time.perf_counter() - start) * 1e3)
        assert not opened.result
        bench.world.close_session(opened.session)

    spent: list[float] = []
    for _ in range(21):
        cycle()
    yield Figure(
        "open session with load and link of Debian's crypt TA, warm", "ms", statistics.median(spent), "<= 5 ms"
    )


def memory(bench: Bench) -> Iterator[Figure]:
    def resident() -> float:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * PAGE / 1e6

    before = resident()
    for _ in range(10):
        bench.open()
    yield Figure("memory of each further instance", "MB", (resident() - before) / 10, "<= 5 MB")
    yield Figure(
        "peak of this process, all benchmarks", "MB", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, "-"
    )
