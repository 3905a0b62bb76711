"""Small kernels in a real QEMU behind our shim, with secure worlds that only answer."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from south.qemu_arm import layout
from tests.fakes import Lines
from tests.south.qemu_arm.kit import FAST, INTERRUPTED, RETURN, YIELDING, Recorder, guest, machine, needs_qemu, run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

pytestmark = needs_qemu

Four = tuple[int, int, int, int]
MINUS_ONE = (1 << 64) - 1
BIG = 0xFEDC_BA98_7654_3210


@pytest.mark.parametrize("conduit", ["smc", "hvc"])
@pytest.mark.parametrize("model", ["cortex-a57", "max"])
def test_registers_go_and_come_back(tmp_path: Path, conduit: str, model: str) -> None:
    kernel = guest("echo", tmp_path, CONDUIT=conduit)
    monitor = Recorder(
        {YIELDING + 0x100: lambda *_: (MINUS_ONE, 2, BIG, 4), FAST + 1: lambda *_: (MINUS_ONE - 1, 0, 0, 0)}
    )
    with machine(kernel, model=model) as made:
        assert run(made, monitor) == 0, made.said()
    assert monitor.calls[0] == (0, (YIELDING + 0x100, 1, 2, BIG, 4, 5, 6, 7))
    assert monitor.told(FAST + 1) == [(2, BIG, 0)], "x4 to x30 survived"
    assert monitor.told(FAST + 2) == [(MINUS_ONE - 1, 4, 0)]
    # PSCI answers with a version, SiP and TA calls are unknown to QEMU, and none of them came here.
    [(version, sip, ta)] = monitor.told(FAST + 3)
    assert version >= 0x1_0000
    assert (sip, ta) == (MINUS_ONE, MINUS_ONE)
    assert [registers[0] for _, registers in monitor.calls[1:]] == [FAST + 1, FAST + 2, FAST + 3, 0xBF00FF01]


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def test_late_answers_from_another_thread(tmp_path: Path) -> None:
    made = machine(guest("late", tmp_path))
    seen: dict[int, tuple[float, int]] = {}
    refused: list[str] = []

    def late(cpu: int, registers: Sequence[int], answer: Callable[[Four], None]) -> None:
        def later() -> None:
            assert made.pid is not None
            slot = layout.SLOTS_BASE - layout.SHIM_BASE
            time.sleep(0.1)
            before = processor_seconds(made.pid)
            time.sleep(0.5)
            asleep = made.memory.shim[slot + layout.SLOT_SLEEP]
            seen[registers[0]] = (processor_seconds(made.pid) - before, asleep)
            answer((5, 6, 7, 8))
            try:
                answer((9, 9, 9, 9))
            except RuntimeError as error:
                refused.append(str(error))

        threading.Thread(target=later).start()

    monitor = Recorder({YIELDING + 1: late, YIELDING + 2: late})
    with made:
        assert run(made, monitor) == 0
    assert [registers[0] for _, registers in monitor.calls] == [YIELDING + 1, YIELDING + 2, FAST + 3]
    assert monitor.told(FAST + 3) == [(5, 7, 8)]
    assert refused == ["CPU 0 was answered twice"] * 2
    assert seen[YIELDING + 1][1] == 0, "without an interrupt controller nothing would wake it"
    spent, asleep = seen[YIELDING + 2]
    assert asleep == 1
    assert spent < 0.1, "a CPU that waits costs the host nothing"


def test_an_interrupt_ends_a_long_call_for_a_while(tmp_path: Path) -> None:
    monitor = Recorder()
    waiting: list[Callable[[Four], None]] = []
    monitor.handlers[YIELDING + 1] = lambda cpu, registers, answer: waiting.append(answer)
    monitor.handlers[RETURN] = lambda *_: (42, 0, 0, 0)
    monitor.on_interrupt = lambda cpu: waiting.pop()((INTERRUPTED, 0, 0, 7))
    with machine(guest("preempt", tmp_path)) as made:
        assert run(made, monitor) == 0
    assert monitor.interrupts == [0]
    assert monitor.told(RETURN) == [(1, INTERRUPTED, 7)], "taken before the kernel came back"
    assert monitor.told(FAST + 2) == [(42, 1, 0)]


def test_notifications(tmp_path: Path) -> None:
    made = machine(guest("notify", tmp_path))
    monitor = Recorder()
    waiting: list[Callable[[Four], None]] = []

    def on(*_: object) -> Four:
        made.notify()  # still off: nothing
        made.notifications(True)
        threading.Timer(0.1, made.notify).start()
        return (0, 0, 0, 0)

    def long(cpu: int, registers: Sequence[int], answer: Callable[[Four], None]) -> None:
        waiting.append(answer)
        threading.Timer(0.2, made.notify).start()

    def off(*_: object) -> Four:
        made.notifications(False)
        made.notify()
        return (0, 0, 0, 0)

    monitor.handlers = {FAST + 1: on, YIELDING + 2: long, FAST + 3: off}
    monitor.on_interrupt = lambda cpu: waiting.pop()((INTERRUPTED, 0, 0, 1))
    with made:
        assert run(made, monitor) == 0
    # One each: the first was not sent, the last neither; each was asked for by the handler.
    assert monitor.told(RETURN) == [(2, 0, 1)]
    assert monitor.told(FAST + 4)[0][0] == 2
    assert len(monitor.told(layout.NOTIFICATION_VALUE)) == 2


def test_two_cpus_call_at_once(tmp_path: Path) -> None:
    count = 200

    def number(cpu: int, registers: Sequence[int], answer: Callable[[Four], None]) -> Four | None:
        out = (0, registers[2] + 1000, 0, 0)
        if registers[2] % 50 == 7:
            threading.Timer(0.01, answer, [out]).start()
            return None
        return out

    monitor = Recorder({YIELDING + 0x10: number})
    with machine(guest("cpus", tmp_path, COUNT=count), cpus=2) as made:
        assert run(made, monitor) == 0
    assert monitor.told(FAST + 1)[0][:2] == (0, MINUS_ONE - 1), "PSCI: SUCCESS, INVALID_PARAMETERS"
    assert monitor.told(FAST + 2)[0][0] == 0x77
    assert not monitor.told(FAST + 0xBAD)
    for cpu in (0, 1):
        mine = [r for c, r in monitor.calls if c == cpu and r[0] in (YIELDING + 0x10, FAST + 0x11)]
        assert [r[1:3] for r in mine] == [(cpu, n) for n in range(count) for _ in range(2)]


def test_a_reset_starts_a_new_life(tmp_path: Path) -> None:
    made = machine(guest("reset", tmp_path), reboot=True)
    monitor = Recorder()
    states: list[tuple[int, bool]] = []

    def again(*_: object) -> Four:
        config = layout.CONFIG_BASE - layout.SHIM_BASE
        states.append((monitor.resets, bool(made.memory.shim[config + layout.CONFIG_NOTIFY])))
        made.notifications(True)
        return (int(len(states) < 3), 0, 0, 0)

    monitor.handlers[FAST + 1] = again
    with made:
        assert run(made, monitor) == 0
    assert states == [(1, False), (2, False), (3, False)]
    assert monitor.resets == 4, "once more at the end"


def test_a_kernel_that_writes_rubbish_everywhere(tmp_path: Path) -> None:
    """It rings and calls at random; the host stays sane, and the next life of the guest is served as ever."""
    log = Lines()
    made = machine(guest("hostile", tmp_path, COUNT=3000), log, cpus=2, reboot=True)
    monitor = Recorder()
    enough = threading.Event()
    before = monitor.reset

    def reset() -> None:
        before()
        if monitor.resets > 20:
            enough.set()

    monitor.reset = reset  # type: ignore[method-assign]

    def end() -> None:
        enough.wait(30)
        made.stop()

    ender = threading.Thread(target=end)
    ender.start()
    with made:
        run(made, monitor)
        ender.join()
    assert enough.is_set()
    assert "internal error" not in log.text
    assert all(cpu < 2 for cpu, _ in monitor.calls)


def test_a_secure_world_that_fails(tmp_path: Path) -> None:
    log = Lines()

    def fail(*_: object) -> None:
        raise ValueError("a bug")

    with machine(guest("preempt", tmp_path), log) as made:
        monitor = Recorder({YIELDING + 1: fail})
        monitor.may_block = fail  # type: ignore[method-assign, assignment]
        assert run(made, monitor) == 0
    assert monitor.told(FAST + 2)[0][0] == 0xFFFF_FFFF
    assert "ValueError: a bug" in log.text
