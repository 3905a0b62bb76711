"""Hooks of blocks, accesses, coverage and budgets: what they report, and that one never ends another."""

from __future__ import annotations

import os
import struct

import pytest

from south.engine.unicorn import UnicornEngine
from south.linux_host.memory import HostPages
from south.platform import PAGE, Access, Arch, EngineError, Interrupt, Prot, RegionFlag, TrapKind
from tests.south.guest import ATOMIC, CODE, DATA, HIGH, REGISTERS, SP, TRAP, Guest, code

Seen = list[tuple[Access, int, int, int]]


@pytest.fixture(params=list(Arch), ids=lambda a: a.value)
def arch(request: pytest.FixtureRequest) -> Arch:
    given: Arch = request.param
    return given


def _run(guest: Guest, address: int = DATA + 8, value: int = 9) -> None:
    assert guest.cpu.enter(CODE, SP, (value, address, 0, 0)) is TrapKind.CALL


# --- one beside another


def test_blocks_coverage_and_budgets_work_side_by_side(arch: Arch) -> None:
    guest = Guest(arch, "store", "number", "svc")
    first: list[int] = []
    second: list[int] = []
    remove_first = guest.cpu.on_block(lambda pc, _size: first.append(pc))
    unit, end = arch.code_unit, len(code(arch, "store", "number"))
    first_area = guest.cpu.cover(CODE, end)
    remove_second = guest.cpu.on_block(lambda pc, _size: second.append(pc))
    data = guest.cpu.cover(CODE + end, PAGE - end)
    guest.cpu.set_budget(1000)
    _run(guest)
    all_of = [1] * (end // unit)
    assert (len(first), len(second), list(first_area), sum(data)) == (1, 1, all_of, TRAP[arch] // unit)

    remove_first()
    remove_first()  # twice does no harm
    first_area[:] = bytes(len(first_area))
    guest.cpu.uncover(data)
    data[:] = bytes(len(data))
    _run(guest)
    assert (len(first), len(second), list(first_area), sum(data)) == (1, 2, all_of, 0)

    guest.cpu.uncover()
    guest.cpu.set_budget(0)
    first_area[:] = bytes(len(first_area))
    _run(guest)
    assert (len(second), sum(first_area)) == (3, 0)
    remove_second()
    _run(guest)
    assert len(second) == 3


def test_a_budget_still_ends_a_loop_while_blocks_are_watched_and_covered(arch: Arch) -> None:
    guest = Guest(arch, "spin")
    blocks: list[int] = []
    guest.cpu.set_budget(50)
    guest.cpu.on_block(lambda pc, _size: blocks.append(pc))
    guest.cpu.cover(CODE, PAGE)
    assert guest.cpu.enter(CODE, SP, (0, 0, 0, 0)) is TrapKind.INTERRUPTED
    assert guest.cpu.reason == Interrupt.BUDGET
    assert len(blocks) == 50


def test_turns_go_on_when_other_hooks_end(arch: Arch) -> None:
    guest = Guest(arch, "spin")
    guest.cpu.join(UnicornEngine().turn())
    guest.cpu.on_block(lambda *_: None)
    guest.cpu.set_deadline(0.005)
    assert guest.cpu.enter(CODE, SP, (0, 0, 0, 0)) is TrapKind.INTERRUPTED
    assert not guest.cpu.mid_instruction
    guest.cpu.acknowledge(Interrupt.DEADLINE)
    guest.cpu.on_block(None)
    guest.cpu.set_deadline(0.005)
    assert guest.cpu.proceed() is TrapKind.INTERRUPTED
    assert not guest.cpu.mid_instruction


# --- accesses


def test_accesses_have_the_guests_addresses(arch: Arch) -> None:
    guest = Guest(arch, "store", "load", "number", "svc")
    guest.space.map(HIGH[arch], 2 * PAGE, Prot.RW, RegionFlag.PRIVATE, guest.arena, 0x8000)
    shared = guest.pages.shared(PAGE)
    guest.space.map(HIGH[arch] + 4 * PAGE, PAGE, Prot.RW, RegionFlag.NONSECURE, shared, 0)
    seen: Seen = []
    guest.cpu.on_access(0, 1 << 48, lambda *each: seen.append(each))
    for address in (DATA + 0x18, HIGH[arch], HIGH[arch] + PAGE + 8, HIGH[arch] + 4 * PAGE + 0xFF8):
        seen.clear()
        _run(guest, address, 0x77)
        size = arch.word
        assert seen == [(Access.WRITE, address, size, 0x77), (Access.READ, address, size, 0)]


def test_watches_are_of_the_guests_addresses(arch: Arch) -> None:
    guest = Guest(arch, "store", "number", "svc")
    guest.space.map(HIGH[arch], PAGE, Prot.RW, RegionFlag.PRIVATE, guest.arena, 0x8000)
    inside: Seen = []
    beside: Seen = []
    low: Seen = []
    remove = guest.cpu.on_access(HIGH[arch] + 0x10, HIGH[arch] + 0x20, lambda *each: inside.append(each))
    guest.cpu.on_access(HIGH[arch] + 0x20, HIGH[arch] + 0x24, lambda *each: beside.append(each))
    guest.cpu.on_access(0x8000, 0xA000, lambda *each: low.append(each))  # where the arena holds it
    _run(guest, HIGH[arch] + 0x18)
    _run(guest, HIGH[arch] + 0x28)
    _run(guest, HIGH[arch] + 0xC)  # the last of its bytes are inside, if it is a word of eight
    _run(guest, DATA + 0x10)
    assert [a[1] for a in inside] == [HIGH[arch] + 0x18, *([HIGH[arch] + 0xC] if arch.word == 8 else [])]
    assert not beside
    assert not low
    remove()
    before = len(inside)
    _run(guest, HIGH[arch] + 0x18)
    _run(guest, HIGH[arch] + 0x20)
    assert (len(inside), len(beside)) == (before, 1)
    guest.cpu.on_access(0, 1, None)
    _run(guest, HIGH[arch] + 0x20)
    assert len(beside) == 1


def test_a_page_that_is_mapped_twice_is_reported_by_the_address_that_was_used(arch: Arch) -> None:
    guest = Guest(arch, "store", "number", "svc")
    shared = guest.pages.shared(2 * PAGE)
    twins = (HIGH[arch], HIGH[arch] + 16 * PAGE)
    for va in twins:
        guest.space.map(va, 2 * PAGE, Prot.RW, RegionFlag.NONSECURE, shared, 0)
    seen: Seen = []
    guest.cpu.on_access(0, 1 << 48, lambda *each: seen.append(each))
    used = [twins[i] + at for i, at in ((0, 8), (1, 8), (0, 8), (0, PAGE), (1, PAGE), (1, 16), (0, 16))]
    for address in used:
        _run(guest, address)
    assert [each[1] for each in seen] == used


def test_there_is_an_end_of_watches(arch: Arch) -> None:
    guest = Guest(arch, "store", "number", "svc")
    hits: list[int] = []
    removers = [guest.cpu.on_access(DATA, DATA + PAGE, lambda *_, i=i: hits.append(i)) for i in range(16)]
    with pytest.raises(EngineError):
        guest.cpu.on_access(DATA, DATA + PAGE, lambda *_: None)
    _run(guest)
    assert hits == list(range(16))
    removers[3]()
    guest.cpu.on_access(DATA, DATA + PAGE, lambda *_: hits.append(99))
    hits.clear()
    _run(guest)
    assert sorted(hits) == [*range(3), *range(4, 16), 99]


# --- budgets

T32_LOOPS = {
    "narrow": (0x3601, 0xBF00, 0xBF00, 0xBF00, 0xE7FA),  # adds r6, #1; nop; nop; nop; b: 5 instructions
    "wide": (0xF106, 0x0601, 0xF3AF, 0x8000, 0xF7FF, 0xBFFA),  # add.w r6, r6, #1; nop.w; b.w: 3
    "mixed": (0x3601, 0xF3AF, 0x8000, 0xBF00, 0xF7FF, 0xBFFA),  # 4
}


@pytest.mark.parametrize(("name", "count"), [("narrow", 5), ("wide", 3), ("mixed", 4)])
def test_budgets_count_every_instruction_of_t32(name: str, count: int) -> None:
    guest = Guest(Arch.ARM)
    halves = T32_LOOPS[name]
    guest.arena.view(0, 2 * len(halves))[:] = struct.pack(f"<{len(halves)}H", *halves)
    guest.cpu.set_budget(60 * count + count - 1)
    assert guest.cpu.enter(CODE | 1, SP, (0, 0, 0, 0)) is TrapKind.INTERRUPTED
    assert guest.cpu.registers()["r6"] == 60


@pytest.mark.parametrize("arch", list(Arch))
def test_budgets_count_every_instruction(arch: Arch) -> None:
    backs: dict[Arch, int | bytes] = {Arch.AARCH64: 0x17FFFFFE, Arch.ARM: 0xEAFFFFFC, Arch.X86_64: b"\xeb\xf6"}
    back = backs[arch]  # to the first instruction
    guest = Guest(arch, "inc", "number", back)
    guest.cpu.set_budget(3 * 60 + 2)
    assert guest.cpu.enter(CODE, SP, (0, 0, 0, 0)) is TrapKind.INTERRUPTED
    assert guest.cpu.registers()[REGISTERS[arch][0]] == 60


def test_a_budget_stops_exactly_and_says_so(arch: Arch) -> None:
    """Atomic additions that are stopped and go on at each few instructions are all made, each once."""
    guest = Guest(arch, *ATOMIC[arch])
    times, stops = 200, 0
    guest.cpu.set_budget(5)
    trap = guest.cpu.enter(CODE, SP, (0, DATA, times, 0))
    while trap is TrapKind.INTERRUPTED:
        assert guest.cpu.reason == Interrupt.BUDGET
        assert not guest.cpu.mid_instruction
        stops += 1
        guest.cpu.acknowledge(Interrupt.BUDGET)
        guest.cpu.set_budget(4 + stops % 5)
        trap = guest.cpu.proceed()
    assert stops > times / 2
    assert guest.space.read(DATA, 4, Prot.R) == struct.pack("<I", times)


def test_a_stop_from_outside_is_not_called_exact(arch: Arch) -> None:
    guest = Guest(arch, "spin")
    guest.cpu.set_deadline(0.005)
    assert guest.cpu.enter(CODE, SP, (0, 0, 0, 0)) is TrapKind.INTERRUPTED
    assert guest.cpu.mid_instruction
    guest.cpu.acknowledge(Interrupt.DEADLINE)
    guest.cpu.on_block(lambda *_: None)  # from now on it looks at blocks
    guest.cpu.set_deadline(0.005)
    assert guest.cpu.proceed() is TrapKind.INTERRUPTED
    assert not guest.cpu.mid_instruction


# --- memory


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * PAGE


@pytest.mark.parametrize(
    ("arch", "use"), [(Arch.AARCH64, "turn"), (Arch.ARM, "turn"), (Arch.X86_64, "turn"), (Arch.AARCH64, "cover")]
)
def test_a_hook_remembers_no_block_for_ever(arch: Arch, use: str) -> None:
    """65536 blocks cost the host less than 3 MiB; each was remembered before, at about 80 bytes."""
    size = 256 << 10
    arena = HostPages().arena(size + PAGE)
    jumps: dict[Arch, int | bytes] = {Arch.AARCH64: 0x14000001, Arch.ARM: 0xEAFFFFFF, Arch.X86_64: b"\xeb\x02\x0f\x0b"}
    jump = code(arch, jumps[arch])  # four bytes on
    arena.view(0, size)[:] = jump * (size // 4)
    arena.view(size, TRAP[arch])[:] = code(arch, "svc")[: TRAP[arch]]
    cpu = UnicornEngine().space(arch, arena).cpu()
    cpu.space.map(CODE, size + PAGE, Prot.RX, RegionFlag.PRIVATE, arena, 0)
    child = os.fork()  # what it grows by is its own
    if not child:
        if use == "turn":
            cpu.join(UnicornEngine().turn())
        else:
            cpu.cover(CODE, PAGE)
        for pages in (16, size // PAGE):  # first, so that buffers are warm
            before = _resident()
            if cpu.enter(CODE + size - pages * PAGE, SP, (0, 0, 0, 0)) is not TrapKind.CALL:
                os._exit(255)
        os._exit(min(254, max(0, _resident() - before) >> 20))
    grown = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert grown < 3, f"{grown} MiB"
