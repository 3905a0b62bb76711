"""Contexts: all registers out of one CPU and into another, entries with any registers, calls without a result."""

from __future__ import annotations

import random
import struct

import pytest

from south.engine.unicorn import UnicornCpu
from south.platform import PAGE, Arch, Context, Prot, RegionFlag, TrapKind
from tests.south.guest import CODE, DATA, HIGH, KEPT, REGISTERS, SP, Guest, code

STATE = {Arch.AARCH64: "pstate", Arch.ARM: "cpsr", Arch.X86_64: "rflags"}
CHOSEN = {Arch.AARCH64: 0xF100_0000, Arch.ARM: 0xFE0F_FE20, Arch.X86_64: 0x0024_4CD5}
"""Bits of it that user mode may choose, and the processor has."""
CONTROL = {
    "fpcr": 0x07C0_0000,  # AHP, DN, FZ, RMode (Arm ARM C5.2.8)
    "fpsr": 0xF800_009F,
    "fpscr": 0xFFC0_009F,
    "tpidrurw": 0xFFFF_FFFF,
    "mxcsr": 0xFFFF,  # Intel SDM vol. 1, 10.2.3
    "fpcw": 0x0F7F,
    "fpsw": 0x7F7F,  # bits 7 and 15 follow from others
}
"""Bits that the processor keeps of what is not a whole word."""
# stores what it finds at register 1: register 2, a high vector register, the thread's pointer; then calls
SHOWS: dict[Arch, tuple[str | int | bytes, ...]] = {
    Arch.AARCH64: (0xF9000022, 0x3D80043F, 0xD53BD045, 0xF9001025, "number", "svc"),
    Arch.ARM: (0xE5812000, 0xEDC1FB04, 0xEE1D4F50, 0xE5814020, "number", "svc"),
    Arch.X86_64: (b"\x48\x89\x16\x44\x0f\x11\x7e\x10\x64\x48\x8b\x04\x25\0\0\0\0\x48\x89\x46\x20", "number", "svc"),
}
LOADS: dict[Arch, tuple[str | int | bytes, ...]] = {
    Arch.AARCH64: ("load", 0xA9400C22, 0x4C402820, 0xC85F7C24, "number", "svc"),  # ldr; ldp; ld1 {v0-v3}; ldxr
    Arch.ARM: ("load", 0xE8910018, 0xECB10B08, 0xE1913F9F, "number", "svc"),  # ldr; ldm; vldmia!; ldrex
    Arch.X86_64: ("load", b"\x0f\x10\x06", b"\xdf\x2e", b"\x48\x13\x06", b"\xf0\x0f\xc1\x0e", "number", "svc"),
}  # mov; movups xmm0; fild; adc rax; lock xadd


@pytest.fixture(params=list(Arch), ids=lambda a: a.value)
def arch(request: pytest.FixtureRequest) -> Arch:
    given: Arch = request.param
    return given


def _random(cpu: UnicornCpu, rng: random.Random) -> Context:
    """Wild in all that can be chosen. The x87's registers are ten bytes and full."""
    was = cpu.context()
    arch = was.arch
    words = []
    for name, old in zip(was.names, was.words, strict=True):
        word = rng.getrandbits(8 * arch.word)
        if name == STATE[arch]:
            word = old & ~CHOSEN[arch] | word & CHOSEN[arch]
            word &= ~0x0600_FC20 if arch is Arch.ARM else ~0x100 if arch is Arch.X86_64 else -1  # IT, T; TF
        elif name == "fptag":
            word = 0
        elif name == "pc":
            word &= -4
        words.append(word & CONTROL.get(name, -1))
    vectors = bytearray(rng.randbytes(len(was.vectors)))
    if arch is Arch.X86_64:
        for at in range(256, 384, 16):
            vectors[at + 7 : at + 16] = bytes((0x80, 0x12, 0x34, *[0] * 6))  # a normal number
    return was._replace(words=tuple(words), vectors=bytes(vectors))


@pytest.mark.parametrize("seed", range(3))
def test_what_is_set_is_what_is_there(arch: Arch, seed: int) -> None:
    rng = random.Random(seed)
    cpu, other = Guest(arch).cpu, Guest(arch).cpu
    for _ in range(20):
        given = _random(cpu, rng)
        cpu.set_context(given)
        found = cpu.context()
        assert dict(zip(found.names, found.words, strict=True)) == dict(zip(given.names, given.words, strict=True))
        assert found.vectors == given.vectors
        other.set_context(found)
        assert other.context() == found
    assert dict(cpu.registers()) == {name: given.word(name) for name in cpu.registers()}


def test_an_entry_with_any_registers(arch: Arch) -> None:
    """The guest finds what was set: in a general register, in the last vector register, in its thread's pointer."""
    guest = Guest(arch, *SHOWS[arch])
    vectors = bytearray(len(guest.cpu.context().vectors))
    at = 15 * 16 if arch is Arch.X86_64 else 31 * (16 if arch is Arch.AARCH64 else 8)
    size = 8 if arch is Arch.ARM else 16
    vectors[at : at + size] = bytes(range(1, size + 1))
    zero, first, second = REGISTERS[arch]
    pointer = {Arch.AARCH64: "tpidr_el0", Arch.ARM: "tpidrurw", Arch.X86_64: "fs_base"}[arch]
    assert guest.space.write(DATA + 0x800, struct.pack("<Q", DATA + 0x800), Prot.W)  # as a TLS block holds its address
    wanted = guest.cpu.context().changed(**{"pc": CODE, first: DATA, second: 0x1234, pointer: DATA + 0x800})
    guest.cpu.set_context(wanted._replace(vectors=bytes(vectors)))
    assert guest.cpu.proceed() is TrapKind.CALL
    data = guest.space.read(DATA, 48, Prot.R) or b""
    assert struct.unpack_from("<I", data)[0] == 0x1234
    assert data[16 : 16 + size] == bytes(range(1, size + 1))
    assert struct.unpack_from("<I", data, 32)[0] == DATA + 0x800
    assert guest.cpu.context().word(zero) == 0


def test_a_context_moves_a_running_program_to_another_cpu(arch: Arch) -> None:
    """In the middle of its work, to a CPU of the same space: as a copied process, or a thread, begins."""
    guest = Guest(arch, "inc", "inc", "number", "svc", "inc", "store", "number", "svc")
    assert guest.cpu.enter(CODE, SP, (1, DATA, 9, 0)) is TrapKind.CALL
    other = guest.space.cpu()
    other.set_context(guest.cpu.context())
    assert other.resume(0x70) is TrapKind.CALL
    assert guest.space.read(DATA, 1, Prot.R) == b"\x71"
    assert guest.cpu.resume(0x20) is TrapKind.CALL
    assert guest.space.read(DATA, 1, Prot.R) == b"\x21"


def test_a_call_without_a_result_leaves_the_registers_alone(arch: Arch) -> None:
    guest = Guest(arch, "number", "svc", "store", "number", "svc")
    assert guest.cpu.enter(CODE, SP, (0x55, DATA, 0, 0)) is TrapKind.CALL
    before = guest.cpu.context()
    assert guest.cpu.proceed() is TrapKind.CALL
    after = guest.cpu.context()
    # x86-64's program moves rax, which still holds the call's number, to register 0
    assert guest.space.read(DATA, 1, Prot.R) == (b"\x07" if arch is Arch.X86_64 else b"\x55")
    moved = ("pc", "rcx", "rdi")
    assert [w for n, w in zip(after.names, after.words, strict=True) if n not in moved] == [
        w for n, w in zip(before.names, before.words, strict=True) if n not in moved
    ]


def test_user_mode_cannot_be_left_by_a_context(arch: Arch) -> None:
    """A signal frame is the guest's to write: EL1, system mode, or IOPL 3 in it does not come to be."""
    guest = Guest(arch, "privileged")
    state = guest.cpu.context().changed(pc=CODE, **{STATE[arch]: (1 << 8 * arch.word) - 1}).words
    kept = guest.cpu.context().word(STATE[arch]) & ~CHOSEN[arch]
    for mode in (0xFFFF_FFFF, 0x5, 0x13, 0x1F, 0x3000, 0x2_0000):
        wild = guest.cpu.context()._replace(words=state).changed(**{STATE[arch]: mode & ~0x0600_FD20})
        guest.cpu.set_context(wild)
        assert guest.cpu.context().word(STATE[arch]) & ~CHOSEN[arch] & ~0x1C00 == kept
        assert guest.cpu.proceed() is TrapKind.EXCEPTION
        guest.cpu.set_register(STATE[arch], mode)
        assert guest.cpu.registers()[STATE[arch]] & ~CHOSEN[arch] & ~0x1D00 == kept


def test_what_is_no_context_of_it_is_refused(arch: Arch) -> None:
    cpu = Guest(arch).cpu
    good = cpu.context()
    other = next(each for each in Arch if each is not arch)
    for bad in (
        good._replace(arch=other),
        good._replace(words=good.words[:-1]),
        good._replace(words=()),
        good._replace(vectors=good.vectors + b"\0"),
        good._replace(vectors=b""),
        Guest(other).cpu.context(),
    ):
        with pytest.raises(ValueError, match=f"not a context of {arch.value}"):
            cpu.set_context(bad)
    with pytest.raises(ValueError, match="not in tuple"):
        good.changed(xyz=1)
    assert cpu.context() == good
    cpu.set_context(good.changed(pc=-1))  # words are cut to their size
    assert cpu.context().word("pc") > 0


def test_an_entry_ends_what_a_context_set(arch: Arch) -> None:
    guest = Guest(arch, "number", "svc")
    guest.cpu.set_context(_random(guest.cpu, random.Random(7)))
    assert guest.cpu.enter(CODE, SP, (1, 2, 3, 0)) is TrapKind.CALL
    found = guest.cpu.context()
    assert not any(found.vectors)
    assert found.word(KEPT[arch]) == 0


# --- fault, map, go on


def _mend(guest: Guest, va: int, content: bytes) -> None:
    guest.arena.view(0x8000, 2 * PAGE)[:] = content + bytes(2 * PAGE - len(content))
    guest.space.map(va, PAGE, Prot.RW, RegionFlag.PRIVATE, guest.arena, 0x8000)


@pytest.mark.parametrize("way", ["plain", "blocks are watched", "accesses are watched", "with a snapshot"])
def test_a_load_that_faulted_goes_on_where_its_page_is_mapped(arch: Arch, way: str) -> None:
    """Each kind of load faults, is mended, and ends as it does where the page was there from the start."""
    content = bytes(range(1, 200))
    seen = []
    for there in (True, False):
        for skip in range(4):
            guest = Guest(arch, *LOADS[arch][skip:])
            if way == "blocks are watched":
                guest.cpu.on_block(lambda *_: None)
            elif way == "accesses are watched":
                guest.cpu.on_access(0, 1 << 48, lambda *_: None)
            elif way == "with a snapshot":
                guest.space.snapshot()
            if there:
                _mend(guest, HIGH[arch], content)
            trap = guest.cpu.enter(CODE, SP, (3, HIGH[arch] + 8, 5, 0))
            if not there:
                assert trap is TrapKind.FAULT
                assert guest.cpu.fault()[1:3] == (HIGH[arch] + 8, CODE)
                assert guest.cpu.context().word("pc") == CODE
                _mend(guest, HIGH[arch], content)
                trap = guest.cpu.proceed()
            assert trap is TrapKind.CALL
            seen.append(guest.cpu.context())
    assert seen[:4] == seen[4:]


def test_a_store_across_pages_is_made_once_both_are_there(arch: Arch) -> None:
    guest = Guest(arch, "store", "number", "svc")
    at = HIGH[arch] + PAGE - 2
    assert guest.cpu.enter(CODE, SP, (0x11223344, at, 0, 0)) is TrapKind.FAULT
    _mend(guest, HIGH[arch], b"")
    assert guest.cpu.proceed() is TrapKind.FAULT
    assert guest.cpu.fault().pc == CODE
    assert guest.cpu.fault().address >= HIGH[arch] + PAGE
    guest.space.map(HIGH[arch] + PAGE, PAGE, Prot.RW, RegionFlag.PRIVATE, guest.arena, 0x9000)
    assert guest.cpu.proceed() is TrapKind.CALL
    assert guest.space.read(at, 4, Prot.R) == struct.pack("<I", 0x11223344)


def test_code_that_is_mapped_late_runs(arch: Arch) -> None:
    """As a program's pages are read in on demand; and a page that only lacked a right."""
    guest = Guest(arch, "jump")
    tail = code(arch, "inc", "number", "svc")
    guest.arena.view(0x8000, len(tail))[:] = tail
    assert guest.cpu.enter(CODE, SP, (1, HIGH[arch], 0, 0)) is TrapKind.FAULT
    guest.space.map(HIGH[arch], PAGE, Prot.RW, RegionFlag.PRIVATE, guest.arena, 0x8000)
    assert guest.cpu.proceed() is TrapKind.FAULT
    guest.space.protect(HIGH[arch], PAGE, Prot.RX)
    assert guest.cpu.proceed() is TrapKind.CALL
    assert guest.cpu.first == 2


@pytest.mark.parametrize("size", [2, 4])
def test_an_it_block_goes_on_behind_a_load_that_faulted(size: int) -> None:
    """The load that faults is conditional, and so are those after it: one runs, one does not."""
    guest = Guest(Arch.ARM)
    load = (0x680B,) if size == 2 else (0xF8D1, 0x3000)  # ldreq r3, [r1]
    halves = (0x2A02, 0xBF06, *load, 0x3601, 0x3602, 0x3604, 0x2707, 0xDF00)  # cmp r2, #2; itte eq; ...; add r6
    guest.arena.view(0, 2 * len(halves))[:] = struct.pack(f"<{len(halves)}H", *halves)
    assert guest.cpu.enter(CODE | 1, SP, (0, HIGH[Arch.ARM], 2, 0)) is TrapKind.FAULT
    _mend(guest, HIGH[Arch.ARM], b"\x2a")
    assert guest.cpu.proceed() is TrapKind.CALL
    assert (guest.cpu.registers()["r3"], guest.cpu.registers()["r6"]) == (42, 1 + 4)
