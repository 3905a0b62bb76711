"""Going back to a snapshot: exact, whoever wrote, and at the cost of what was written."""

from __future__ import annotations

import random
import time

import pytest

from south.engine.unicorn import Snapshot, UnicornCpu, UnicornEngine
from south.linux_host.memory import HostPages, MappedPages
from south.platform import PAGE, Access, Arch, Prot, RegionFlag, TrapKind
from tests.south.guest import CODE, DATA, SP, Guest, code

PAGES = 24
"""Of data that the random walk writes."""
AT = 0x4000
"""Where the arena holds them."""


@pytest.fixture(params=list(Arch), ids=lambda a: a.value)
def arch(request: pytest.FixtureRequest) -> Arch:
    given: Arch = request.param
    return given


def _guest(arch: Arch, size: int = 1 << 20, pages: int = PAGES) -> tuple[UnicornCpu, MappedPages]:
    """A CPU whose program stores register 0 at register 1, and then calls."""
    arena = HostPages().arena(size)
    program = code(arch, "store", "number", "svc")
    arena.view(0, len(program))[:] = program
    cpu = UnicornEngine().space(arch, arena).cpu()
    cpu.space.map(CODE, PAGE, Prot.RX, RegionFlag.PRIVATE, arena, 0)
    cpu.space.map(DATA, pages * PAGE, Prot.RW, RegionFlag.PRIVATE, arena, AT)
    return cpu, arena


def _store(cpu: UnicornCpu, va: int, value: int) -> None:
    assert cpu.enter(CODE, SP, (value, va, 0, 0)) is TrapKind.CALL


def _content(arena: MappedPages) -> bytes:
    return bytes(arena._view)  # a view that is handed out would count as written


@pytest.mark.parametrize("seed", range(4))
def test_any_walk_of_writes_and_snapshots_goes_back_exactly(arch: Arch, seed: int) -> None:
    rng = random.Random(seed)
    cpu, arena = _guest(arch)
    snapshots: list[tuple[Snapshot, bytes, int]] = []
    held = arena.view(AT + 3 * PAGE + 8, 16)  # as an instance holds its parameters
    for step in range(300):
        dice = rng.randrange(20)
        va = DATA + rng.randrange(PAGES) * PAGE + rng.randrange(0, PAGE, 8)
        if dice < 8:
            _store(cpu, va, step + 1)
        elif dice < 11:
            at = min(va, DATA + PAGES * PAGE - 6000)  # over a border of pages
            assert cpu.space.write(at, rng.randbytes(rng.choice((1, 100, 6000))), rng.choice((Prot.NONE, Prot.W)))
        elif dice < 12:
            assert cpu.space.write(CODE + 0x800, rng.randbytes(16), Prot.NONE)  # a page the guest cannot write
        elif dice < 14:
            held[:] = rng.randbytes(16)
        elif dice < 15:
            arena.view(AT + rng.randrange(PAGES) * PAGE, 4)[:] = rng.randbytes(4)
        elif dice < 17 or not snapshots:
            if len(snapshots) == 4:
                snapshots.pop(rng.randrange(4))
            _store(cpu, va, step + 1)
            snapshots.append((cpu.snapshot(), _content(arena), cpu.registers()["sp"]))
        else:
            snapshot, memory, sp = snapshots[rng.choice((-1, -1, rng.randrange(len(snapshots))))]
            cpu.restore(snapshot)
            assert _content(arena) == memory
            assert cpu.registers()["sp"] == sp


def test_handlers_in_c_write_what_goes_back(arch: Arch) -> None:
    """A system call that C answers writes the guest's memory through `struct lb_guest`."""
    from tee.crypto.task import Task

    task = Task()
    guest = Guest(arch, "svc", "number", "svc")
    guest.cpu.bind(0, Task.handlers()[9], task.owner)  # get_cancellation_flag, at number 0 for the test
    assert guest.space.write(DATA + 0x10, b"\xff" * 4, Prot.W)
    saved = guest.cpu.snapshot()
    assert guest.cpu.enter(CODE, SP, (DATA + 0x10, 0, 0, 0)) is TrapKind.CALL
    assert guest.space.read(DATA + 0x10, 4, Prot.R) == bytes(4)
    guest.cpu.restore(saved)
    assert guest.space.read(DATA + 0x10, 4, Prot.R) == b"\xff" * 4


def test_many_pages_go_back_and_their_marks_start_over(arch: Arch) -> None:
    pages = 700
    cpu, arena = _guest(arch, 8 << 20, pages)
    saved, memory = cpu.snapshot(), _content(arena)
    for round_ in range(3):
        for page in range(0, pages, 1 if round_ == 0 else 90):
            _store(cpu, DATA + page * PAGE, 1 + page)
        assert _content(arena) != memory
        cpu.restore(saved)
        assert _content(arena) == memory


def test_faults_stay_exact_after_a_snapshot(arch: Arch) -> None:
    cpu, _arena = _guest(arch)
    saved = cpu.snapshot()
    for _ in range(2):
        for va in (CODE + 0x40, DATA + PAGES * PAGE + 0x18):
            assert cpu.enter(CODE, SP, (1, va, 0, 0)) is TrapKind.FAULT
            assert cpu.fault()[:3] == (Access.WRITE, va, CODE)
        _store(cpu, DATA, 5)
        cpu.restore(saved)


def test_protection_of_written_pages_still_holds(arch: Arch) -> None:
    cpu, _arena = _guest(arch)
    cpu.snapshot()
    _store(cpu, DATA, 1)
    cpu.space.protect(DATA, PAGE, Prot.R)
    assert cpu.enter(CODE, SP, (1, DATA, 0, 0)) is TrapKind.FAULT


def test_snapshots_belong_to_their_cpu_and_may_outlive_it(arch: Arch) -> None:
    cpu, _arena = _guest(arch)
    other, _ = _guest(arch)
    saved = cpu.snapshot()
    with pytest.raises(TypeError, match="of this CPU"):
        other.restore(saved)
    with pytest.raises(TypeError):
        cpu.restore(None)
    cpu.close()
    del saved


def test_going_back_costs_what_was_written_not_what_there_is(arch: Arch) -> None:
    """A look at 64 MiB takes tens of milliseconds; going back over four pages is far below a fiftieth of it."""
    cpu, arena = _guest(arch, 64 << 20)
    arena.view(8 << 20, 48 << 20)[:] = bytes([7]) * (48 << 20)
    assert arena.exposed is not None
    arena.exposed[:] = bytes(len(arena.exposed))  # as if the guest had written it
    start = time.process_time()
    saved = cpu.snapshot()
    look = time.process_time() - start
    spent = []
    for _ in range(30):
        for page in range(4):
            _store(cpu, DATA + page * PAGE, 3)
        start = time.process_time()
        cpu.restore(saved)
        spent.append(time.process_time() - start)
    assert min(spent) < look / 50, (min(spent), look)
