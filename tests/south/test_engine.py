"""The Unicorn engine: traps, exact faults, interruptions, hooks. Every case on all architectures."""

from __future__ import annotations

import os
import struct
import threading
import time

import pytest

from south.engine.unicorn import UnicornEngine
from south.linux_host.memory import HostPages, ScatteredPages
from south.platform import PAGE, Access, Arch, EngineError, Interrupt, Prot, RegionFlag, TrapKind
from tests.south.guest import ATOMIC, CODE, DATA, HIGH, KEPT, NUMBER, REGISTERS, SP, TRAP, Guest, code
from tests.threads import PATIENCE, together


@pytest.fixture(params=list(Arch), ids=lambda a: a.value)
def arch(request: pytest.FixtureRequest) -> Arch:
    given: Arch = request.param
    return given


def test_a_call_traps_with_its_arguments_and_resumes_with_a_result(arch: Arch) -> None:
    guest = Guest(arch, "number", "svc", "inc", "svc")
    assert guest.cpu.enter(CODE, SP, (10, 20, 30, 40)) is TrapKind.CALL
    call = guest.cpu.call()
    # entries and calls have three argument registers in common: x86-64 has the fourth elsewhere
    after = CODE + len(code(arch, "number")) + TRAP[arch]
    assert (call.number, call.args[:3], call.pc) == (7, (10, 20, 30), after)
    assert guest.cpu.resume(41) is TrapKind.CALL
    assert guest.cpu.first == 42


def test_traps_are_told_as_numbers_too(arch: Arch) -> None:
    guest = Guest(arch, "number", "svc", "inc", "number", "svc", "load")
    assert guest.cpu.start(CODE, SP, 10, 20, 30, 40) == 7
    assert list(guest.cpu.args[:3]) == [10, 20, 30]
    assert guest.cpu.answer(41) == 7
    assert guest.cpu.args[0] == guest.cpu.first == 42
    guest.cpu.set_register(REGISTERS[arch][1], HIGH[arch])
    assert guest.cpu.answer(0) == -TrapKind.FAULT
    guest = Guest(arch, "svc", "svc")
    assert guest.cpu.start(CODE, SP, 0, 0, 0, 0) == 0
    guest.cpu.set_register(NUMBER[arch], 512)
    assert guest.cpu.answer(512) == -TrapKind.CALL  # x86-64 has the result where the number was
    assert guest.cpu.number == 512


def test_every_entry_starts_with_clean_registers(arch: Arch) -> None:
    guest = Guest(arch, "number", "svc")
    guest.cpu.enter(CODE, SP, (1, 2, 3, 4))
    guest.cpu.set_register(KEPT[arch], 0xABC)
    guest.cpu.enter(CODE, SP, (0, 0, 0, 0))
    values = guest.cpu.registers()
    # SYSCALL itself leaves where it returns to, and the flags, in rcx and r11
    written = (NUMBER[arch], "sp", "pc", "pstate", "cpsr", "rflags", *(("rcx", "r11") if "r11" in values else ()))
    assert {k: v for k, v in values.items() if v and k not in written} == {}
    assert values["sp"] == SP


@pytest.mark.parametrize(("what", "access"), [("load", Access.READ), ("store", Access.WRITE)])
def test_a_denied_access_faults_at_its_exact_byte(arch: Arch, what: str, access: Access) -> None:
    guest = Guest(arch, "inc", what, "svc")
    address = HIGH[arch] + 0x128
    assert guest.cpu.enter(CODE, SP, (0, address, 0, 0)) is TrapKind.FAULT
    assert guest.cpu.fault()[:3] == (access, address, CODE + len(code(arch, "inc")))
    # mapping the page later makes the same access work: nothing stale is left
    guest.space.map(HIGH[arch], PAGE, Prot.RW, RegionFlag.PRIVATE, guest.arena, 0x8000)
    assert guest.cpu.enter(CODE, SP, (0, address, 0, 0)) is TrapKind.CALL


def test_stores_to_code_and_jumps_to_data_are_denied(arch: Arch) -> None:
    guest = Guest(arch, "store")
    assert guest.cpu.enter(CODE, SP, (0, CODE + 0x10, 0, 0)) is TrapKind.FAULT
    assert guest.cpu.fault().access is Access.WRITE
    guest = Guest(arch, "jump")
    assert guest.cpu.enter(CODE, SP, (0, DATA + 0x40, 0, 0)) is TrapKind.FAULT
    assert guest.cpu.fault()[:3] == (Access.FETCH, DATA + 0x40, DATA + 0x40)


def test_no_page_is_writable_and_executable(arch: Arch) -> None:
    guest = Guest(arch, "svc")
    with pytest.raises(EngineError):
        guest.space.map(HIGH[arch], PAGE, Prot.W | Prot.X, RegionFlag.PRIVATE, guest.arena, 0x8000)
    with pytest.raises(EngineError):
        guest.space.protect(DATA, PAGE, Prot.W | Prot.X)


def test_a_region_may_be_mapped_so_that_it_can_be_both(arch: Arch) -> None:
    """For Linux programs; code that is rewritten from inside runs as it is by then."""
    guest = Guest(arch, "svc")
    flags = RegionFlag.PRIVATE | RegionFlag.RWX
    guest.space.map(HIGH[arch], PAGE, Prot.R | Prot.W | Prot.X, flags, guest.arena, 0x8000)
    guest.put(0x8000, "store", "inc", "number", "svc")
    at = HIGH[arch] + len(code(arch, "store"))
    word = int.from_bytes((code(arch, "nop") + code(arch, "number"))[: arch.word], "little")
    seen = []
    for _ in range(2):  # the instruction after the store is replaced by it
        assert guest.cpu.enter(HIGH[arch], SP, (word, at, 0, 0)) is TrapKind.CALL
        seen.append(guest.cpu.first - word)
    assert seen in ([0, 0], *([[1, 0]] if arch is not Arch.X86_64 else []))  # Arm's architecture asks for a barrier
    for prot in (Prot.RX, Prot.R | Prot.W | Prot.X, Prot.RW):
        guest.space.protect(HIGH[arch], PAGE, prot)
    assert guest.cpu.enter(HIGH[arch], SP, (0, DATA, 0, 0)) is TrapKind.FAULT
    guest.space.map(HIGH[arch] - PAGE, PAGE, Prot.RW, RegionFlag.PRIVATE, guest.arena, 0x9000)
    with pytest.raises(EngineError):  # one of the two was not mapped so
        guest.space.protect(HIGH[arch] - PAGE, 2 * PAGE, Prot.R | Prot.W | Prot.X)


@pytest.mark.parametrize("what", ["undefined", "brk", "privileged"])
def test_exceptions_end_the_entry(arch: Arch, what: str) -> None:
    guest = Guest(arch, "inc", what)
    assert guest.cpu.enter(CODE, SP, (0, 0, 0, 0)) is TrapKind.EXCEPTION
    at = CODE + len(code(arch, "inc"))
    assert guest.cpu.fault().pc in (at, at + len(code(arch, what)))


def test_floating_point_and_wfi_just_run(arch: Arch) -> None:
    guest = Guest(arch, "float", "wfi", "number", "svc")
    assert guest.cpu.enter(CODE, SP, (0, 0, 0, 0)) is TrapKind.CALL
    assert guest.cpu.number == 7


def test_a_deadline_interrupts_a_loop_and_proceed_goes_on_exactly_there(arch: Arch) -> None:
    guest = Guest(arch, "spin")
    guest.cpu.set_deadline(0.01)
    start = time.monotonic()
    assert guest.cpu.enter(CODE, SP, (5, 0, 0, 0)) is TrapKind.INTERRUPTED
    assert 0.009 <= time.monotonic() - start < PATIENCE
    assert guest.cpu.reason == Interrupt.DEADLINE
    assert guest.cpu.registers()["pc"] == CODE
    guest.cpu.acknowledge(Interrupt.DEADLINE)
    threading.Timer(0.02, guest.cpu.interrupt, [Interrupt.KILL]).start()
    assert guest.cpu.proceed() is TrapKind.INTERRUPTED
    assert guest.cpu.reason & Interrupt.KILL


def test_an_interruption_before_entry_is_not_lost(arch: Arch) -> None:
    guest = Guest(arch, "spin")
    guest.cpu.interrupt(Interrupt.CANCEL)
    assert guest.cpu.enter(CODE, SP, (0, 0, 0, 0)) is TrapKind.INTERRUPTED
    guest.cpu.acknowledge(Interrupt.CANCEL)
    assert guest.cpu.reason == 0


def test_t32_state_survives_an_interruption() -> None:
    guest = Guest(Arch.ARM)
    guest.arena.view(0, 4)[:] = struct.pack("<HH", 0xE7FE, 0xDF00)  # b . ; svc 0
    guest.cpu.set_deadline(0.005)
    assert guest.cpu.enter(CODE | 1, SP, (0, 0, 0, 0)) is TrapKind.INTERRUPTED
    guest.cpu.acknowledge(Interrupt.DEADLINE)
    guest.cpu.set_register("pc", CODE + 2 | 1)
    assert guest.cpu.proceed() is TrapKind.CALL
    assert guest.cpu.call().pc == CODE + 4


def test_arm_stack_arguments_are_checked() -> None:
    words = (0xE3A06002, 0xE1A0500D, "number", "svc")  # mov r6, #2; mov r5, sp
    guest = Guest(Arch.ARM, *words)
    guest.arena.view(0x5000 - 0, 8)[:] = struct.pack("<2I", 55, 66)
    assert guest.cpu.enter(CODE, DATA + 0x1000, (1, 2, 3, 4)) is TrapKind.CALL
    assert guest.cpu.call().args[:6] == (1, 2, 3, 4, 55, 66)
    assert not guest.cpu.unreadable
    assert guest.cpu.enter(CODE, 0x1000, (1, 2, 3, 4)) is TrapKind.CALL
    assert guest.cpu.unreadable


def test_scattered_pages_look_contiguous_to_the_guest(arch: Arch) -> None:
    guest = Guest(arch, "load", "number", "svc")
    ram = HostPages().shared(8 * PAGE)
    for i in range(8):
        ram.view(i * PAGE, 4)[:] = bytes([i] * 4)
    scattered = ScatteredPages([(ram, 6 * PAGE, PAGE), (ram, PAGE, PAGE), (ram, 2 * PAGE, PAGE)])
    assert len(scattered.runs) == 2
    guest.space.map(HIGH[arch], 3 * PAGE, Prot.RW, RegionFlag.NONSECURE, scattered, 0)
    seen = []
    for i in range(3):
        guest.cpu.enter(CODE, SP, (0, HIGH[arch] + i * PAGE, 0, 0))
        seen.append(guest.cpu.first & 0xFF)
    assert seen == [6, 1, 2]
    assert guest.space.write(HIGH[arch] + PAGE - 2, b"abcd", Prot.RW)
    assert bytes(ram.view(7 * PAGE - 2, 2)) == b"ab"
    assert bytes(ram.view(PAGE, 2)) == b"cd"
    guest.space.unmap(HIGH[arch] + PAGE, PAGE)
    assert guest.space.read(HIGH[arch] + PAGE - 1, 2, Prot.NONE) is None


def test_overlapping_unaligned_and_foreign_ranges_are_refused(arch: Arch) -> None:
    guest = Guest(arch, "svc")
    space, arena = guest.space, guest.arena
    for va, size in ((DATA + PAGE, PAGE), (DATA + 1, PAGE), (HIGH[arch], 100), (HIGH[arch], 0), (1 << 63, PAGE)):
        with pytest.raises((EngineError, OverflowError)):
            space.map(va, size, Prot.RW, RegionFlag.PRIVATE, arena, 0x8000)
    with pytest.raises(EngineError):
        space.map(HIGH[arch], 4 * PAGE, Prot.RW, RegionFlag.PRIVATE, arena, (1 << 20) - PAGE)
    assert space.read((1 << 64) - 8, 64, Prot.R) is None


def test_rewritten_code_runs_after_it_was_unmapped_and_mapped_again(arch: Arch) -> None:
    guest = Guest(arch, "inc", "number", "svc")
    guest.cpu.enter(CODE, SP, (1, 0, 0, 0))
    assert guest.cpu.first == 2
    guest.space.unmap(CODE, PAGE)
    guest.put(0, "nop")
    guest.space.map(CODE, PAGE, Prot.RX, RegionFlag.PRIVATE, guest.arena, 0)
    guest.cpu.enter(CODE, SP, (1, 0, 0, 0))
    assert guest.cpu.first == 1


def test_snapshot_restores_memory_and_registers(arch: Arch) -> None:
    guest = Guest(arch, "store", "inc", "number", "svc")
    guest.cpu.enter(CODE, SP, (9, DATA, 0, 0))
    saved = guest.cpu.snapshot()
    before = guest.cpu.registers()
    guest.cpu.enter(CODE, SP, (77, DATA, 0, 0))
    assert guest.space.read(DATA, 4, Prot.R) == struct.pack("<I", 77)
    guest.cpu.restore(saved)
    assert guest.space.read(DATA, 4, Prot.R) == struct.pack("<I", 9)
    assert guest.cpu.registers() == before


def test_hooks_see_blocks_accesses_and_coverage_and_can_be_switched_off(arch: Arch) -> None:
    guest = Guest(arch, "store", "number", "svc")
    blocks: list[tuple[int, int]] = []
    accesses: list[tuple[Access, int, int, int]] = []
    guest.cpu.on_block(lambda pc, size: blocks.append((pc, size)))
    guest.cpu.on_access(0, 1 << 32, lambda *seen: accesses.append(seen))
    guest.cpu.enter(CODE, SP, (9, DATA + 8, 0, 0))
    size = len(code(arch, "store", "number")) + TRAP[arch]
    assert blocks == [(CODE, size)]
    assert [a[0] for a in accesses] == [Access.WRITE]
    guest.cpu.on_block(None)
    guest.cpu.on_access(0, 1 << 32, None)
    guest.cpu.enter(CODE, SP, (9, DATA + 8, 0, 0))
    assert (len(blocks), len(accesses)) == (1, 1)
    covered = guest.cpu.cover(CODE, PAGE)
    guest.cpu.enter(CODE, SP, (9, DATA + 8, 0, 0))
    assert sum(covered) == size // arch.code_unit
    guest.cpu.uncover()


def test_a_budget_ends_a_loop(arch: Arch) -> None:
    guest = Guest(arch, "spin")
    guest.cpu.set_budget(100_000)
    assert guest.cpu.enter(CODE, SP, (0, 0, 0, 0)) is TrapKind.INTERRUPTED
    assert guest.cpu.reason == Interrupt.BUDGET


def test_samples_count_where_the_guest_runs(arch: Arch) -> None:
    guest = Guest(arch, "inc", "spin")
    counters, seconds, taken = DATA + 16, 0.0, 0
    guest.put(len(code(arch, "inc")), b"\x90" if arch.code_unit == 1 else b"", "spin")  # 4 bytes from its start
    while taken < 5:  # a busy machine may not tick for long
        guest.cpu.sample(counters, 4, CODE, 32768)  # a counter for four bytes
        guest.cpu.set_deadline(0.02)
        guest.cpu.enter(CODE, SP, (0, 0, 0, 0))
        guest.cpu.acknowledge(Interrupt.DEADLINE)
        more, ran = guest.cpu.sampled()
        taken, seconds = taken + more, seconds + ran
    words = struct.unpack("<4H", guest.space.read(counters, 8, Prot.R) or b"")
    assert (sum(words), words[2:]) == (taken, (0, 0))
    assert words[1] >= taken - 1  # it is in its loop; one sample may be of its first block
    assert seconds > 0
    guest.cpu.set_deadline(0.01)
    guest.cpu.enter(CODE, SP, (0, 0, 0, 0))
    assert struct.unpack("<4H", guest.space.read(counters, 8, Prot.R) or b"") == words


def test_tracing_stops_at_calls_that_c_would_answer(arch: Arch) -> None:
    from tee.crypto.task import Task

    task = Task()
    guest = Guest(arch, "svc", "undefined")
    guest.cpu.bind(0, Task.handlers()[9], task.owner)  # get_cancellation_flag, at number 0 for the test
    assert guest.cpu.enter(CODE, SP, (DATA, 0, 0, 0)) is not TrapKind.CALL  # answered in C, runs off the end
    guest.cpu.trace_calls(True)
    assert guest.cpu.enter(CODE, SP, (DATA, 0, 0, 0)) is TrapKind.CALL
    assert guest.cpu.serve() == 0


def _increment(guest: Guest, times: int) -> None:
    trap = guest.cpu.enter(CODE, SP, (0, HIGH[guest.space.arch], times, 0))
    assert trap is TrapKind.CALL


def test_atomics_hold_between_cpus_that_take_turns(arch: Arch) -> None:
    shared = HostPages().shared(PAGE)
    guests = [Guest(arch, *ATOMIC[arch]) for _ in range(2)]
    turn = UnicornEngine().turn()
    for guest in guests:
        guest.space.map(HIGH[arch], PAGE, Prot.RW, RegionFlag.NONSECURE, shared, 0)
        guest.cpu.join(turn)
    times = 1_000_000
    together(lambda guest: _increment(guest, times), guests)
    assert struct.unpack("<I", shared.view(0, 4))[0] == 2 * times


def test_one_that_spins_on_the_other_gets_there(arch: Arch) -> None:
    """Turns are by time slice: a loop that waits for the other CPU's store ends."""
    # wait: load the word; loop until it is not zero
    wait_a64 = (0xB9400020, 0x34FFFFE0, "number", "svc")  # ldr w0, [x1]; cbz w0, -4
    wait_arm = (0xE5910000, 0xE3500000, 0x0AFFFFFC, "number", "svc")  # ldr, cmp, beq
    wait_x86 = (b"\x83\x3e\x00\x74\xfb", "number", "svc")  # cmp dword [rsi], 0; je -5
    waiter = Guest(arch, *{Arch.AARCH64: wait_a64, Arch.ARM: wait_arm, Arch.X86_64: wait_x86}[arch])
    writer = Guest(arch, "store", "number", "svc")
    shared = HostPages().shared(PAGE)
    turn = UnicornEngine().turn()
    for guest in (waiter, writer):
        guest.space.map(HIGH[arch], PAGE, Prot.RW, RegionFlag.NONSECURE, shared, 0)
        guest.cpu.join(turn)
    thread = threading.Thread(target=waiter.cpu.enter, args=(CODE, SP, (0, HIGH[arch], 0, 0)))
    thread.start()
    time.sleep(0.01)
    assert writer.cpu.enter(CODE, SP, (1, HIGH[arch], 0, 0)) is TrapKind.CALL
    thread.join(10)
    assert not thread.is_alive()


def test_joining_a_running_cpu_to_a_turn_makes_it_yield(arch: Arch) -> None:
    runner = Guest(arch, "spin")
    other = Guest(arch, "number", "svc")
    thread = threading.Thread(target=runner.cpu.enter, args=(CODE, SP, (0, 0, 0, 0)))
    thread.start()
    time.sleep(0.01)
    turn = UnicornEngine().turn()
    runner.cpu.join(turn)
    other.cpu.join(turn)
    assert other.cpu.enter(CODE, SP, (0, 0, 0, 0)) is TrapKind.CALL
    runner.cpu.interrupt(Interrupt.KILL)
    thread.join(10)
    assert not thread.is_alive()


def test_deadlines_work_in_a_forked_child(arch: Arch) -> None:
    guest = Guest(arch, "spin")
    guest.cpu.set_deadline(0.005)
    guest.cpu.enter(CODE, SP, (0, 0, 0, 0))
    guest.cpu.acknowledge(Interrupt.DEADLINE)
    child = os.fork()
    if child == 0:
        guest.cpu.set_deadline(0.005)
        os._exit(0 if guest.cpu.enter(CODE, SP, (0, 0, 0, 0)) is TrapKind.INTERRUPTED else 1)
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            assert os.waitstatus_to_exitcode(status) == 0
            return
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    pytest.fail("the child's guest was never interrupted")


def test_many_cpus_come_and_go_without_growing(arch: Arch) -> None:
    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * PAGE

    for _ in range(5):
        Guest(arch, "svc").cpu.close()
    before = resident()
    for _ in range(60):
        guest = Guest(arch, "number", "svc")
        guest.cpu.enter(CODE, SP, (0, 0, 0, 0))
        guest.cpu.close()
    assert resident() - before < 40 << 20


def test_what_was_unmapped_is_out_of_reach_though_the_engine_had_it_cached(arch: Arch) -> None:
    guest = Guest(arch, "load", "svc")
    cpu, shared, other = guest.cpu, guest.pages.shared(PAGE), guest.pages.shared(PAGE)
    shared.view(0, 4)[:] = struct.pack("<I", 1)
    other.view(0, 4)[:] = struct.pack("<I", 2)
    for pages in (shared, other):
        cpu.space.keep(pages)
    va = 0x90_0000

    def load() -> int | None:
        if cpu.enter(CODE, SP, (0, va, 0, 0)) is TrapKind.CALL:
            return cpu.first & 0xFFFFFFFF
        fault = cpu.fault()
        assert (fault.access, fault.address) == (Access.READ, va)
        return None

    for _ in range(3):
        cpu.space.map(va, PAGE, Prot.RW, RegionFlag.NONSECURE, shared, 0)
        assert load() == 1
        cpu.space.unmap(va, PAGE)
    assert cpu.space.read(va, 4, Prot.NONE) is None
    assert load() is None
    cpu.space.map(va, PAGE, Prot.RW, RegionFlag.NONSECURE, shared, 0)
    assert load() == 1
    cpu.space.unmap(va, PAGE)
    cpu.space.map(va, PAGE, Prot.RW, RegionFlag.NONSECURE, other, 0)
    assert load() == 2
    cpu.space.unmap(va, PAGE)
    cpu.space.forget(other)
    assert load() is None
    cpu.space.map(va, PAGE, Prot.RW, RegionFlag.NONSECURE, shared, 0)
    assert load() == 1
    cpu.space.unmap(va, PAGE)
    cpu.space.map(va, PAGE, Prot.NONE, RegionFlag.NONSECURE, shared, 0)
    assert load() is None
