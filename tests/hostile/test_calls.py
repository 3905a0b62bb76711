"""Every system call with wild pointers, sizes, handles and numbers: a defined answer, or this TA alone dies."""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING

import pytest

from north.syscalls import declare
from south.platform import PAGE, Arch
from ta_loader import samples
from ta_loader.machines import TA_ARCHES
from tee.abi.pta_device import PTA_DEVICE_UUID
from tee.abi.pta_system import PTA_SYSTEM_UUID, SystemCommand
from tee.abi.results import NOT_SUPPORTED, Result
from tee.limits import Limits
from tee.syscalls import arguments
from tee.syscalls.table import TABLE
from tests.hostile.kit import (
    DIED,
    FINE,
    NO_TIMEOUT,
    ORIGIN_AT,
    PARAMS_AT,
    SCRATCH,
    UNANSWERED,
    Bystander,
    Driver,
    RawCall,
    make_world,
    open_from_ta,
    own_addresses,
    wild_words,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

RETURN, PANIC, WAIT = 0, 2, 12
SECONDS = 5.0
"""More than any batch takes: a call that hangs is stopped by it, and then the test says so."""
LENGTH_AT, HUGE_AT, BUFFER_AT = 0x10, 0x18, 0x400
ALG_SHA256, ALG_AES_CTR, ALG_GCM, TYPE_AES = 0x50000004, 0x10000210, 0x40000810, 0xA0000010
RANDOM_CALLS = 10_000
"""Of each seed and architecture."""

SHAPES = (
    ((1, None, 0), (3, None, 0), (1, 0, 0)),  # MAP_ZI: size and flags; address; padding
    ((1, None, None), (3, None, None), (1, None, None)),
    ((1, 4096, 0), (3, None, None), (1, 0, None)),
    ((1, None, 0), (1, None, None)),  # UNMAP
    ((1, None, None), (1, None, 0)),
    ((5, None, 16), (1, None, None)),  # DLOPEN
    ((5, None, 16), (5, None, None), (2, 0, 0)),  # DLSYM
    ((5, None, None), (6, None, None)),  # DERIVE_TA_UNIQUE_KEY
    ((5, None, 32), (6, None, 32)),
    ((5, None, None),),  # ADD_RNG_ENTROPY
    ((7, None, None), (4, None, None), (15, None, None), (6, 0, None)),
)
"""Parameter kinds and values of System PTA commands (optee_os lib/libutee/include/pta_system.h); None: wild."""

arches = pytest.mark.parametrize("arch", TA_ARCHES, ids=lambda a: a.value)


@pytest.fixture
def driver(arch: Arch, tmp_path: Path) -> Iterator[Driver]:
    with make_world(tmp_path, limits=Limits(call_seconds=SECONDS, nested=256)) as world:
        driver = Driver(world, arch)
        with Bystander(world, arch):
            yield driver
        driver.close()


def furnish(driver: Driver) -> list[int]:
    """Give the TA one kernel object of each kind; their handles."""
    driver.put(0, bytes(BUFFER_AT))
    driver.put(LENGTH_AT, (64).to_bytes(8, "little"))
    driver.put(HUGE_AT, (1 << 63).to_bytes(8, "little"))
    handles = []
    for _ in range(2):  # an operation keeps its key to itself
        assert not driver.one(27, TYPE_AES, 256, 0, scratch=(2,))
        handles.append(driver.word(0))
        assert not driver.one(54, handles[-1], 128, 0, 0)
    for algorithm, mode, key in ((ALG_SHA256, 5, 0), (ALG_AES_CTR, 0, handles[0]), (ALG_GCM, 0, handles[1])):
        assert not driver.one(15, algorithm, mode, key, 0, 0, scratch=(4,))
        handles.append(driver.word(0))
    assert not driver.one(18, handles[2], 0, 0)
    assert not driver.one(21, handles[3], BUFFER_AT, 16, scratch=(1,))
    assert not driver.one(34, handles[4], BUFFER_AT, 12, 16, 0, 0, scratch=(1,))
    for uuid in (PTA_SYSTEM_UUID, samples.HELLO[driver.arch]):
        result, session = open_from_ta(driver, uuid)
        assert not result
        handles.append(session)
    driver.put(LENGTH_AT, (64).to_bytes(8, "little"))
    return handles


def plausible(driver: Driver, number: int, handles: Sequence[int], handle: int) -> RawCall:
    """The call with words that get past its first checks."""
    words: list[int] = []
    scratch: set[int] = set()
    row = TABLE.get(number)
    for argument in row.args if row else ():
        at = len(words)
        if isinstance(argument, declare.Handle):
            words.append(handles[handle])
        elif isinstance(argument, arguments.Out) and not isinstance(argument, arguments.OutFixed):
            words += [BUFFER_AT, LENGTH_AT]
            scratch |= {at, at + 1}
        elif argument.registers == 2:
            words += [BUFFER_AT, 1 if type(argument).__name__ == "Attributes" else 16]
            scratch.add(at)
        elif isinstance(argument, declare.Pointer | declare.Cell):
            words.append(LENGTH_AT if "len" in argument.name else BUFFER_AT)
            scratch.add(at)
        else:
            words.append(1)
    words += [1] * (8 - len(words))
    return RawCall(number, tuple(words), frozenset(scratch))


def tamed(call: RawCall) -> RawCall:
    """A TEE_Wait of a few milliseconds: how long it lasts is its caller's right."""
    return call if call.number != WAIT else RawCall(WAIT, (call.words[0] % 3, *call.words[1:]))


def put_through(driver: Driver, calls: Sequence[RawCall]) -> int:
    """Make all calls, reopening the TA when it dies; how many were answered."""
    answered = 0
    at = 0
    while at < len(calls):
        outcome, found = driver.batch(calls[at : at + 200])
        done = next((i for i, r in enumerate(found) if r == UNANSWERED), len(found))
        for call, result in zip(calls[at:], found[:done], strict=False):
            assert not Result(result).name.startswith("0x"), f"{call} answered {result:#x}"
        answered += done
        at += done
        if outcome == DIED:
            kind = driver.world.observer.last().kind  # type: ignore[union-attr]
            assert kind != "limit", f"{calls[at]} hangs"
            driver.reopen()
            furnish(driver)
            driver.deaths += 1
            at += 1
        elif done < len(found):
            assert calls[at].number == RETURN, f"{calls[at]} ended the entry: {outcome}"
            at += 1
        else:
            assert outcome == FINE
    return answered


@arches
def test_one_wild_word_at_a_time(driver: Driver, arch: Arch) -> None:
    """Each argument of each call in turn takes every wild value; the others stay plausible."""
    handles = furnish(driver)
    answered = 0
    for number in TABLE:
        handles = furnish(driver)
        calls: list[RawCall] = []
        wild = [(word, False) for word in (*wild_words(arch), *own_addresses(driver.instance))]
        wild += [(SCRATCH - 1, True), (SCRATCH - PAGE // 2, True), (BUFFER_AT + 1, True), (HUGE_AT, True)]
        row = TABLE[number]
        registers = sum(argument.registers for argument in row.args)
        for kind in range(len(handles)) if any(isinstance(a, declare.Handle) for a in row.args) else (0,):
            base = plausible(driver, number, handles, kind)
            for place in range(registers):
                for word, inside in wild if kind in (0, 1) else wild[:: len(handles)]:
                    words = (*base.words[:place], word, *base.words[place + 1 :])
                    scratch = base.scratch | {place} if inside else base.scratch - {place}
                    calls.append(tamed(RawCall(number, words, frozenset(scratch))))
        if number == PANIC:
            calls = calls[:3]
        answered += put_through(driver, calls)
    assert answered > 8000


@arches
def test_numbers_that_nobody_declared(driver: Driver, arch: Arch) -> None:
    unknown = [n for n in range(600) if n not in TABLE] + [0x7FFFFFFF, 0x80000000, 0xFFFFFFF0]
    unknown += [1 << 32, (1 << 64) - 1] if arch is Arch.AARCH64 else []
    calls = [RawCall(n, (0, 1 << 63, *[(1 << 64) - 1] * 6)) for n in unknown]
    for at in range(0, len(calls), 200):
        outcome, found = driver.batch(calls[at : at + 200])
        assert outcome == FINE
        assert set(found) == {NOT_SUPPORTED}


@arches
@pytest.mark.parametrize("seed", range(2))
def test_random_words(driver: Driver, arch: Arch, seed: int) -> None:
    """Any call with any words; the scratch memory they share holds wild words too."""
    rng = random.Random(seed << 8 | arch.word)
    handles = furnish(driver)
    numbers = [n for n in TABLE if n not in (RETURN, PANIC)]
    done = 0
    while done < RANDOM_CALLS:
        wild = (*wild_words(arch), *own_addresses(driver.instance), *range(40), *handles * 4)
        words = [rng.choice(wild) for _ in range(SCRATCH // 8)]
        driver.put(0, struct.pack(f"<{len(words)}Q", *words))
        calls = []
        for _ in range(100):
            number = rng.choice(numbers)
            base = plausible(driver, number, handles, rng.randrange(len(handles)))
            chosen, scratch = list(base.words), set(base.scratch)
            for place in range(8):
                dice = rng.random()
                if dice < 0.15:
                    chosen[place] = rng.choice(wild)
                    scratch.discard(place)
                elif dice < 0.2:
                    chosen[place] = rng.getrandbits(rng.choice((4, 12, 32, 64)))
                    scratch.discard(place)
                elif place in scratch:
                    chosen[place] = rng.randrange(SCRATCH + 16)
            calls.append(tamed(RawCall(number, tuple(chosen), frozenset(scratch))))
        put_through(driver, calls)
        done += len(calls)
        if rng.random() < 0.2:
            driver.reopen()
            handles = furnish(driver)


@arches
def test_commands_of_pseudo_tas(driver: Driver, arch: Arch) -> None:
    """The System and Device PTA map memory, load libraries and derive keys for a TA: any command, any parameters."""
    rng = random.Random(arch.word)
    furnish(driver)
    sessions: list[int] = []
    for _ in range(3000):
        if not sessions:
            sessions = [open_from_ta(driver, uuid)[1] for uuid in (PTA_SYSTEM_UUID, PTA_DEVICE_UUID)]
        wild = (*wild_words(arch), *own_addresses(driver.instance), *range(0, 5 * PAGE, PAGE), 32, 1 << 20)
        types = 0
        vals: list[int] = []
        for kind, a, b in rng.choice(SHAPES):
            types |= kind << 2 * len(vals)
            vals += [rng.choice(wild) if word is None else word for word in (a, b)]
        command = rng.choice((*SystemCommand, *SystemCommand, 1, 14, 0xFFFFFFFF))
        driver.put(PARAMS_AT, struct.pack("<9Q", types, *vals, *[0] * (8 - len(vals))))
        call = RawCall(7, (rng.choice(sessions), NO_TIMEOUT, command, PARAMS_AT, ORIGIN_AT), frozenset((3, 4)))
        deaths = driver.deaths
        put_through(driver, [call])
        if driver.deaths != deaths:
            sessions = []
    assert driver.deaths < 100
