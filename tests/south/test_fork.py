"""fork at any moment, while other threads run guests, wait for turns and log: the child's engine works."""

from __future__ import annotations

import faulthandler
import os
import random
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from south.engine.unicorn import UnicornEngine
from south.platform import Arch, Interrupt, Prot, TrapKind
from tee.crypto.task import Task
from tests.south.guest import CODE, DATA, SP, Guest

if TYPE_CHECKING:
    from collections.abc import Callable

CHILD_SECONDS = 60.0
"""What a child may take: a hang takes for ever, a busy machine does not take that."""


class Busy:
    """Threads that run guests: freely, under one turn, with deadlines, and with logs that others drain."""

    def __init__(self) -> None:
        self.turn = UnicornEngine().turn()
        self.stop = threading.Event()
        self.failed: list[BaseException] = []
        self.task = Task()
        self.shared = [Guest(arch, "number", "svc") for arch in Arch]
        self.spinner = Guest(Arch.AARCH64, "spin")
        for guest in self.shared:
            guest.cpu.join(self.turn)
        logger = Guest(Arch.AARCH64, "svc", "number", "svc")
        logger.space.write(DATA, b"a line of text\n\0", Prot.NONE)
        logger.cpu.bind(0, Task.handlers()[1], self.task.owner)  # log, at number 0 for the test
        jobs: list[Callable[[], object]] = [
            *(lambda guest=guest: guest.cpu.enter(CODE, SP, (0, 0, 0, 0)) for guest in self.shared),
            self._spin,
            lambda: logger.cpu.enter(CODE, SP, (DATA, 15, 0, 0)),
            self.task.take_log,
            lambda: Guest(Arch.ARM, "svc").cpu.close(),
        ]
        self.threads = [threading.Thread(target=self._repeat, args=(job,), daemon=True) for job in jobs]

    def _repeat(self, job: Callable[[], object]) -> None:
        try:
            while not self.stop.is_set():
                job()
        except BaseException as error:
            self.failed.append(error)

    def _spin(self) -> None:
        self.spinner.cpu.set_deadline(0.002)
        assert self.spinner.cpu.enter(CODE, SP, (0, 0, 0, 0)) is TrapKind.INTERRUPTED
        self.spinner.cpu.acknowledge(Interrupt.DEADLINE)

    def __enter__(self) -> Busy:
        self._interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-4)  # the forking thread waits for seven others
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        sys.setswitchinterval(self._interval)
        for thread in self.threads:
            thread.join(30)
        assert not any(thread.is_alive() for thread in self.threads)
        assert not self.failed, self.failed


def _child(busy: Busy, idle: Guest, under_turn: Guest, which: int) -> int:
    """0 if all of the engine works; else the number of the check that failed."""
    idle.cpu.set_deadline(0.003)  # its watchdog is the child's own
    if idle.cpu.enter(CODE, SP, (0, 0, 0, 0)) is not TrapKind.INTERRUPTED:
        return 1
    if under_turn.cpu.enter(CODE, SP, (0, 0, 0, 0)) is not TrapKind.CALL:  # whoever had the turn is not here
        return 2
    busy.task.take_log()
    if which % 4 == 0:
        fresh = Guest(Arch.ARM, "number", "svc")
        fresh.cpu.join(busy.turn)
        if fresh.cpu.enter(CODE, SP, (0, 0, 0, 0)) is not TrapKind.CALL:
            return 3
    for guest in (*busy.shared, busy.spinner):  # those that other threads ran are broken, and the rest just work
        guest.cpu.set_deadline(0.003)
        trap = guest.cpu.enter(CODE, SP, (0, 0, 0, 0))
        if trap is TrapKind.ERROR and "another thread ran it" not in guest.cpu.error_text():
            return 4
    return 0


def _wait(pid: int) -> int:
    end = time.monotonic() + CHILD_SECONDS
    while time.monotonic() < end:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.0005)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    return -9


MANY = [pytest.param(500, seed, marks=[pytest.mark.slow, pytest.mark.fuzz]) for seed in range(6)]


@pytest.mark.parametrize(("times", "seed"), [(40, 7), *MANY])
def test_a_fork_at_any_moment_leaves_an_engine_that_works(times: int, seed: int) -> None:
    rng = random.Random(seed)
    idle = Guest(Arch.ARM, "spin")
    idle.cpu.set_deadline(0.001)
    idle.cpu.enter(CODE, SP, (0, 0, 0, 0))
    idle.cpu.acknowledge(Interrupt.DEADLINE)
    outcomes: dict[int, int] = {}
    with Busy() as busy:
        under_turn = Guest(Arch.AARCH64, "number", "svc")
        under_turn.cpu.join(busy.turn)
        for which in range(times):
            time.sleep(rng.random() * 0.003)
            pid = os.fork()
            if not pid:
                with suppress(BaseException):
                    faulthandler.disable()
                    os._exit(_child(busy, idle, under_turn, which))
                os._exit(99)
            code = _wait(pid)
            outcomes[code] = outcomes.get(code, 0) + 1
            if code:
                break
    assert outcomes == {0: times}


def test_a_fork_from_a_callback_inside_a_guest_goes_on_in_both() -> None:
    """The forking thread's own CPU is whole in the child: it is in the middle of its run there as well."""
    guest = Guest(Arch.AARCH64, "number", "inc", "svc")
    guest.cpu.join(UnicornEngine().turn())
    pids: list[int] = []
    guest.cpu.on_block(lambda *_: pids.append(os.fork()) if not pids else None)
    trap = guest.cpu.enter(CODE, SP, (41, 0, 0, 0))
    well = trap is TrapKind.CALL and guest.cpu.first == 42
    if not pids[0]:
        os._exit(0 if well and guest.cpu.enter(CODE, SP, (1, 0, 0, 0)) is TrapKind.CALL else 5)
    assert well
    assert _wait(pids[0]) == 0


def test_a_child_that_runs_no_guest_has_no_thread() -> None:
    guest = Guest(Arch.AARCH64, "svc")
    guest.cpu.enter(CODE, SP, (0, 0, 0, 0))
    pid = os.fork()
    if not pid:
        before = len(os.listdir("/proc/self/task"))
        guest.cpu.enter(CODE, SP, (0, 0, 0, 0))
        after = len(os.listdir("/proc/self/task"))
        os._exit(before * 10 + after)
    assert _wait(pid) == 12
