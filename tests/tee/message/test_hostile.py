"""A kernel that means harm: messages, page lists and answers to requests, mutated before and while they are read.

100,000 messages with the slow tests, some thousands otherwise. Whatever comes, the answer is a defined one, nothing of
ours fails, and a client that behaves is served afterwards.
"""

from __future__ import annotations

import random
import struct
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from south.platform import PAGE
from tee.abi.results import Result
from tests.hostile.mutate import mutated
from tests.tee.message.kit import (
    BASE,
    CANCEL,
    CLOSE,
    INVOKE,
    OPEN,
    RAM,
    REGISTER,
    UNREGISTER,
    WITH_ARG,
    WITH_RPC_ARG,
    Driver,
    Machine,
)
from tests.tee.message.test_calls import HASH, HELLO, INCREMENT, VALUE_INOUT, opened, supplicant

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.tee.message.conftest import Bench

CODES = frozenset({0, 1, 4, 5})
"""OK, ETHREAD_LIMIT, EBADADDR, EBADCMD."""


class Attacker:
    def __init__(self, driver: Driver, seed: int) -> None:
        self.driver = driver
        self.rng = random.Random(seed)
        self.session = 0
        self.cookies: list[int] = []
        self.page = driver.page()
        self.data = driver.scattered(700 * PAGE)
        self.list = driver.page_list(self.data)
        self.whole = driver.memory.read(self.list, PAGE)
        handle = driver._handle

        def answer(command: int, params: list[list[int]]) -> int:
            try:
                result = handle(command, params)
            except (KeyError, IndexError, ValueError, struct.error):
                result = 0xFFFF0006  # what we borrowed was a lie of ours
            if self.rng.random() < 0.2 and params:
                param = self.rng.choice(params)
                index = self.rng.randrange(4)
                param[index] = self._word(param[index])
            return self.rng.choice((0, result, 0xFFFF0000, 5)) if self.rng.random() < 0.1 else result

        driver._handle = answer  # type: ignore[method-assign]

    def _word(self, word: int) -> int:
        rng = self.rng
        return rng.choice(
            (0, 1, word ^ 1 << rng.randrange(64), BASE + RAM, BASE - PAGE, (1 << 64) - 1, rng.getrandbits(64))
        )

    def message(self) -> bytes:
        rng, driver = self.rng, self.driver
        cookie = rng.choice(self.cookies) if self.cookies else 1
        memref = rng.choice(
            (
                (5, 0, 100, cookie),
                (7, 10, PAGE, cookie),
                (0x209, self.list + rng.randrange(PAGE), rng.randrange(1 << 12), 0),
                (0x20B, self.list, 3 * PAGE, 0),
                (9, 0, 0, 0),
                (9, BASE + (1 << 18), 64, 0),
            )
        )
        out = (0x20A, self.list, 32, 0)
        command = rng.randrange(8)
        if command < 3:
            params = [(VALUE_INOUT, 1, 2, 3)] if command == 0 else [memref, out]
            message = driver.arg(INVOKE, params, func=INCREMENT if command == 0 else HASH, session=self.session)
        elif command == 3:
            uuid = struct.unpack("<2Q", HELLO.bytes)
            message = driver.arg(OPEN, [(0x101, *uuid, 0), (0x101, 5, 6, rng.randrange(4))])
        elif command == 4:
            message = driver.arg(CLOSE, session=self.session)
        elif command == 5:
            message = driver.arg(
                REGISTER, [(0x20A, self.list + 8, rng.choice((1, PAGE, 650 * PAGE)), rng.randrange(1, 9))]
            )
        elif command == 6:
            message = driver.arg(UNREGISTER, [(5, 0, 0, cookie)])
        else:
            message = driver.arg(CANCEL, session=self.session)
        return mutated(message, rng, 512) if rng.random() < 0.8 else message

    def step(self) -> None:
        rng, driver = self.rng, self.driver
        if rng.random() < 0.2:
            driver.memory.write(self.list, mutated(self.whole, rng, PAGE)[:PAGE].ljust(PAGE, b"\0"))
        else:
            driver.memory.write(self.list, self.whole)
        message = self.message()[: PAGE // 2]
        answer = driver.call(message.ljust(32, b"\0"), place=self.page, style=rng.choice((WITH_ARG, WITH_RPC_ARG)))
        assert answer.regs[0] in CODES, answer.regs
        if answer.regs[0] == 0 and answer.ret != 0xFFFFFFFF:
            assert not Result(answer.ret).name.startswith("0x") or answer.ret == 5, hex(answer.ret)
            command = struct.unpack_from("<I", message.ljust(32, b"\0"))[0]
            if not answer.ret and command == OPEN:
                self.session = answer.session
            elif not answer.ret and command == REGISTER:
                self.cookies = [*self.cookies, answer.params[0][3]][-4:]


@contextmanager
def meddling(machine: Machine) -> Iterator[list[int]]:
    """Another CPU writes to the start of the places in this list while they are read."""
    stop = threading.Event()
    rng = random.Random(7)
    places: list[int] = []

    def meddle() -> None:
        while not stop.wait(0.0001):
            if places:
                where = rng.choice(places) + rng.randrange(0, 400, 4)
                machine.memory.write(where, struct.pack("<I", rng.choice((0, 4, 0xFFFFFFFF, rng.getrandbits(32)))))

    thread = threading.Thread(target=meddle, daemon=True)
    thread.start()
    try:
        yield places
    finally:
        stop.set()
        thread.join()


def attackers(bench: Bench, count: int, seed: int) -> Iterator[Attacker]:
    """An attacker for each of `count` messages; the machine starts anew when so much was borrowed and never given
    back that its memory is used up.
    """
    attacker = None
    for i in range(count):
        if attacker is None or len(attacker.driver._free) < 2000:
            bench.monitor.reset()
            driver = Driver(bench.machine, bench.monitor)
            driver.supplicant = supplicant
            attacker = Attacker(driver, seed + i)
        yield attacker


@pytest.mark.parametrize("count", [2_000, pytest.param(50_000, marks=pytest.mark.real)])
def test_mutated_messages(quick_bench: Bench, count: int) -> None:
    for attacker in attackers(quick_bench, count, 1):
        attacker.step()
    _serves(quick_bench)


@pytest.mark.parametrize("count", [2_000, pytest.param(50_000, marks=pytest.mark.real)])
def test_messages_that_change_while_they_are_read(quick_bench: Bench, count: int) -> None:
    with meddling(quick_bench.machine) as places:
        for attacker in attackers(quick_bench, count, 2):
            driver = attacker.driver
            places[:] = attacker.page, attacker.list
            message = attacker.message()[: PAGE // 2].ljust(32, b"\0")
            driver.memory.write(attacker.page, message)
            style = attacker.rng.choice((WITH_ARG, WITH_RPC_ARG))
            registers = driver._run((style, 0, attacker.page, 0), attacker.page, message[:28] + bytes(4))
            assert registers[0] in CODES
    _serves(quick_bench)


def _serves(bench: Bench) -> None:
    """A kernel that starts anew and behaves gets what it asks for."""
    bench.monitor.reset()
    driver = Driver(bench.machine, bench.monitor)
    driver.supplicant = supplicant
    assert driver.invoke(opened(driver), INCREMENT, (VALUE_INOUT, 1, 0, 0)).params[0][1] == 2
    assert not bench.bugs
