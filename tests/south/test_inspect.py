"""Breakpoints, steps, watchpoints, counts and positions: exact, beside each other, and gone without a trace."""

from __future__ import annotations

import struct
from itertools import accumulate

import pytest

from south.engine.unicorn import UnicornEngine
from south.platform import PAGE, Access, Arch, EngineError, Interrupt, Prot, StopKind, TrapKind
from tests.south.guest import CODE, DATA, REGISTERS, SP, Guest, code

PROGRAM = ("inc", "inc", "store", "inc", "load", "inc", "number", "svc", "inc", "number", "svc")


@pytest.fixture(params=list(Arch), ids=lambda a: a.value)
def arch(request: pytest.FixtureRequest) -> Arch:
    given: Arch = request.param
    return given


def _places(arch: Arch) -> list[int]:
    """Addresses of the instructions of PROGRAM; on x86-64 "svc" is two, of which the first is meant."""
    return list(accumulate((len(code(arch, name)) for name in PROGRAM[:-1]), initial=CODE))


def _enter(guest: Guest, first: int = 0) -> TrapKind:
    return guest.cpu.enter(CODE, SP, (first, DATA, 0, 0))


def _first(guest: Guest) -> int:
    return guest.cpu.registers()[REGISTERS[guest.space.arch][0]]


def test_a_breakpoint_stops_before_its_instruction_and_is_passed_once(arch: Arch) -> None:
    guest = Guest(arch, *PROGRAM)
    places = _places(arch)
    guest.cpu.set_break(places[1])
    guest.cpu.set_break(places[3])
    guest.cpu.set_break(places[3])
    for _ in range(2):
        assert _enter(guest) is TrapKind.DEBUG
        assert guest.cpu.stopped() == (StopKind.BREAK, places[1], Access.NONE, places[1])
        assert _first(guest) == 1
        assert guest.cpu.proceed() is TrapKind.DEBUG
        assert (guest.cpu.stopped().pc, _first(guest)) == (places[3], 2)
        assert guest.cpu.proceed() is TrapKind.CALL
        assert guest.cpu.first == 3  # 2 came back; and one more
        guest.cpu.resume(0)
    guest.cpu.clear_break(places[3])
    with pytest.raises(EngineError):
        guest.cpu.clear_break(places[3])
    assert _enter(guest) is TrapKind.DEBUG
    assert guest.cpu.proceed() is TrapKind.CALL


def test_an_entry_stops_where_it_begins_and_a_loop_stops_each_time(arch: Arch) -> None:
    guest = Guest(arch, "spin")
    guest.cpu.set_break(CODE)
    for _ in range(2):
        assert _enter(guest) is TrapKind.DEBUG
        for _ in range(3):
            assert guest.cpu.proceed() is TrapKind.DEBUG
            assert guest.cpu.stopped()[:2] == (StopKind.BREAK, CODE)


def test_an_interruption_does_not_make_a_breakpoint_stop_twice(arch: Arch) -> None:
    guest = Guest(arch, *PROGRAM)
    guest.cpu.set_break(_places(arch)[1])
    assert _enter(guest) is TrapKind.DEBUG
    guest.cpu.interrupt(Interrupt.CANCEL)
    assert guest.cpu.proceed() is TrapKind.INTERRUPTED
    guest.cpu.acknowledge(Interrupt.CANCEL)
    assert guest.cpu.proceed() is TrapKind.CALL


def test_steps_see_every_instruction_and_breakpoints_beside_them(arch: Arch) -> None:
    guest = Guest(arch, *PROGRAM)
    places = _places(arch)
    guest.cpu.set_break(places[0])
    guest.cpu.set_break(places[2])
    assert _enter(guest) is TrapKind.DEBUG
    for place in places[1:8]:
        assert guest.cpu.step() is TrapKind.DEBUG
        assert guest.cpu.stopped()[:2] == (StopKind.STEP, place)
    assert guest.cpu.step() is TrapKind.CALL
    assert guest.cpu.first == 3
    assert guest.cpu.resume(9) is TrapKind.CALL  # no step is left over
    assert _enter(guest) is TrapKind.DEBUG
    assert guest.cpu.proceed() is TrapKind.DEBUG
    assert guest.cpu.stopped()[:2] == (StopKind.BREAK, places[2])


@pytest.mark.parametrize(
    ("access", "begin", "end", "stops"),
    [
        (Prot.W, 0, 4, [(3, Access.WRITE)]),
        (Prot.R, 0, 4, [(5, Access.READ)]),
        (Prot.RW, 3, 40, [(3, Access.WRITE), (5, Access.READ)]),
        (Prot.RW, 64, 128, []),
    ],
)
def test_watchpoints_stop_after_the_access_which_happens_once(
    arch: Arch, access: Prot, begin: int, end: int, stops: list[tuple[int, Access]]
) -> None:
    guest = Guest(arch, *PROGRAM)
    places = _places(arch)
    seen: list[Access] = []
    guest.cpu.on_access(DATA, DATA + PAGE, lambda kind, *_: seen.append(kind))
    remove = guest.cpu.watch(DATA + begin, DATA + end, access)
    trap = _enter(guest, 5)
    for place, kind in stops:
        assert trap is TrapKind.DEBUG
        assert guest.cpu.stopped() == (StopKind.WATCH, places[place], kind, DATA)
        trap = guest.cpu.proceed()
    assert trap is TrapKind.CALL
    assert seen == [Access.WRITE, Access.READ]
    remove()
    remove()
    assert _enter(guest, 5) is TrapKind.CALL


def test_all_is_beside_all_and_release_ends_it(arch: Arch) -> None:
    guest = Guest(arch, *PROGRAM)
    places = _places(arch)
    covered = guest.cpu.cover(CODE, PAGE)
    counts, edges = guest.cpu.counts(CODE, PAGE), guest.cpu.edges(CODE, 1 << 12)
    guest.cpu.count_blocks(True)
    guest.cpu.set_break(places[4])
    guest.cpu.watch(DATA, DATA + 1, Prot.W)
    assert _enter(guest) is TrapKind.DEBUG
    assert guest.cpu.stopped().kind is StopKind.WATCH
    at = guest.cpu.position()
    assert at == (1, places[3])
    assert guest.cpu.proceed() is TrapKind.DEBUG
    assert guest.cpu.stopped()[:2] == (StopKind.BREAK, places[4])
    assert guest.cpu.proceed() is TrapKind.CALL
    assert (counts[0], sum(covered) > 0, sum(edges) > 0) == (1, True, True)
    guest.cpu.release()
    before = (counts.tolist(), bytes(edges))
    assert _enter(guest) is TrapKind.CALL
    assert (counts.tolist(), bytes(edges)) == before
    guest.cpu.set_break(places[1])  # and all can begin again
    assert _enter(guest) is TrapKind.DEBUG
    assert guest.cpu.step() is TrapKind.DEBUG
    guest.cpu.close()


def test_positions_and_counts_are_the_same_in_each_run(arch: Arch) -> None:
    guest = Guest(arch, "inc", "spin")
    runs = []
    for _ in range(2):
        counts, edges = guest.cpu.counts(CODE, 16), guest.cpu.edges(CODE, 1 << 10)
        guest.cpu.count_blocks(True)
        guest.cpu.set_budget(1000)
        assert _enter(guest) is TrapKind.INTERRUPTED
        guest.cpu.acknowledge(Interrupt.BUDGET)
        runs.append((guest.cpu.position(), counts.tolist(), bytes(edges)))
        guest.cpu.set_budget(0)
        guest.cpu.release()
    assert runs[0] == runs[1]
    (blocks, pc), counted, _edges = runs[0]
    assert (blocks, pc, sum(counted)) == (999, CODE + len(code(arch, "inc")), 999)
    assert max(runs[0][2]) == 255  # it stays there: 0 would mean never


def test_edges_do_not_depend_on_where_the_code_is(arch: Arch) -> None:
    seen = []
    for shift in (0, PAGE):
        guest = Guest(arch, *PROGRAM)
        if shift:
            guest.space.unmap(CODE, PAGE)
            guest.space.map(CODE + shift, PAGE, Prot.RX, 2, guest.arena, 0)  # type: ignore[arg-type]
        edges = guest.cpu.edges(CODE + shift, 256)
        assert guest.cpu.enter(CODE + shift, SP, (0, DATA, 0, 0)) is TrapKind.CALL
        guest.cpu.resume(0)
        seen.append(bytes(edges))
    assert seen[0] == seen[1]
    with pytest.raises(EngineError):
        guest.cpu.edges(CODE, 100)


def test_a_step_over_a_call_that_c_answers_is_one_step(arch: Arch) -> None:
    from tee.crypto.task import Task

    task = Task()
    guest = Guest(arch, "svc", "inc", "inc")
    guest.cpu.bind(0, Task.handlers()[9], task.owner)  # get_cancellation_flag, at number 0 for the test
    guest.cpu.set_break(CODE)
    assert guest.cpu.enter(CODE, SP, (DATA, 0, 0, 0)) is TrapKind.DEBUG
    assert guest.cpu.step() is TrapKind.DEBUG
    assert guest.cpu.stopped()[:2] == (StopKind.STEP, CODE + (4 if arch is not Arch.X86_64 else 2))


def test_if_then_blocks_are_stepped_and_broken_into() -> None:
    """T32: an IT block is one step, and a breakpoint at an instruction of it that runs stops behind the block."""
    halves = (0x2800, 0xBF0E, 0x3601, 0x3602, 0x3604, 0x3608, 0x2707, 0xDF00)  # cmp r0, #0; itee eq; adds r6: 1 2 4 8
    block, behind = range(2, 5), 5
    for first, runs, sum_ in ((0, {2}, 1 + 8), (1, {3, 4}, 2 + 4 + 8)):
        for way in range(len(halves)):
            guest = Guest(Arch.ARM, struct.pack(f"<{len(halves)}H", *halves))
            guest.cpu.set_break(CODE + 2 * way)
            trap = guest.cpu.enter(CODE | 1, SP, (first, 0, 0, 0))
            if way in block and way not in runs:
                assert trap is TrapKind.CALL
            else:
                assert trap is TrapKind.DEBUG, way
                assert guest.cpu.stopped().pc == CODE + 2 * (behind if way in block else way)
            while trap is TrapKind.DEBUG:
                trap = guest.cpu.step()
            assert trap is TrapKind.CALL
            assert guest.cpu.registers()["r6"] == sum_, (first, way)


def test_watchpoints_leave_the_processor_state_alone() -> None:
    """T32: an access inside an IT block, watched; the instructions after it keep their conditions."""
    halves = (0x2800, 0xBF06, 0x680B, 0x3602, 0x3604, 0x3608, 0x2707, 0xDF00)  # itte eq: ldr r3, [r1]
    for first, sum_ in ((0, 2 + 8), (1, 4 + 8)):
        guest = Guest(Arch.ARM, struct.pack(f"<{len(halves)}H", *halves))
        guest.cpu.watch(DATA, DATA + 4, Prot.R)
        trap = guest.cpu.enter(CODE | 1, SP, (first, DATA, 0, 0))
        if not first:
            assert trap is TrapKind.DEBUG
            assert guest.cpu.stopped() == (StopKind.WATCH, CODE + 10, Access.READ, DATA)
            trap = guest.cpu.proceed()
        assert trap is TrapKind.CALL
        assert guest.cpu.registers()["r6"] == sum_


def test_one_cpu_of_two_stops_alone(arch: Arch) -> None:
    guest = Guest(arch, *PROGRAM)
    other = guest.space.cpu()
    other.join(UnicornEngine().turn())
    guest.cpu.set_break(_places(arch)[1])
    assert other.enter(CODE, SP, (0, DATA, 0, 0)) is TrapKind.CALL
    assert _enter(guest) is TrapKind.DEBUG
