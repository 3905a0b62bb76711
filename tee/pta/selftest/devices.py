"""Self tests of what the host provides: the devices under this secure world.

OP-TEE finds its devices in a device tree, and tests that drivers probe in the order they depend on each other, with
clocks, resets and a random generator among them (core/pta/tests/dt_driver_test.c). There is no device tree here; a
`south.platform.Platform` stands in its place, so it is what this command probes.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from north.memory import AddressSpace
from south.platform import PAGE, Arch, Prot, TrapKind
from tee.pta.selftest.kit import check

if TYPE_CHECKING:
    from collections.abc import Callable

    from south.platform import Clock, Entropy, PageSource, Platform, RootOfTrust

NAP = 0.002
"""Seconds."""
EPOCH_2020 = 1577836800
"""Seconds; no host of this software is older."""
SAMPLE = 32
"""Bytes of entropy: that two samples are alike is as likely as guessing a key."""
KEY_SIZE = 16
"""HW_UNIQUE_KEY_LENGTH, bytes (optee_os core/include/kernel/tee_common_otp.h)."""
_PROGRAM = b"".join(word.to_bytes(4, "little") for word in (0x52800008, 0x52800540, 0xD4000001))
"""mov w8, #0; mov w0, #42; svc #0: the system call utee_return(42) (Arm ARM C6.2)."""


def clock(clock: Clock) -> None:
    start = clock.monotonic()
    clock.sleep(NAP)
    check(clock.monotonic() >= start + NAP, "monotonic time advances by what was slept")
    check(clock.wall() > EPOCH_2020, "the wall clock is set")


def entropy(entropy: Entropy) -> None:
    one, other = entropy.fill(SAMPLE), entropy.fill(SAMPLE)
    check(len(one) == len(other) == SAMPLE and entropy.fill(0) == b"", "as many random bytes come as were asked for")
    check(one != other and len(set(one)) > 1, "random bytes do not repeat")


def identity(root: RootOfTrust) -> None:
    key = root.hardware_unique_key()
    check(len(key) == KEY_SIZE and key == root.hardware_unique_key(), "the hardware unique key stays what it is")
    check(len(root.device_id()) == KEY_SIZE and root.device_id() == root.device_id(), "the device id stays what it is")


def pages(source: PageSource) -> None:
    arena = source.arena(2 * PAGE)
    check(not any(arena.view(0, 2 * PAGE)), "a new arena is zero")
    arena.view(PAGE - 2, 4)[:] = b"\1\2\3\4"
    check(bytes(arena.view(PAGE, 2)) == b"\3\4", "an arena keeps what is written")
    arena.discard()
    shared = source.shared(PAGE)
    shared.view(0, 3)[:] = b"abc"
    check(bytes(shared.view(0, 4)) == b"abc\0" and shared.size == PAGE, "shared memory keeps what is written")
    check(arena.identity != shared.identity, "two memories are told apart")


def engine(platform: Platform) -> None:
    """Three instructions run, and trap with what they computed; memory that is not executable does not run."""
    arena = platform.pages.arena(2 * PAGE)
    table = platform.engine.space(Arch.AARCH64, arena)
    try:
        cpu = table.cpu()
        space = AddressSpace(table, arena, platform.entropy, 2 * PAGE)
        code, data = space.map(PAGE, Prot.RX, name="code"), space.map(PAGE, Prot.RW, name="data")
        for region in (code, data):
            space.write(region.va, _PROGRAM)
        check(cpu.enter(code.va, data.end, (0, 0, 0, 0)) is TrapKind.CALL, "a system call traps")
        call = cpu.call()
        check((call.number, call.args[0]) == (0, 42), "the trapped call is the one that was made")
        check(cpu.enter(data.va, data.end, (0, 0, 0, 0)) is TrapKind.FAULT, "data do not run")
    finally:
        table.close()
        arena.discard()


def tests(platform: Platform) -> list[tuple[str, Callable[[], None]]]:
    return [
        ("clock", partial(clock, platform.clock)),
        ("entropy", partial(entropy, platform.entropy)),
        ("identity", partial(identity, platform.root_of_trust)),
        ("pages", partial(pages, platform.pages)),
        ("engine", partial(engine, platform)),
    ]
