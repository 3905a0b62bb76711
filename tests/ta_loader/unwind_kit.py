"""For the tests of backtraces: C programs run under Unicorn one instruction at a time, with a call stack kept apart.

The shadow stack is built from the instructions that are executed (calls push, reaching the return address at
the caller's stack pointer pops): it knows nothing of frames, tables or stack contents.
"""

from __future__ import annotations

import functools
import importlib
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import pytest
from unicorn import arm64_const, arm_const

from south.platform import Arch
from tee.ports import Module

if TYPE_CHECKING:
    from collections.abc import Iterator

unicorn: Any = importlib.import_module("unicorn")
"""Its type hints are partial."""

PREFIX = {Arch.AARCH64: "aarch64-linux-gnu-", Arch.ARM: "arm-linux-gnueabihf-"}
MAIN = UUID("00112233-4455-6677-8899-aabbccddeeff")
OTHER = UUID("ffeeddcc-bbaa-9988-7766-554433221100")
BASE = {MAIN: 0x40000000, OTHER: 0x48000000}
STACK, STACK_SIZE = 0x7F000000, 0x10000

PROGRAM = r"""
#define NOINLINE __attribute__((noinline, noclone))
#define HIDDEN __attribute__((visibility("hidden")))
volatile int sink;
typedef int (*callback)(int);

NOINLINE HIDDEN int leaf(int x) { return x * 7 + sink; }

NOINLINE HIDDEN int saver(int a, int b, int c, int d)
{
    int r = leaf(a) + leaf(b);
    r ^= leaf(c + r);
    return r + leaf(d + r) + a * b + c * d;
}

NOINLINE HIDDEN int big(int x)
{
    volatile char space[1000];
    space[x & 511] = x;
    return saver(x, x + 1, x + 2, space[5]) + 1;
}

NOINLINE HIDDEN int dynamic(int n)
{
    volatile char *space = __builtin_alloca((n & 31) + 17);
    space[0] = n;
    return big(n) + space[0];
}

NOINLINE HIDDEN int recurse(int n)
{
    if (n <= 0)
        return dynamic(9) + 1;
    return recurse(n - 1) * 3 + recurse(n - 2);
}

NOINLINE HIDDEN double vector(double x, int n)
{
    double a = x * 2.5, b = x * 3.5, c = x / 2;
    int r = recurse(n);
    return a * r + b / (r + 1) + c;
}

__attribute__((used)) int entry(callback call, int n)
{
    int r = vector(1.5, n);
    if (call)
        r += call(r);
    return r + leaf(r);
}
"""

GUARDED = r"""
volatile int sink;
typedef int (*callback)(int);
static void done(int *x) { sink += *x; }
__attribute__((noinline, noclone, visibility("hidden"))) int guarded(callback call, int n)
{
    __attribute__((cleanup(done))) int kept = n;
    volatile char space[900];
    space[n & 63] = n;
    return call(n + space[1]) * n + kept + call(n) * space[n & 31];
}
__attribute__((used)) int entry(callback call, int n) { return guarded(call, n) + 1; }
"""

LIBRARY = r"""
volatile int other_sink;
__attribute__((noinline, noclone, visibility("hidden"))) int inner(int x) { return x + other_sink; }
__attribute__((used)) int outer(int x)
{
    int kept = inner(x);
    return inner(kept + 2) ^ kept;
}
"""


def tool(arch: Arch, name: str) -> str:
    """A cross tool of GCC's or binutils'."""
    found = shutil.which(PREFIX[arch] + name)
    if found is None:
        pytest.skip(f"{PREFIX[arch]}{name} is not installed")
    return found


@functools.cache
def build(arch: Arch, source: str, *flags: str) -> bytes:
    """A shared object without libraries, laid out as a TA: page-aligned segments from address 0."""
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder, "program.c"), Path(folder, "program.elf")
        path.write_text(source)
        command = [
            tool(arch, "gcc"),
            "-shared",
            "-fPIC",
            "-nostdlib",
            "-O2",
            "-ffreestanding",
            "-Wl,-z,noseparate-code",
        ]
        command += [
            "-Wl,-Bsymbolic",
            "-Wl,-z,max-page-size=4096",
            "-Wl,--hash-style=gnu",
            *flags,
            "-o",
            str(out),
            str(path),
        ]
        subprocess.run([*command, "-lgcc"], check=True, capture_output=True)
        return out.read_bytes()


def run_tool(arch: Arch, name: str, data: bytes, *options: str) -> str:
    """Output of a binutils program on an ELF file."""
    with tempfile.NamedTemporaryFile(suffix=".elf") as file:
        file.write(data)
        file.flush()
        return subprocess.run(
            [tool(arch, name), *options, file.name], check=True, capture_output=True, text=True
        ).stdout


def objcopy(arch: Arch, data: bytes, *options: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder, "in"), Path(folder, "out")
        source.write_bytes(data)
        subprocess.run([tool(arch, "objcopy"), *options, str(source), str(out)], check=True, capture_output=True)
        return out.read_bytes()


def nm(arch: Arch, data: bytes, *options: str) -> dict[str, tuple[int, int, str]]:
    """name: (value, size, type) of defined symbols, by binutils."""
    found = {}
    for line in run_tool(arch, "nm", data, "--defined-only", "-S", *options).splitlines():
        fields = line.split()
        if len(fields) == 4:
            found[fields[3]] = (int(fields[0], 16), int(fields[1], 16), fields[2])
    return found


class Stop(NamedTuple):
    """The program before one instruction. shadow: return addresses, innermost first; call: the instruction is one."""

    pc: int
    registers: dict[str, int]
    shadow: list[int]
    call: bool


class Runner:
    """Programs at BASE, a stack, and Unicorn."""

    def __init__(self, arch: Arch, files: dict[UUID, bytes]) -> None:
        self.arch = arch
        self.files = files
        wide = arch is Arch.AARCH64
        self._uc: Any = (
            unicorn.Uc(unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM)
            if wide
            else unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_ARM)
        )
        self._names: dict[str, int] = (
            {
                **{f"x{i}": getattr(arm64_const, f"UC_ARM64_REG_X{i}") for i in range(31)},
                "sp": arm64_const.UC_ARM64_REG_SP,
            }
            if wide
            else {f"r{i}": getattr(arm_const, f"UC_ARM_REG_R{i}") for i in range(15)}
        )
        self._sp = "sp" if wide else "r13"
        self._uc.mem_map(STACK, STACK_SIZE)
        if wide:
            self._uc.reg_write(arm64_const.UC_ARM64_REG_CPACR_EL1, 3 << 20)
        else:
            self._uc.reg_write(arm_const.UC_ARM_REG_C1_C0_2, 0xF << 20)
            self._uc.reg_write(arm_const.UC_ARM_REG_FPEXC, 1 << 30)
        self.modules = [self._load(uuid, data) for uuid, data in files.items()]

    def _load(self, uuid: UUID, data: bytes) -> Module:
        """PT_LOADs by readelf, relocated by hand where they are R_*_RELATIVE, JUMP_SLOT or GLOB_DAT of this file."""
        base, top = BASE[uuid], 0
        self._uc.mem_map(base, 0x40000)
        for line in run_tool(self.arch, "readelf", data, "-lW").splitlines():
            fields = line.split()
            if fields[:1] == ["LOAD"]:
                offset, address, _, filesz, memsz = (int(f, 16) for f in fields[1:6])
                self._uc.mem_write(base + address, data[offset : offset + filesz])
                top = max(top, address + memsz)
        names = nm(self.arch, data)
        for line in run_tool(self.arch, "readelf", data, "-rW").splitlines():
            fields = line.split()
            if len(fields) >= 4 and fields[2].endswith(("GLOB_DAT", "JUMP_SLOT", "JUMP_SLO", "ABS64", "ABS32")):
                target = next((names[f][0] for f in fields[3:] if f in names), 0)
            elif len(fields) >= 3 and fields[2].endswith("RELATIVE"):
                size = 8 if self.arch is Arch.AARCH64 else 4
                place = base + int(fields[0], 16)
                target = int(fields[3], 16) if size == 8 else int.from_bytes(self._uc.mem_read(place, 4), "little")
            else:
                continue
            size = 8 if self.arch is Arch.AARCH64 else 4
            self._uc.mem_write(base + int(fields[0], 16), (base + target).to_bytes(size, "little"))
        return Module(uuid, base, top)

    def read(self, address: int, size: int) -> bytes | None:
        try:
            return bytes(self._uc.mem_read(address, size))
        except unicorn.UcError:
            return None

    def elf_of(self, uuid: UUID) -> bytes | None:
        return self.files.get(uuid)

    def address(self, uuid: UUID, name: str) -> int:
        """Address of a symbol in memory; bit 0 set for T32 functions."""
        value = nm(self.arch, self.files[uuid])[name][0]
        if self.arch is Arch.ARM and f"<{name}>" in _thumb_functions(self.files[uuid]):
            value |= 1
        return BASE[uuid] + value

    def steps(self, entry: int, *arguments: int, limit: int = 3000) -> Iterator[Stop]:
        """Run to the end, one instruction at a time."""
        uc, names = self._uc, self._names
        for name in names.values():
            uc.reg_write(name, 0)

        for i, value in enumerate(arguments):
            uc.reg_write(names[f"{'x' if self.arch is Arch.AARCH64 else 'r'}{i}"], value)
        uc.reg_write(names[self._sp], STACK + STACK_SIZE - 64)
        shadow: list[tuple[int, int]] = []
        pc = entry
        for _ in range(limit):
            sp = uc.reg_read(names[self._sp])
            here = pc & -2 if self.arch is Arch.ARM else pc
            if shadow and (here, sp) == shadow[-1]:
                shadow.pop()
            if not here:
                return
            call, size = self._call_size(here, bool(pc & 1))
            registers = {name: uc.reg_read(number) for name, number in names.items()}
            registers["pc"] = here
            yield Stop(here, registers, [back for back, _ in reversed(shadow)], call)
            if call:
                shadow.append((here + size, sp))
            uc.emu_start(pc, 0, count=1)
            if self.arch is Arch.AARCH64:
                pc = uc.reg_read(arm64_const.UC_ARM64_REG_PC)
            else:
                pc = uc.reg_read(arm_const.UC_ARM_REG_PC) & -2 | uc.reg_read(arm_const.UC_ARM_REG_CPSR) >> 5 & 1
        raise AssertionError("the program did not end")

    def _call_size(self, pc: int, thumb: bool) -> tuple[bool, int]:
        """Whether the instruction at `pc` is BL, BLR or BLX, and its size (Arm ARM, instruction encodings)."""
        word = int.from_bytes(self.read(pc, 4) or b"", "little")
        if self.arch is Arch.AARCH64:
            return word >> 26 == 0x25 or word & 0xFFFFFC1F == 0xD63F0000, 4
        if not thumb:
            bl = word & 0x0F000000 == 0x0B000000 or word >> 25 == 0x7D
            return bl or word & 0x0FFFFFF0 == 0x012FFF30, 4
        low, high = word & 0xFFFF, word >> 16
        if low & 0xFF87 == 0x4780:
            return True, 2
        return low & 0xF800 == 0xF000 and high & 0xC000 == 0xC000, 4 if low >> 11 >= 0x1D else 2


@functools.cache
def _thumb_functions(data: bytes) -> str:
    """`objdump -t` marks nothing; readelf shows odd values, which nm hides."""
    out = []
    for line in run_tool(Arch.ARM, "readelf", data, "-sW").splitlines():
        fields = line.split()
        if len(fields) >= 8 and fields[3] == "FUNC" and int(fields[1], 16) & 1:
            out.append(f"<{fields[7]}>")
    return " ".join(out)
