"""Random instructions on every processor that a guest may be given: does the process survive?

    python -m tests.fuzz.instructions a64|a32|t32|x86_64|all [--model NAME] [--blocks N | --seconds S] [--seed N]

A block is a few random instructions, entered with wild registers. Each run is a child process: what ends it, or hangs
it, is printed with the block that did. What breaks inside (`TrapKind.ERROR`) must be what is known to.
"""

from __future__ import annotations

import argparse
import mmap
import os
import random
import re
import signal
import struct
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

from south.engine.unicorn import UnicornEngine, models
from south.linux_host.memory import HostPages
from south.platform import PAGE, Arch, Context, EngineError, Prot, RegionFlag, TrapKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from south.engine.unicorn import UnicornCpu

SETS = {"a64": Arch.AARCH64, "a32": Arch.ARM, "t32": Arch.ARM, "x86_64": Arch.X86_64}
"""Instruction sets by name."""
CODE, DATA, STACK = 0x1_0000, 0x2_0000, 0x3_0000
CPSR_T = 1 << 5
SLOT = 64
"""Bytes that a block has of the code page."""
PER_CPU = 4096
"""Blocks of one CPU; then another one is made, as its state is random by then."""
DEADLINE = 0.02
HANG = 20.0
"""Seconds without a block: generous, for a machine that is busy."""

# Classes of A64 (Arm ARM C4.1) and A32/T32 (F3.1, F4.1): bits that are set, and bits that are random.
_A64 = (
    (0x00000000, 0xFFFFFFFF),  # anything
    (0xD5000000, 0x003FFFFF),  # system: MSR, MRS, SYS, hints, barriers
    (0xD4000000, 0x00FFFFFF),  # exceptions
    (0x08000000, 0xF5FFFFFF),  # loads and stores: exclusive, LSE, tags
    (0x04000000, 0xE1FFFFFF),  # SVE's place
    (0x0E000000, 0xF1FFFFFF),  # SIMD and floating point
    (0x0E400400, 0x71BFFBFF),  # three of the same kind, half precision
    (0x0E780800, 0x71FFF7FF),  # two registers, half precision
    (0x5E000000, 0x21FFFFFF),  # scalar SIMD
    (0x0F000000, 0x71FFFFFF),  # by element
    (0xD5032000, 0x00000FFF),  # hints, pointer authentication
    (0xD9000000, 0x00FFFFFF),  # tags
    (0xD6000000, 0x01FFFFFF),  # branches to registers
)
_A32 = (
    (0x00000000, 0xFFFFFFFF),
    (0xEE000000, 0x01FFFFFF),  # coprocessors, VFP
    (0xEC000000, 0x01FFFFFF),
    (0xF0000000, 0x0FFFFFFF),  # unconditional: NEON, barriers, SETEND
    (0xF2000000, 0x01FFFFFF),  # NEON
    (0xFC000000, 0x03FFFFFF),  # later extensions of NEON
    (0xE1000000, 0x00FFFFFF),  # miscellaneous, halfword multiplies, exclusive
    (0xE6000010, 0x01FFFFEF),  # media
    (0xE8000000, 0x01FFFFFF),  # multiple loads and stores
    (0xEF000000, 0x00FFFFFF),  # system calls
    (0xEE000F10, 0x00FFF0EF),  # CP15
)
_T32_FIRST = (
    0xE8,
    0xE9,
    0xEA,
    0xEB,
    0xEC,
    0xED,
    0xEE,
    0xEF,
    0xF0,
    0xF3,
    0xF7,
    0xF8,
    0xF9,
    0xFA,
    0xFB,
    0xFC,
    0xFD,
    0xFE,
    0xFF,
)
_T32_SHORT = (0xBF, 0xBE, 0xB6, 0xBA, 0xDF, 0xDE, 0x47, 0xC0, 0xB1)  # IT, BKPT, CPS, HLT, SVC, UDF, BX, STM, CBZ
# Of x86-64 (Intel SDM vol. 2, appendix A): the beginning of an instruction; random bytes follow.
_X86 = (
    b"",  # anything
    b"\x0f",
    b"\x66\x0f",
    b"\xf2\x0f",
    b"\xf3\x0f",
    b"\x0f\x38",
    b"\x66\x0f\x38",
    b"\x0f\x3a",
    b"\x66\x0f\x3a",
    b"\x0f\x00",  # descriptor tables
    b"\x0f\x01",  # system, virtual machines
    b"\x0f\xae",  # FXSAVE, XSAVE, fences, bases of segments
    b"\xf3\x0f\xae",
    b"\x66\x0f\xae",
    b"\x0f\xc7",  # CMPXCHG16B, RDRAND
    b"\x0f\x1a",  # bounds
    b"\x0f\x1b",
    b"\x66\x0f\x1a",
    b"\x0f\x18",  # hints
    b"\x0f\x20",  # control registers
    b"\x0f\x22",
    b"\x8e",  # segment registers
    b"\x8c",
    b"\xff",  # far calls and jumps among them
    b"\xf0",  # lock
    b"\xf3",  # rep
    b"\xf2",
    b"\xc5",  # VEX
    b"\xc4",
    b"\x62",  # EVEX
    b"\x8f",  # XOP
    *(bytes([escape]) for escape in range(0xD8, 0xE0)),  # x87
    *(bytes([string]) for string in (0x6C, 0x6E, 0xA4, 0xA6, 0xAA, 0xAC, 0xAE)),
    *(bytes([other]) for other in (0xC8, 0xCA, 0xCB, 0xCC, 0xCD, 0xCF, 0x9D, 0xE4, 0xEC, 0xEE, 0xF1, 0xF4, 0xFA)),
)
_WILD = (
    DATA,
    DATA + PAGE - 4,
    DATA + 2 * PAGE - 4,
    STACK + 0x800,
    0,
    1,
    CODE,
    (1 << 64) - 8,
    1 << 46,
    1 << 31,
    CODE | 1,
)


_LOCKED_BIT = re.compile(rb"\xf0.*\x0f[\xa3\xab\xb3\xba\xbb]", re.DOTALL)
_STRINGS = re.compile(rb"\x0f\x3a[\x60\x61]")


class Outcome(NamedTuple):
    """blocks: how many ran. broken: those that ended inside Unicorn. dead: those that ended the process, and how."""

    blocks: int
    broken: tuple[bytes, ...]
    dead: tuple[tuple[bytes, str], ...]


def known(isa: str, model: str, code: bytes) -> bool:
    """Whether that block may break inside Unicorn: what the documentation of its processors says.

    aarch64's "max": half-precision SIMD. x86-64: LOCK before a bit test of a register; where there is SSE4.2, a
    PCMPESTRI or PCMPESTRM with a length of INT32_MIN.
    """
    if isa == "x86_64":
        return bool(_LOCKED_BIT.search(code) or (model != "penryn" and _STRINGS.search(code)))
    return (isa, model) == ("a64", "max")


def block(isa: str, rng: random.Random) -> bytes:
    """At most `SLOT` bytes; a system call ends them."""
    count = rng.choice((1, 1, 2, 4, 8))
    if isa == "x86_64":
        out = b""
        for _ in range(count):
            prefix = rng.choice(
                (b"", b"", bytes([rng.randrange(0x40, 0x50)]), bytes([rng.choice(b"\x66\x67\x64\x65")]))
            )
            out += prefix + rng.choice(_X86) + rng.randbytes(rng.choice((1, 1, 2, 3, 6)))
        return out[: SLOT - 4] + b"\x0f\x05\x0f\x05"
    if isa == "t32":
        out = b""
        for _ in range(count):
            dice = rng.random()
            if dice < 0.3:
                out += struct.pack("<H", rng.getrandbits(16))
            elif dice < 0.5:
                out += bytes((rng.getrandbits(8), rng.choice(_T32_SHORT)))
            else:
                out += struct.pack("<HH", rng.choice(_T32_FIRST) << 8 | rng.getrandbits(8), rng.getrandbits(16))
        return out + b"\x00\xdf\x00\xdf"
    classes = _A64 if isa == "a64" else _A32
    words = [fixed | rng.getrandbits(32) & free for fixed, free in (rng.choice(classes) for _ in range(count))]
    svc = 0xD4000001 if isa == "a64" else 0xEF000000
    return struct.pack(f"<{count + 2}I", *words, svc, svc)


def _cpu(isa: str, model: str) -> tuple[UnicornCpu, memoryview]:
    arena = HostPages().arena(8 * PAGE)
    cpu = UnicornEngine(model).space(SETS[isa], arena).cpu()
    cpu.space.map(CODE, 2 * PAGE, Prot.RX, RegionFlag.PRIVATE, arena, 0)
    cpu.space.map(DATA, 2 * PAGE, Prot.RW, RegionFlag.PRIVATE, arena, 2 * PAGE)
    cpu.space.map(STACK, PAGE, Prot.RW, RegionFlag.PRIVATE, arena, 4 * PAGE)
    return cpu, arena.view(0, 2 * PAGE)


def _wild_context(cpu: UnicornCpu, pc: int, thumb: bool, rng: random.Random) -> Context:
    """All registers wild, but for those that lead to the block."""
    was = cpu.context()
    words = [rng.choice(_WILD) if rng.random() < 0.7 else rng.getrandbits(64) for _ in was.words]
    state = {"cpsr": rng.getrandbits(32) & ~CPSR_T | thumb << 5} if "cpsr" in was.names else {}
    vectors = rng.randbytes(len(was.vectors))
    return was._replace(words=tuple(words), vectors=vectors).changed(pc=pc, sp=STACK + 0x800, **state)


def _one(cpu: UnicornCpu, isa: str, at: int, rng: random.Random) -> TrapKind:
    cpu.set_deadline(DEADLINE)
    args = [rng.choice(_WILD) if rng.random() < 0.8 else rng.getrandbits(64) for _ in range(4)]
    if rng.random() < 0.3:
        cpu.set_context(_wild_context(cpu, CODE + at, isa == "t32", rng))
        trap = cpu.proceed()
    else:
        trap = cpu.enter(CODE + at + (isa == "t32"), STACK + 0x800, args)
    for _ in range(3):
        if trap is not TrapKind.CALL:
            break
        trap = cpu.resume(rng.getrandbits(32))
    cpu.acknowledge(cpu.reason)
    cpu.fault()
    cpu.registers()
    return trap


class _Note:
    """What a child tells of itself, in memory that outlives it: blocks that ran, and the one that runs."""

    def __init__(self) -> None:
        self._map = mmap.mmap(-1, PAGE)

    def running(self, count: int, code: bytes) -> None:
        struct.pack_into("<QI", self._map, 0, count, len(code))
        self._map[12 : 12 + len(code)] = code

    def read(self) -> tuple[int, bytes]:
        count, size = struct.unpack_from("<QI", self._map)
        return count, bytes(self._map[12 : 12 + size])


def _child(isa: str, model: str, seed: int, blocks: int, end: float, note: _Note, pipe: int) -> int:
    rng = random.Random(seed)
    done = 0
    while done < blocks and time.monotonic() < end:
        cpu, view = _cpu(isa, model)
        for _ in range(min(PER_CPU, blocks - done)):
            if time.monotonic() >= end:
                break
            code = block(isa, rng)
            at = rng.choice((rng.randrange(PAGE // SLOT) * SLOT, PAGE - rng.randrange(1, 16) * 2))
            at -= at % {"t32": 2, "x86_64": 1}.get(isa, 4)
            note.running(done, code)
            view[at : at + len(code)] = code
            cpu.space.invalidate(CODE, 2 * PAGE)
            trap = _one(cpu, isa, at, rng)
            done += 1
            if trap is TrapKind.ERROR and cpu.error_text().startswith("Unicorn failed inside"):
                os.write(pipe, struct.pack("<I", len(code)) + code)
                break
        view.release()
        cpu.close()
    note.running(done, b"")
    return 0


def _watch(pid: int, note: _Note) -> str:
    """How a child ended; "" if well."""
    last, since = -1, time.monotonic()
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return "" if not code else signal.Signals(-code).name if code < 0 else f"exit code {code}"
        count = note.read()[0]
        if count != last:
            last, since = count, time.monotonic()
        elif time.monotonic() - since > HANG:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return "it hung"
        time.sleep(0.02)


def _pieces(data: bytes) -> list[bytes]:
    out = []
    while data:
        size = int.from_bytes(data[:4], "little")
        out.append(data[4 : 4 + size])
        data = data[4 + size :]
    return out


def run(isa: str, model: str, seed: int, *, blocks: int = 1 << 62, seconds: float = 1e9) -> Outcome:
    """Blocks of one instruction set on one processor, until either limit."""
    end = time.monotonic() + seconds
    done, broken, dead = 0, [], []
    while done < blocks and time.monotonic() < end:
        note, (reading, writing) = _Note(), os.pipe()
        pid = os.fork()
        if not pid:
            os.close(reading)
            for descriptor in (1, 2):  # Unicorn prints what it asserts
                os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
            try:
                os._exit(_child(isa, model, seed, min(blocks - done, 100_000), end, note, writing))
            except BaseException:
                os._exit(77)
        os.close(writing)
        how = _watch(pid, note)
        with os.fdopen(reading, "rb") as pipe:
            broken += _pieces(pipe.read())
        count, code = note.read()
        done += count
        if how:
            done += 1
            dead.append((code, how))
        seed += 1
    return Outcome(done, tuple(broken), tuple(dead))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.instructions", description=__doc__)
    parser.add_argument("isa", choices=[*SETS, "all"])
    parser.add_argument("--model", help="one processor instead of all")
    parser.add_argument("--blocks", type=int, default=1 << 62)
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(argv)
    if options.blocks == 1 << 62 and options.seconds == 1e9:
        options.seconds = 10.0
    worst = 0
    for isa in SETS if options.isa == "all" else [options.isa]:
        processors = models(SETS[isa])
        for model in [options.model] if options.model else processors:
            if model not in processors:
                raise EngineError(f"{isa} has no processor {model}")
            out = run(isa, model, options.seed, blocks=options.blocks, seconds=options.seconds)
            print(f"{isa} {model}: {out.blocks} blocks, {len(out.broken)} contained, {len(out.dead)} dead", flush=True)
            for code, how in out.dead:
                print(f"  {how}: {code.hex()}")
            for code in out.broken[:10]:
                print(f"  contained: {code.hex()}")
            worst |= bool(out.dead) or not all(known(isa, model, code) for code in out.broken)
    return int(worst)


if __name__ == "__main__":
    sys.exit(main())
