"""What an entry cleans and what it keeps, register by register (docs/architecture.md, "What an entry starts with")."""

from __future__ import annotations

import struct

import pytest

from south.platform import Arch, Prot, TrapKind
from tests.south.guest import CODE, DATA, SP, Guest

ONES, ONES_32 = (1 << 64) - 1, (1 << 32) - 1
DUMP = DATA + 0x100
"""Where the second entry stores all it finds: `register 1` of its arguments."""
READ_AT = 0x200
"""Of its code, bytes after the first entry's."""

A64_WRITES = {"fpcr": 0xD51B4400, "fpsr": 0xD51B4420, "nzcv": 0xD51B4200, "tpidr_el0": 0xD51BD040}  # msr ..., x0
A64_READS = {
    "fpcr": 0xD53B4402,
    "fpsr": 0xD53B4422,
    "nzcv": 0xD53B4202,
    "tpidr_el0": 0xD53BD042,
    "tpidrro_el0": 0xD53BD062,
}
A32_WRITES = {"fpscr": 0xEEE10A10, "cpsr": 0xE12CF000, "tpidrurw": 0xEE0D0F50, "big endian": 0xF1010200}
A32_READS = {"fpscr": 0xEEF13A10, "cpsr": 0xE10F3000, "tpidrurw": 0xEE1D3F50, "tpidruro": 0xEE1D3F70}

CPSR_MODE_USER = 0x10
CPSR_AIF = 0x1C0  # what a TA cannot see changes of


def _store_x(register: int, slot: int) -> int:
    return 0xF9000020 | slot << 10 | register  # str xN, [x1, #8 * slot]


def _a64() -> tuple[list[int], list[int]]:
    """Fills every register with ones; stores every register."""
    fill = [0xC85F7C23]  # ldxr x3, [x1]: the exclusive monitor is set
    fill += [0xAA0003E0 | n for n in range(1, 31)]  # mov xN, x0
    fill += [0x4E080C00 | n for n in range(32)]  # dup vN.2d, x0
    store = [_store_x(n, n) for n in range(31)]
    store += [0x3D800020 | (32 + n) << 10 | n for n in range(32)]  # str qN, [x1, #512 + 16 * n]
    for slot, read in enumerate(A64_READS.values(), 128):
        store += [read, _store_x(2, slot)]
    store += [0x910003E2, _store_x(2, 133), 0xC8047C23, _store_x(4, 134)]  # mov x2, sp; stxr w4, x3, [x1]
    return [*fill, *A64_WRITES.values()], store


def _store_r(register: int, slot: int) -> int:
    return 0xE5810000 | register << 12 | 4 * slot  # str rN, [r1, #4 * slot]


def _a32() -> tuple[list[int], list[int]]:
    fill = [0xE1912F9F]  # ldrex r2, [r1]
    fill += [0xE1A00000 | n << 12 for n in (*range(1, 15),)]  # mov rN, r0
    fill += [0xEE800B10 | (n & 15) << 16 | n >> 4 << 7 for n in range(32)]  # vdup.32 dN, r0
    store = [_store_r(n, n) for n in range(15)]
    store += [0xE2812C01]  # add r2, r1, #256
    store += [0xED820B00 | (n & 15) << 12 | n >> 4 << 22 | 2 * n for n in range(32)]  # vstr dN, [r2, #8 * n]
    for slot, read in enumerate(A32_READS.values(), 16):
        store += [read, _store_r(3, slot)]
    store += [0xE1813F92, _store_r(3, 20)]  # strex r3, r2, [r1]
    return [*fill, *A32_WRITES.values()], store


def _guest(arch: Arch) -> Guest:
    fill, store = _a64() if arch is Arch.AARCH64 else _a32()
    guest = Guest(arch, *fill, "svc", "undefined")
    code = [*store, 0xD4000001 if arch is Arch.AARCH64 else 0xEF000000]
    guest.arena.view(READ_AT, 4 * len(code))[:] = struct.pack(f"<{len(code)}I", *code)
    assert len(fill) < READ_AT // 4
    return guest


def _words(guest: Guest, form: str, at: int = 0) -> tuple[int, ...]:
    data = guest.space.read(DUMP + at, struct.calcsize(form), Prot.R)
    assert data is not None
    return struct.unpack(form, data)


@pytest.fixture(params=["left in a call", "left by a fault"])
def leave(request: pytest.FixtureRequest) -> str:
    how: str = request.param
    return how


def _again(guest: Guest, leave: str) -> None:
    """The first entry, with ones in all registers, is left in that way; the second one stores what it finds."""
    trap = guest.cpu.enter(CODE, SP, (ONES, DATA, ONES, ONES))
    assert trap is TrapKind.CALL
    if leave == "left by a fault":
        assert guest.cpu.resume(ONES) is TrapKind.EXCEPTION
    assert guest.cpu.enter(CODE + READ_AT, SP, (11, DUMP, 22, 33)) is TrapKind.CALL


def test_an_aarch64_entry_keeps_tpidr_el0_and_cleans_the_rest(leave: str) -> None:
    guest = _guest(Arch.AARCH64)
    _again(guest, leave)
    assert _words(guest, "<31Q") == (11, DUMP, 22, 33, *[0] * 27)
    assert _words(guest, "<64Q", 512) == (0,) * 64
    system = dict(zip((*A64_READS, "sp", "stxr"), _words(guest, "<7Q", 8 * 128), strict=True))
    assert system == {"fpcr": 0, "fpsr": 0, "nzcv": 0, "tpidr_el0": ONES, "tpidrro_el0": 0, "sp": SP, "stxr": 1}


def test_an_arm_entry_keeps_tpidrurw_and_cleans_the_rest(leave: str) -> None:
    guest = _guest(Arch.ARM)
    _again(guest, leave)
    assert _words(guest, "<15I") == (11, DUMP, 22, 33, *[0] * 9, SP, 0)
    assert _words(guest, "<32Q", 256) == (0,) * 32
    system = dict(zip((*A32_READS, "strex"), _words(guest, "<5I", 64), strict=True))
    assert system["cpsr"] & ~CPSR_AIF == CPSR_MODE_USER
    assert (system["fpscr"], system["tpidrurw"], system["tpidruro"], system["strex"]) == (0, ONES_32, 0, 1)


def test_the_thread_register_is_zero_at_first_and_each_instance_has_its_own() -> None:
    first, second = (Guest(Arch.AARCH64, A64_READS["tpidr_el0"], A64_WRITES["tpidr_el0"], "svc") for _ in range(2))
    for expected in (0, 0x1234):
        assert first.cpu.enter(CODE, SP, (0x1234, 0, 9, 0)) is TrapKind.CALL
        assert first.cpu.words()[2] == expected
    assert second.cpu.enter(CODE, SP, (0, 0, 9, 0)) is TrapKind.CALL
    assert second.cpu.words()[2] == 0


def test_an_entry_chooses_the_instruction_set_by_bit_0() -> None:
    guest = Guest(Arch.ARM, "number", "svc")
    guest.arena.view(0x100, 4)[:] = struct.pack("<HH", 0x2707, 0xDF00)  # movs r7, #7; svc 0
    for at, pc in ((0x101, 0x104), (0, 8), (0x101, 0x104), (0, 8)):
        assert guest.cpu.enter(CODE + at, SP, (0, 0, 0, 0)) is TrapKind.CALL
        assert (guest.cpu.number, guest.cpu.call().pc) == (7, CODE + pc)


def test_the_counters_run_at_user_level() -> None:
    """OP-TEE opens CNTPCT for function tracing: thread_init_per_cpu(), core/arch/arm/kernel/thread.c."""
    wide = Guest(Arch.AARCH64, 0xD53BE020, 0xD53BE041, 0xD53BE002, "svc")  # cntpct_el0, cntvct_el0, cntfrq_el0
    narrow = Guest(Arch.ARM, 0xEC510F0E, 0xEC532F1E, 0xEE1E4F10, "svc")  # mrrc cntpct, mrrc cntvct; mrc r4, cntfrq
    last, frequency = 0, 62_500_000
    for _ in range(3):
        assert wide.cpu.enter(CODE, SP, (0, 0, 0, 0)) is TrapKind.CALL
        physical, virtual, hertz = wide.cpu.words()[:3]
        assert (last < physical <= virtual, hertz) == (True, frequency)
        assert narrow.cpu.enter(CODE, SP, (0, 0, 0, 0)) is TrapKind.CALL
        low, high, virtual_low, virtual_high = narrow.cpu.words()[:4]
        assert virtual <= high << 32 | low <= virtual_high << 32 | virtual_low
        assert narrow.cpu.registers()["r4"] == frequency
        last = virtual


@pytest.mark.parametrize("word", [0xD51BE100, 0xD53BE101, 0xD53BE202, 0xD51BE342, 0xD53B9C00], ids=hex)
def test_the_timers_and_performance_counters_stay_closed(word: int) -> None:
    """cntkctl_el1 of OP-TEE opens the counter alone: not cntp_tval, cntp_cval, cntv_cval; nor pmcr_el0."""
    guest = Guest(Arch.AARCH64, word, "svc")
    assert guest.cpu.enter(CODE, SP, (0, 0, 0, 0)) is TrapKind.EXCEPTION
