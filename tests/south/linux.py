"""A kernel of a few calls for one static x86-64 Linux program: enough to see that the engine can carry a personality.

Sources of numbers and layouts: linux arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/linux/auxvec.h, mman-common.h
and elf.h; "System V ABI, AMD64 Architecture Processor Supplement" 3.4.1 for the stack of a new process.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from south.engine.unicorn import UnicornEngine
from south.linux_host.memory import HostPages
from south.platform import PAGE, Arch, Prot, RegionFlag, TrapKind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Table = Mapping[int, Callable[["Process", tuple[int, ...]], int]]

ENOSYS, EINVAL, ENOTTY, EBADF = 38, 22, 25, 9
PT_LOAD, EHDR, PHDR = 1, struct.Struct("<16sHHIQQQIHHHHHH"), struct.Struct("<IIQQQQQQ")
AT_PHDR, AT_PHENT, AT_PHNUM, AT_PAGESZ, AT_ENTRY, AT_SECURE, AT_RANDOM = 3, 4, 5, 6, 9, 23, 25
ARCH_SET_GS, ARCH_SET_FS, ARCH_GET_FS = 0x1001, 0x1002, 0x1003
MAP_ANONYMOUS = 0x20
STACK_TOP, STACK = 0x7FFF_FFFF_F000, 1 << 20
MMAP, MMAP_SIZE, BRK_SIZE = 0x7FFF_0000_0000, 8 << 20, 4 << 20


class Exited(NamedTuple):
    status: int
    output: bytes
    calls: tuple[int, ...]


class Process:
    """A static program in memory of its own; `table` serves its calls by number, any other is ENOSYS."""

    def __init__(self, elf: bytes, table: Table, model: str = "") -> None:
        self.table = table
        self.output = bytearray()
        self.status: int | None = None
        self.calls: list[int] = []
        self._arena = HostPages().arena(64 << 20)
        self._used = 0
        self.space = UnicornEngine(model).space(Arch.X86_64, self._arena)
        self.cpu = self.space.cpu()
        self._load(elf)
        self.map(STACK_TOP - STACK, STACK, Prot.RW)
        self.map(MMAP, MMAP_SIZE, Prot.NONE)
        self.next_map = MMAP

    def map(self, va: int, size: int, prot: Prot) -> int:
        """Zeroed memory at `va`; both are rounded outwards to pages. Its offset in the arena."""
        begin, end = va & -PAGE, va + size + PAGE - 1 & -PAGE
        at, self._used = self._used, self._used + end - begin
        self.space.map(begin, end - begin, prot, RegionFlag.PRIVATE | RegionFlag.RWX, self._arena, at)
        return at

    def _load(self, elf: bytes) -> None:
        fields = EHDR.unpack_from(elf)
        self.entry, phoff, phnum = fields[4], fields[5], fields[10]
        self.phdr, self.phnum, end = 0, phnum, 0
        for i in range(phnum):
            kind, flags, offset, va, _, filesz, memsz, _ = PHDR.unpack_from(elf, phoff + i * PHDR.size)
            if kind != PT_LOAD:
                continue
            prot = (Prot.R if flags & 4 else 0) | (Prot.W if flags & 2 else 0) | (Prot.X if flags & 1 else 0)
            self.map(va, memsz, Prot(prot))
            assert self.space.write(va, elf[offset : offset + filesz], Prot.NONE)
            if offset <= phoff < offset + filesz:
                self.phdr = va + phoff - offset
            end = max(end, va + memsz)
        self.brk_start = self.brk = end + PAGE - 1 & -PAGE
        self.map(self.brk, BRK_SIZE, Prot.RW)

    def _stack(self, argv: tuple[bytes, ...]) -> int:
        sp = STACK_TOP
        pointers = []
        for text in (*argv, bytes(range(16))):
            sp -= len(text) + 1
            assert self.space.write(sp, text + b"\0", Prot.W)
            pointers.append(sp)
        auxv = {
            AT_PHDR: self.phdr,
            AT_PHENT: PHDR.size,
            AT_PHNUM: self.phnum,
            AT_PAGESZ: PAGE,
            AT_ENTRY: self.entry,
            AT_SECURE: 0,
            AT_RANDOM: pointers[-1],
            0: 0,
        }
        words = [len(argv), *pointers[:-1], 0, 0, *(word for pair in auxv.items() for word in pair)]
        sp = sp - 8 * len(words) & -16
        assert self.space.write(sp, struct.pack(f"<{len(words)}Q", *words), Prot.W)
        return sp

    def run(self, *argv: bytes) -> Exited:
        trap = self.cpu.enter(self.entry, self._stack(argv), (0, 0, 0, 0))
        while trap is TrapKind.CALL:
            call = self.cpu.call()
            self.calls.append(call.number)
            handler = self.table.get(call.number)
            result = -ENOSYS if handler is None else handler(self, call.args)
            if self.status is not None:
                return Exited(self.status, bytes(self.output), tuple(self.calls))
            trap = self.cpu.resume(result & (1 << 64) - 1)
        raise AssertionError(f"{trap.name}: {self.cpu.fault()} {self.cpu.error_text()} {self.cpu.registers()}")


def write(process: Process, args: tuple[int, ...]) -> int:
    data = process.space.read(args[1], args[2], Prot.R)
    if args[0] not in (1, 2) or data is None:
        return -EBADF
    process.output += data
    return len(data)


def writev(process: Process, args: tuple[int, ...]) -> int:
    rows = process.space.read(args[1], 16 * args[2], Prot.R)
    assert rows is not None
    return sum(write(process, (args[0], *row)) for row in struct.iter_unpack("<2Q", rows))


def leave(process: Process, args: tuple[int, ...]) -> int:
    process.status = args[0] & 0xFF
    return 0


def brk(process: Process, args: tuple[int, ...]) -> int:
    if process.brk_start <= args[0] <= process.brk_start + BRK_SIZE:
        process.brk = args[0]
    return process.brk


def mmap(process: Process, args: tuple[int, ...]) -> int:
    _, size, prot, flags = args[:4]
    if not flags & MAP_ANONYMOUS or not size:
        return -EINVAL
    at = process.next_map
    process.next_map += size + PAGE - 1 & -PAGE
    process.space.protect(at, process.next_map - at, Prot(prot & 7))
    return at


def mprotect(process: Process, args: tuple[int, ...]) -> int:
    process.space.protect(args[0] & -PAGE, args[1] + PAGE - 1 & -PAGE, Prot(args[2] & 7))
    return 0


def arch_prctl(process: Process, args: tuple[int, ...]) -> int:
    register = {ARCH_SET_FS: "fs_base", ARCH_SET_GS: "gs_base"}.get(args[0])
    if register is None:
        return -EINVAL
    process.cpu.set_register(register, args[1])
    return 0


def nothing(process: Process, args: tuple[int, ...]) -> int:
    """Success."""
    return 0


def not_a_terminal(process: Process, args: tuple[int, ...]) -> int:
    return -ENOTTY


def one(process: Process, args: tuple[int, ...]) -> int:
    """The only thread's number."""
    return 1


FIVE = {1: write, 9: mmap, 12: brk, 158: arch_prctl, 60: leave}
"""write, mmap, brk, arch_prctl, exit."""
GLIBC = FIVE | {10: mprotect, 11: nothing, 16: not_a_terminal, 20: writev, 218: one, 231: leave, 273: nothing}
"""What a static glibc program that prints needs besides: mprotect, munmap, ioctl, writev, set_tid_address, exit_group,
set_robust_list. Others (rseq, prlimit64, readlinkat, getrandom, newfstatat) it can do without."""
