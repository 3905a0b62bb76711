"""Profiles of TAs: samples, call graphs and traces, from a TA that profiles itself to the files."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

import pytest

from normal_world.supplicant.profiles import ProfileFolder
from north.memory import Layout
from south.platform import PAGE, Arch
from ta_loader.machines import TA_ARCHES
from tee.abi import profiles as abi
from tee.abi import results
from tee.abi.pta_uuids import PTA_GPROF_UUID
from tee.abi.results import Origin
from tee.errors import TeeError
from tee.limits import Limits
from tee.normal import ProfileKind
from tee.params import Kind, Memref, Value
from tee.world import SecureWorld
from tests.fakes import Lines
from tests.hostile.kit import DIED, FINE, Crashes, make_world, open_ta
from tests.ta_loader.elf_kit import Oracle, elf_of
from tests.tas import prof

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

READERS = {Arch.AARCH64: "aarch64-linux-gnu-gprof", Arch.ARM: "arm-linux-gnueabihf-gprof"}
SLOTS = (4096 - abi.FTRACE_BUF_SIZE) // 8
"""Records at most in the TA's buffer, whose text takes some of them."""


@pytest.fixture(params=TA_ARCHES, ids=lambda a: a.value)
def arch(request: pytest.FixtureRequest) -> Arch:
    given: Arch = request.param
    return given


class Kept:
    """`tee.normal.Profiles` in memory. full: it takes no more."""

    def __init__(self) -> None:
        self.files: dict[tuple[ProfileKind, UUID, int], bytes] = {}
        self.full = False

    def append(self, kind: ProfileKind, uuid: UUID, data: bytes, file: int) -> int:
        if self.full:
            raise TeeError(results.STORAGE_NO_SPACE, "full")
        number = file or 1 + sum((k, u) == (kind, uuid) for k, u, _ in self.files)
        self.files[kind, uuid, number] = self.files.get((kind, uuid, number), b"") + data
        return number


class Bench(NamedTuple):
    world: SecureWorld
    kept: Kept
    crashes: Crashes
    arch: Arch

    def open(self) -> int:
        return open_ta(self.world, prof.UUIDS[self.arch])

    def call(self, session: int, command: int, a: int = 0, b: int = 0) -> Value:
        value = Value(Kind.VALUE_INOUT, a, b)
        assert self.world.invoke(session, command, [value]) == FINE
        return value

    def trace(self, number: int = 1) -> bytes:
        return self.kept.files[ProfileKind.FTRACE, prof.UUIDS[self.arch], number]


def bench_of(folder: Path, arch: Arch, limits: Limits | None = None) -> Bench:
    kept, crashes = Kept(), Crashes()
    world = make_world(folder, folders=[prof.HERE], observer=crashes, limits=limits, profiles=kept)
    return Bench(world, kept, crashes, arch)


@pytest.fixture
def bench(tmp_path: Path, arch: Arch) -> Iterator[Bench]:
    made = bench_of(tmp_path, arch)
    with made.world:
        yield made


def functions(arch: Arch) -> dict[str, tuple[int, int]]:
    """(start, end) of the TA's functions, as the linker placed them."""
    oracle = Oracle(elf_of(prof.HERE / f"{prof.UUIDS[arch]}.ta"))
    table = oracle.file.get_section_by_name(".symtab")
    return {
        s.name: (s["st_value"], s["st_value"] + s["st_size"])
        for s in table.iter_symbols()
        if s["st_info"]["type"] == "STT_FUNC"
    }


def records(data: bytes) -> tuple[str, list[tuple[int, int]]]:
    """(text, (depth, address or duration)...) of a trace, as scripts/ftrace_format.py of OP-TEE's kit reads it."""
    text, magic, rest = data.partition(b"FTRACE\0\1")
    assert magic
    assert not len(rest) % 8
    words = struct.unpack(f"<{len(rest) // 8}Q", rest)
    return text.rstrip(b"\0").decode(), [(word >> 56, word & (1 << 56) - 1) for word in words]


def named(arch: Arch, data: bytes) -> list[tuple[int, str]]:
    """(depth, function) of the calls in a trace."""
    text, rows = records(data)
    base = int(text.splitlines()[-1].rpartition("@ ")[2], 16)
    places = functions(arch)
    return [
        (depth, next(n for n, (start, end) in places.items() if start <= at - base < end))
        for depth, at in rows
        if depth
    ]


# --- function traces

WORK = [(1, "work"), *[(2, "cold"), (3, "hot")] * 3, (2, "hot")]


def test_each_entry_leaves_its_calls_in_one_file_of_the_instance(bench: Bench) -> None:
    session = bench.open()
    for _ in range(2):
        bench.call(session, prof.WORK, 100)
    calls = [call for call in named(bench.arch, bench.trace()) if call[1] != "__ta_entry"]
    assert calls == WORK * 2
    _, rows = records(bench.trace())
    assert sum(not depth for depth, _ in rows) == 2 * len(WORK)  # each returned
    assert len(bench.kept.files) == 1


def test_a_trace_says_where_everything_was(bench: Bench) -> None:
    bench.call(bench.open(), prof.WORK, 1)
    lines = records(bench.trace())[0].splitlines()
    uuid = prof.UUIDS[bench.arch]
    base = int(lines[-1].rpartition("@ ")[2], 16)
    assert lines[-2:] == [f" [0] {uuid} @ {base:#010x}", f"Function graph for TA: {uuid} @ {base:x}"]
    assert lines[0].startswith(f"region  0: va {base:#010x} ")
    assert lines[0].endswith(" flags r-xs [0]")
    assert lines[1].endswith(" flags rw-s [0]")


def test_instances_have_files_of_their_own(bench: Bench) -> None:
    for session in (bench.open(), bench.open()):
        bench.call(session, prof.WORK, 1)
    first, second = (named(bench.arch, bench.trace(number)) for number in (1, 2))
    assert [c for c in first if c[1] != "__ta_entry"] == [c for c in second if c[1] != "__ta_entry"] == WORK


def test_the_latest_records_survive_when_the_buffer_is_full(bench: Bench) -> None:
    session = bench.open()
    bench.call(session, prof.CALLS, 3 * SLOTS)
    _, rows = records(bench.trace())
    assert SLOTS - 32 <= len(rows) <= SLOTS + 2
    late = rows[2:]  # of __ta_entry of the open, and of the call
    assert all(bool(a) != bool(b) for (a, _), (b, _) in pairwise(late))  # calls and returns alternate, oldest first
    bench.call(session, prof.CALLS, 1)
    assert list(named(bench.arch, bench.trace())[-2:]) == [(1, "__ta_entry"), (1, "hot")]


def test_a_panic_leaves_its_trace_and_a_backtrace_with_the_callers(bench: Bench) -> None:
    session = bench.open()
    assert bench.world.invoke(session, prof.PANIC, [Value(Kind.VALUE_INOUT, 7)]) == DIED
    assert named(bench.arch, bench.trace())[-3:] == [(1, "deeper"), (2, "fail"), (3, "ta_panic")]
    names = [frame.function for frame in bench.crashes.last().backtrace]
    assert names == ["ta_panic", "fail", "deeper", "ta_invoke", "__ta_entry"]


@pytest.mark.parametrize("filler", [0xFF, 0x80, 0x01, 0])
def test_a_buffer_full_of_nonsense_harms_nobody(bench: Bench, filler: int) -> None:
    session = bench.open()
    bench.call(session, prof.WILD, filler)
    assert not len(records(bench.trace())[1]) > SLOTS
    for index, wrapped in ((0xFFFFFFFF, 0), (0xFFFFFFFF, 1), (SLOTS + 1, 1), (1 << 31, 0xFF)):
        bench.call(session, prof.INDEX, index, wrapped)
    assert bench.world.invoke(session, prof.PANIC, [Value(Kind.VALUE_INOUT, 1)]) == DIED
    assert bench.crashes.last().backtrace


def test_a_trace_that_nobody_takes_costs_the_ta_nothing(bench: Bench) -> None:
    bench.kept.full = True
    session = bench.open()
    for _ in range(3):
        bench.call(session, prof.WORK, 1)
    assert not bench.kept.files


def test_the_log_says_once_that_nobody_takes_profiles(tmp_path: Path, arch: Arch) -> None:
    console = Lines()
    with make_world(tmp_path, folders=[prof.HERE], console=console) as world:
        for _ in range(2):
            session = open_ta(world, prof.UUIDS[arch])
            assert world.invoke(session, prof.WORK, [Value(Kind.VALUE_INOUT, 1)]) == FINE
            data = Memref(Kind.MEMREF_INPUT, world.platform.pages.shared(PAGE), 8)
            answer = world.invoke(session, prof.SEND, [data, Value(Kind.VALUE_INOUT)])
            assert answer == (results.NOT_SUPPORTED, Origin.TRUSTED_APP)
    uuid = prof.UUIDS[arch]
    assert console.text == f"litebox: a profile of TA {uuid} is lost: --profile-dir names a folder for it\n"


# --- gprof


class Gmon(NamedTuple):
    """A file as gmon_out(5) describes it. arcs: count by (caller's address, callee's)."""

    low: int
    high: int
    rate: int
    counters: list[int]
    arcs: dict[tuple[int, int], int]

    @classmethod
    def read(cls, arch: Arch, data: bytes) -> Gmon:
        assert data[:8] == b"gmon\1\0\0\0"
        word = "Q" if arch is Arch.AARCH64 else "I"
        head = struct.Struct(f"<B2{word}2I15sc")
        tag, low, high, slots, rate, dimension, unit = head.unpack_from(data, 20)
        assert (tag, dimension.rstrip(b"\0"), unit) == (0, b"seconds", b"s")
        at = 20 + head.size
        counters = list(struct.unpack_from(f"<{slots}H", data, at))
        rest = data[at + 2 * slots :]
        arc = struct.Struct(f"<B2{word}I")
        assert not len(rest) % arc.size
        rows = list(arc.iter_unpack(rest))
        assert all(row[0] == 1 for row in rows)
        return cls(low, high, rate, counters, {(caller, callee): count for _, caller, callee, count in rows})

    def samples(self, start: int, end: int) -> int:
        size = (self.high - self.low) // len(self.counters)
        return sum(self.counters[(start - self.low) // size : -(-(end - self.low) // size)])


def profile(bench: Bench) -> bytes:
    """Of enough work that samples were taken, however busy this machine is."""
    work = 2_000_000
    for _ in range(8):
        session = bench.open()
        rate = bench.call(session, prof.GPROF, work).b
        (last,) = [data for (kind, _, _), data in bench.kept.files.items() if kind is ProfileKind.GMON]
        if sum(Gmon.read(bench.arch, last).counters) >= 20:
            assert 0 < rate < 10_000
            return last
        work *= 4
        bench.kept.files.clear()
    raise AssertionError("no samples")


def test_samples_and_arcs_are_of_the_functions_that_ran(bench: Bench) -> None:
    gmon = Gmon.read(bench.arch, profile(bench))
    places = functions(bench.arch)
    total = sum(gmon.counters)
    assert gmon.samples(*places["hot"]) > total * 0.8
    assert gmon.samples(*places["work"]) + gmon.samples(*places["cold"]) < total * 0.2

    def calls(caller: str, callee: str) -> int:
        return sum(
            count
            for (frm, to), count in gmon.arcs.items()
            if places[caller][0] <= frm < places[caller][1] and places[callee][0] <= to < places[callee][1]
        )

    assert (calls("work", "cold"), calls("cold", "hot"), calls("work", "hot")) == (3, 3, 1)
    assert calls("ta_invoke", "work") == 1


def test_gprof_reads_it(bench: Bench, tmp_path: Path) -> None:
    reader = shutil.which(READERS[bench.arch])
    if reader is None:
        pytest.skip(f"{READERS[bench.arch]} is not installed")
    (tmp_path / "gmon.out").write_bytes(profile(bench))
    (tmp_path / "ta.elf").write_bytes(elf_of(prof.HERE / f"{prof.UUIDS[bench.arch]}.ta"))
    done = subprocess.run(
        [reader, "-b", "-p", "ta.elf", "gmon.out"], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )
    rows = [line.split() for line in done.stdout.splitlines() if line[:6].strip().replace(".", "").isdigit()]
    assert rows[0][-1] == "hot"
    assert float(rows[0][0]) > 80
    assert rows[0][3] == "4"  # calls


def test_wide_addresses_are_sampled_too(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, Arch.AARCH64, Limits(layout=Layout.WIDE))
    with bench.world:
        gmon = Gmon.read(Arch.AARCH64, profile(bench))
    assert gmon.samples(*functions(Arch.AARCH64)["hot"]) > sum(gmon.counters) * 0.8


def test_sampling_begins_and_ends_once(bench: Bench) -> None:
    session = bench.open()
    bad_state = (results.BAD_STATE, Origin.TRUSTED_APP)
    assert bench.world.invoke(session, prof.STOP, [Value(Kind.VALUE_INOUT)]) == bad_state
    assert bench.world.invoke(session, prof.START) == FINE
    assert bench.world.invoke(session, prof.START) == bad_state
    bench.call(session, prof.WORK, 1000)
    assert bench.call(session, prof.STOP).a > 0
    assert bench.world.invoke(session, prof.STOP, [Value(Kind.VALUE_INOUT)]) == bad_state
    assert bench.world.invoke(session, prof.START) == FINE  # and it ends with the instance


def test_the_normal_world_does_not_reach_the_pta(bench: Bench) -> None:
    assert bench.world.open_session(PTA_GPROF_UUID)[1:] == (results.ACCESS_DENIED, Origin.TRUSTED_APP)


def test_what_a_ta_sends_comes_back_with_its_number(bench: Bench) -> None:
    session = bench.open()
    pages = bench.world.platform.pages.shared(PAGE)
    for text, number in ((b"first", 0), (b", more", 1), (b"second", 0)):
        pages.view(0, len(text))[:] = text
        value = Value(Kind.VALUE_INOUT, number)
        assert bench.world.invoke(session, prof.SEND, [Memref(Kind.MEMREF_INPUT, pages, len(text)), value]) == FINE
    found = {n: data for (kind, _, n), data in bench.kept.files.items() if kind is ProfileKind.GMON}
    assert found == {1: b"first, more", 2: b"second"}


# --- the folder

TA = UUID("11111111-2222-3333-4444-555555555555")
GMON, FTRACE = ProfileKind.GMON, ProfileKind.FTRACE


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[ProfileFolder]:
    made = ProfileFolder(str(tmp_path / "new" / "profiles"))
    yield made
    made.close()


def test_files_are_named_as_tee_supplicant_names_them(folder: ProfileFolder, tmp_path: Path) -> None:
    numbers = [folder.append(kind, TA, b"x", 0) for kind in (GMON, GMON, FTRACE, GMON)]
    assert numbers == [1, 2, 1, 3]
    assert folder.append(GMON, TA, b"yz", 2) == 2
    found = {path.name: path.read_bytes() for path in (tmp_path / "new" / "profiles").iterdir()}
    assert found == {
        f"gmon-{TA}.out": b"x",
        f"gmon-{TA}.1.out": b"xyz",
        f"gmon-{TA}.2.out": b"x",
        f"ftrace-{TA}.out": b"x",
    }


def test_a_ta_has_a_hundred_files(folder: ProfileFolder) -> None:
    assert [folder.append(GMON, TA, b"", 0) for _ in range(100)] == list(range(1, 101))
    with pytest.raises(TeeError, match="remove some"):
        folder.append(GMON, TA, b"", 0)
    for number in (101, 1 << 31, -1):
        with pytest.raises(TeeError) as caught:
            folder.append(GMON, TA, b"", number)
        assert caught.value.result == results.BAD_PARAMETERS


def test_nothing_is_written_through_links_or_to_what_is_no_file(folder: ProfileFolder, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"mine")
    home = tmp_path / "new" / "profiles"
    (home / f"gmon-{TA}.out").symlink_to(elsewhere)
    (home / f"gmon-{TA}.1.out").hardlink_to(elsewhere)
    os.mkfifo(home / f"gmon-{TA}.2.out")
    (home / f"gmon-{TA}.3.out").mkdir()
    for number in range(1, 6):
        with pytest.raises(TeeError) as caught:
            folder.append(GMON, TA, b"theirs", number)
        assert caught.value.result == results.GENERIC
    assert folder.append(GMON, TA, b"theirs", 0) == 5
    assert elsewhere.read_bytes() == b"mine"


def test_a_profile_has_a_largest_size(folder: ProfileFolder, tmp_path: Path) -> None:
    assert folder.append(GMON, TA, b"x", 0) == 1
    os.truncate(tmp_path / "new" / "profiles" / f"gmon-{TA}.out", (256 << 20) - 1)
    assert folder.append(GMON, TA, b"x", 1) == 1
    with pytest.raises(TeeError) as caught:
        folder.append(GMON, TA, b"x", 1)
    assert caught.value.result == results.STORAGE_NO_SPACE
