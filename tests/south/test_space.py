"""Several CPUs of one space: each sees what the others map, write, protect and unmap, also while it runs."""

from __future__ import annotations

import os
import struct
import threading
import time
from typing import TYPE_CHECKING

import pytest

from south.engine.unicorn import UnicornCpu, UnicornEngine
from south.platform import PAGE, Access, Arch, EngineError, Interrupt, Prot, RegionFlag, TrapKind
from tests.south.guest import ATOMIC, CODE, DATA, SP, Guest

if TYPE_CHECKING:
    from collections.abc import Callable

PLACE = DATA + 16 * PAGE
AGAIN: dict[Arch, int | bytes] = {Arch.AARCH64: 0x17FFFFFF, Arch.ARM: 0xEAFFFFFD, Arch.X86_64: b"\xeb\xfb"}
"""A branch to the store before."""


@pytest.fixture(params=list(Arch), ids=lambda a: a.value)
def arch(request: pytest.FixtureRequest) -> Arch:
    given: Arch = request.param
    return given


def _map(guest: Guest, va: int, prot: Prot = Prot.RW, offset: int = 0x8000) -> None:
    guest.space.map(va, PAGE, prot, RegionFlag.PRIVATE, guest.arena, offset)


class Running:
    """A CPU that another thread is inside of, from the first block on."""

    def __init__(self, cpu: UnicornCpu, *arguments: int) -> None:
        self.cpu = cpu
        self.trap: TrapKind | None = None
        self._begun = threading.Event()
        self._stop_looking = cpu.on_block(lambda *_: self._begun.set())
        self._thread = threading.Thread(target=self._enter, args=arguments)
        self._thread.start()
        assert self._begun.wait(60)

    def _enter(self, *arguments: int) -> None:
        self.trap = self.cpu.enter(CODE, SP, arguments)

    def end(self) -> TrapKind | None:
        self._thread.join(60)
        assert not self._thread.is_alive()
        self._stop_looking()
        return self.trap


def test_cpus_see_each_others_mappings(arch: Arch) -> None:
    guest = Guest(arch, "store", "load", "number", "svc")
    other = guest.space.cpu()
    for cpu in (guest.cpu, other):
        assert cpu.enter(CODE, SP, (1, PLACE, 0, 0)) is TrapKind.FAULT
    _map(guest, PLACE)
    assert other.enter(CODE, SP, (5, PLACE, 0, 0)) is TrapKind.CALL
    assert guest.space.read(PLACE, 4, Prot.R) == struct.pack("<I", 5)
    assert guest.cpu.enter(CODE, SP, (6, PLACE, 0, 0)) is TrapKind.CALL
    guest.space.protect(PLACE, PAGE, Prot.R)
    for cpu in (other, guest.cpu):
        assert cpu.enter(CODE, SP, (7, PLACE, 0, 0)) is TrapKind.FAULT
        assert cpu.fault()[:3] == (Access.WRITE, PLACE, CODE)
    guest.space.unmap(PLACE, PAGE)
    _map(guest, PLACE, offset=0x9000)
    for value, cpu in ((8, guest.cpu), (9, other)):
        assert cpu.enter(CODE, SP, (value, PLACE, 0, 0)) is TrapKind.CALL
        assert bytes(guest.arena.view(0x9000, 4)) == struct.pack("<I", value)


def test_memory_of_clients_is_known_to_all(arch: Arch) -> None:
    """Also to a CPU that is made later, and what was registered and forgotten meanwhile is not mixed up."""
    guest = Guest(arch, "load", "number", "svc")
    cpus = [guest.cpu, guest.space.cpu()]
    for value in range(1, 12):
        shared = guest.pages.shared(PAGE)
        shared.view(0, 4)[:] = struct.pack("<I", value)
        if value % 2:
            guest.space.keep(shared)
        guest.space.map(PLACE, PAGE, Prot.R, RegionFlag.NONSECURE, shared, 0)
        if value % 4 == 3:
            cpus.append(guest.space.cpu())
        for cpu in cpus[value % 3 :]:  # some look at every other only
            assert cpu.enter(CODE, SP, (0, PLACE, 0, 0)) is TrapKind.CALL
            assert cpu.first == value
        guest.space.unmap(PLACE, PAGE)
        if value % 2:
            guest.space.forget(shared)


def test_rewritten_code_is_translated_again_by_all(arch: Arch) -> None:
    guest = Guest(arch, "inc", "inc", "number", "svc")
    other = guest.space.cpu()
    for cpu in (guest.cpu, other):
        assert cpu.enter(CODE, SP, (1, 0, 0, 0)) is TrapKind.CALL
        assert cpu.first == 3
    guest.put(0, "nop")
    guest.space.invalidate(CODE, PAGE)
    for cpu in (guest.cpu, other):
        assert cpu.enter(CODE, SP, (1, 0, 0, 0)) is TrapKind.CALL
        assert cpu.first == 2


@pytest.mark.parametrize("change", ["unmap", "protect", "replace"])
def test_a_cpu_that_runs_loses_what_another_thread_takes(arch: Arch, change: str) -> None:
    guest = Guest(arch, "store", AGAIN[arch])
    running_cpu = guest.space.cpu()
    _map(guest, PLACE)
    running = Running(running_cpu, 77, PLACE, 0, 0)
    if change == "protect":
        guest.space.protect(PLACE, PAGE, Prot.R)
    else:
        guest.space.unmap(PLACE, PAGE)
    if change == "replace":
        _map(guest, PLACE, Prot.R, 0x9000)
    guest.arena.view(0x8000, 4)[:] = b"kept"  # a stale right to write would overwrite it
    assert running.end() is TrapKind.FAULT
    assert running_cpu.fault()[:3] == (Access.WRITE, PLACE, CODE)
    assert bytes(guest.arena.view(0x8000, 4)) == b"kept"
    assert bytes(guest.arena.view(0x9000, 4)) == bytes(4)


def test_a_fault_is_mended_by_another_thread_and_the_guest_goes_on(arch: Arch) -> None:
    guest = Guest(arch, "store", "number", "svc")
    other = guest.space.cpu()
    assert other.enter(CODE, SP, (5, PLACE, 0, 0)) is TrapKind.FAULT
    mender = threading.Thread(target=_map, args=(guest, PLACE))
    mender.start()
    mender.join()
    assert other.proceed() is TrapKind.CALL
    assert guest.space.read(PLACE, 4, Prot.R) == struct.pack("<I", 5)


def test_changes_from_callbacks_of_cpus_that_run_at_once(arch: Arch) -> None:
    """Each callback maps and unmaps a page of its own, and reads it in between; both are inside before one changes."""
    guest = Guest(arch, "spin")
    cpus = [guest.cpu, guest.space.cpu()]
    traps: list[TrapKind] = []
    both, begun = threading.Barrier(2), set[int]()

    def change(va: int) -> Callable[[int, int], None]:
        def on_block(_pc: int, _size: int) -> None:
            if va not in begun:
                begun.add(va)
                both.wait(60)
            _map(guest, va)
            assert guest.space.read(va, 4, Prot.R) == bytes(4)
            guest.space.unmap(va, PAGE)

        return on_block

    threads = []
    for i, cpu in enumerate(cpus):
        cpu.on_block(change(PLACE + i * PAGE))
        cpu.set_budget(200)
        threads.append(threading.Thread(target=lambda cpu=cpu: traps.append(cpu.enter(CODE, SP, (0, 0, 0, 0)))))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert traps == [TrapKind.INTERRUPTED] * 2
    assert guest.space.read(PLACE, 4, Prot.NONE) is None


@pytest.mark.parametrize("changes", [False, True])
def test_atomics_are_exact_under_a_turn(arch: Arch, changes: bool) -> None:
    """Also when the regions change all the time: every stop for a change is between two instructions."""
    guest = Guest(arch, "number", *ATOMIC[arch])
    turn, times = UnicornEngine().turn(), 3000
    cpus = [guest.cpu, *(guest.space.cpu() for _ in range(2))]
    for cpu in cpus:
        cpu.join(turn)
    threads = [threading.Thread(target=cpu.enter, args=(CODE, SP, (0, DATA, times, 0))) for cpu in cpus]
    for thread in threads:
        thread.start()
    while changes and any(thread.is_alive() for thread in threads):
        _map(guest, PLACE)
        guest.space.protect(DATA + PAGE, PAGE, Prot.R)
        guest.space.unmap(PLACE, PAGE)
        guest.space.protect(DATA + PAGE, PAGE, Prot.RW)
    for thread in threads:
        thread.join()
    assert guest.space.read(DATA, 4, Prot.R) == struct.pack("<I", 3 * times)


def test_memory_goes_back_for_all(arch: Arch) -> None:
    guest = Guest(arch, "store", "number", "svc")
    other = guest.space.cpu()
    saved = guest.space.snapshot()
    for cpu, va in ((guest.cpu, DATA), (other, DATA + PAGE), (other, DATA)):
        assert cpu.enter(CODE, SP, (9, va, 0, 0)) is TrapKind.CALL
    guest.space.restore(saved)
    assert guest.space.read(DATA, 2 * PAGE, Prot.R) == bytes(2 * PAGE)


def test_no_second_cpu_while_the_only_one_runs(arch: Arch) -> None:
    """It looks at no block whether it should leave, so nothing could stop it exactly."""
    guest = Guest(arch, "store", AGAIN[arch])
    word = guest.arena.view(0x4000, 4)
    traps: list[TrapKind] = []
    only = threading.Thread(target=lambda: traps.append(guest.cpu.enter(CODE, SP, (1, DATA, 0, 0))))
    only.start()
    while not any(word):
        time.sleep(0.001)
    with pytest.raises(EngineError, match="the space's CPU runs"):
        guest.space.cpu()
    guest.cpu.interrupt(Interrupt.CANCEL)
    only.join()
    assert traps == [TrapKind.INTERRUPTED]
    guest.cpu.acknowledge(Interrupt.CANCEL)
    assert guest.space.cpu().enter(CODE, SP, (1, PLACE, 0, 0)) is TrapKind.FAULT


def test_a_space_may_be_filled_before_it_has_a_cpu_and_outlives_each(arch: Arch) -> None:
    guest = Guest(arch, "load", "number", "svc")
    guest.cpu.close()
    _map(guest, PLACE)
    guest.arena.view(0x8000, 4)[:] = b"\x2a\0\0\0"
    cpu = guest.space.cpu()
    assert cpu.enter(CODE, SP, (0, PLACE, 0, 0)) is TrapKind.CALL
    assert cpu.first == 42
    guest.space.close()
    guest.space.close()


def test_a_child_of_a_fork_changes_a_space_whose_threads_it_lacks(arch: Arch) -> None:
    guest = Guest(arch, "spin")
    other, idle = guest.space.cpu(), guest.space.cpu()
    running = Running(other, 0, 0, 0, 0)
    changing = threading.Event()

    def change() -> None:
        while not changing.is_set():
            _map(guest, PLACE)
            guest.space.unmap(PLACE, PAGE)

    changer = threading.Thread(target=change)
    changer.start()
    statuses = []
    for _ in range(5):
        child = os.fork()
        if not child:
            _map(guest, PLACE + PAGE)
            idle.set_deadline(0.005)
            os._exit(0 if idle.enter(CODE, SP, (0, 0, 0, 0)) is TrapKind.INTERRUPTED else 3)
        statuses.append(os.waitpid(child, 0)[1])
    changing.set()
    changer.join()
    other.interrupt(Interrupt.KILL)
    assert running.end() is TrapKind.INTERRUPTED
    assert statuses == [0] * 5
