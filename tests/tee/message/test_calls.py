"""Calls of a kernel in miniature, from its registers and messages to the sample TA and back."""

from __future__ import annotations

import queue
import struct
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from south.platform import PAGE, Arch
from ta_loader import samples
from tests.tas import prof
from tests.tee.message.kit import (
    BASE,
    CANCEL,
    CLOSE,
    FOREIGN,
    INVOKE,
    LOAD_TA,
    NOTIFICATION,
    OPEN,
    RAM,
    REGISTER,
    RETURN,
    SHM_ALLOC,
    SHM_FREE,
    UNREGISTER,
    WITH_ARG,
    WITH_REGD_ARG,
    WITH_RPC_ARG,
    Answer,
    Driver,
)

if TYPE_CHECKING:
    from tests.tee.message.conftest import Bench

HELLO = samples.HELLO[Arch.AARCH64]
INCREMENT, HASH, PANIC, SPIN, LOOP = 0, 1, 2, 6, 15
VALUE_IN, VALUE_OUT, VALUE_INOUT = 1, 2, 3


def supplicant(command: int, params: list[list[int]], driver: Driver) -> int:
    """Has the hello TA alone."""
    if command != LOAD_TA:
        return 0xFFFF000A
    uuid = UUID(bytes=struct.pack("<2Q", params[0][1], params[0][2]))
    image = samples.hello_file(Arch.AARCH64)
    if uuid != HELLO:
        return 0xFFFF0008
    with open(image, "rb") as file:
        data = file.read()
    _, offset, size, cookie = params[1]
    params[1][2] = len(data)
    if cookie and size >= len(data):
        driver.put(driver.buffers[cookie], offset, data)
    return 0


@pytest.fixture
def driver(bench: Bench) -> Driver:
    bench.driver.supplicant = supplicant
    return bench.driver


def opened(driver: Driver) -> int:
    answer = driver.open(HELLO)
    assert (answer.regs[0], answer.ret, answer.origin) == (0, 0, 4)
    return int(answer.session)


def test_linux_asks_these_at_its_start(driver: Driver) -> None:
    assert driver.smc(0xBF00FF01) == (0x384FB3E0, 0xE7F811E3, 0xAF630002, 0xA5D5C51B)
    assert driver.smc(0xBF00FF03)[:2] == (2, 0)
    assert driver.smc(0xB2000000) == (0x486178E0, 0xE7F811E3, 0xBC5E0002, 0xA5D5C51B)
    assert driver.smc(0xB2000001)[0] == 4
    code, capabilities, last, params = driver.smc(0xB2000009, 1)
    assert code == 0
    assert capabilities & 0x76 == 0x76
    assert params == 4
    assert last == driver.smc(0xB200000F)[1] >= 2
    assert driver.smc(0xB2000009, 2)[0] == 7
    assert driver.smc(0xB200000A)[0] == 7
    assert driver.smc(0xB200000B)[0] == 0
    assert driver.smc(0xB20000FF)[0] == 0xFFFFFFFF
    assert driver.smc(0x320000FF)[0] == 0xFFFFFFFF
    assert driver.smc(0x32000003, 0, 0, 5)[0] == 3


def test_a_session_with_a_ta_that_the_normal_world_has(driver: Driver) -> None:
    session = opened(driver)
    assert driver.requests == [LOAD_TA, SHM_ALLOC, LOAD_TA, SHM_FREE]
    answer = driver.invoke(session, INCREMENT, (VALUE_INOUT, 41, 7, 99))
    assert (answer.ret, answer.origin) == (0, 4)
    assert answer.params[0] == (VALUE_INOUT, 42, 7, 99)
    assert driver.call(driver.arg(CLOSE, session=session)).ret == 0
    assert driver.call(driver.arg(CLOSE, session=session)).ret == 0xFFFF0006
    assert driver.invoke(session, INCREMENT, (VALUE_INOUT, 41, 0, 0)).ret == 0xFFFF0006


def test_a_ta_that_nobody_has(driver: Driver) -> None:
    answer = driver.open(UUID(int=5))
    assert (answer.regs[0], answer.ret, answer.origin, answer.session) == (0, 0xFFFF0008, 3, 0)


@pytest.mark.parametrize("login", [0, 1, 2, 4, 5, 6, 0x80000000])
def test_logins(driver: Driver, login: int) -> None:
    assert driver.open(HELLO, login, UUID(int=9)).ret == 0


@pytest.mark.parametrize("login", [3, 7, 0xF0000000, 0xFFFFFFFF])
def test_logins_that_there_are_not(driver: Driver, login: int) -> None:
    answer = driver.open(HELLO, login)
    assert (answer.ret, answer.origin) == (0xFFFF0006, 3)


def test_registered_memory_in_scattered_pages(driver: Driver) -> None:
    import hashlib

    session = opened(driver)
    size = 600 * PAGE + 100  # its list has a second page
    pages = driver.scattered(size + 13)
    data = bytes(i * 7 & 0xFF for i in range(size))
    driver.put(pages, 13, data)
    cookie = driver.register(pages, size, offset=13)
    digest = driver.scattered(PAGE)
    other = driver.register(digest, PAGE)
    answer = driver.invoke(session, HASH, (5, 1, size - 1, cookie), (6, 100, 64, other))
    assert (answer.ret, answer.params[1]) == (0, (6, 100, 32, other))
    assert driver.get(digest, 100, 32) == hashlib.sha256(data[1:]).digest()
    answer = driver.invoke(session, HASH, (5, 0, 3, cookie), (6, 0, 8, other))
    assert (answer.ret, answer.params[1][2]) == (0xFFFF0010, 32)
    assert driver.call(driver.arg(UNREGISTER, [(5, 0, 0, cookie)])).ret == 0
    assert driver.call(driver.arg(UNREGISTER, [(5, 0, 0, cookie)])).ret == 0xFFFF0006
    assert driver.invoke(session, HASH, (5, 0, 3, cookie), (6, 0, 32, other)).ret == 0xFFFF0006
    assert driver.invoke(session, HASH, (5, PAGE, 1, other), (6, 0, 32, other)).ret == 0xFFFF000F


def test_temporary_memory(driver: Driver) -> None:
    import hashlib

    session = opened(driver)
    pages = driver.scattered(3 * PAGE)
    driver.put(pages, 5, b"temporary" * 500)
    listed = driver.page_list(pages) + 5
    out = driver.scattered(PAGE)
    answer = driver.invoke(session, HASH, (0x209, listed, 4500, 0), (0x20A, driver.page_list(out), 32, 0))
    assert answer.ret == 0
    assert driver.get(out, 0, 32) == hashlib.sha256(b"temporary" * 500).digest()
    # By address: in the reserved piece alone.
    reserved = BASE + (1 << 18)
    driver.memory.write(reserved + 64, b"reserved")
    answer = driver.invoke(session, HASH, (9, reserved + 64, 8, 0), (0xA, reserved + 1000, 32, 0))
    assert answer.ret == 0
    assert driver.memory.read(reserved + 1000, 32) == hashlib.sha256(b"reserved").digest()
    assert driver.invoke(session, HASH, (9, pages[0], 8, 0), (0xA, reserved, 32, 0)).ret == 0xFFFF0006
    # NULL is not the same as empty.
    assert driver.invoke(session, HASH, (9, 0, 0, 0), (0xA, reserved, 32, 0)).ret == 0


@pytest.mark.parametrize("style", ["address", "page", "cookie", "reserved"])
def test_each_way_to_bring_a_message(driver: Driver, style: str) -> None:
    message = driver.arg(OPEN, [(0x101, *struct.unpack("<2Q", HELLO.bytes), 0), (0x101, 0, 0, 0)])
    if style == "address":
        answer = driver.call(message, style=WITH_ARG)
    elif style == "reserved":
        answer = driver.call(message, place=BASE + (1 << 18) + 512, style=WITH_ARG)
    elif style == "page":
        answer = driver.call(message)
    else:
        page = driver.page()
        cookie = driver.register([page], PAGE)
        driver.memory.write(page + 64, message)
        registers = driver._run((WITH_REGD_ARG, cookie >> 32, cookie & 0xFFFFFFFF, 64), page + 64, message)
        assert registers[0] == 0
        assert struct.unpack("<I", driver.memory.read(page + 64 + 20, 4))[0] == 0
        return
    assert (answer.regs[0], answer.ret) == (0, 0)
    assert not driver.buffers


def test_messages_that_are_none(driver: Driver) -> None:
    good = driver.arg(INVOKE)
    for place in (0, BASE - PAGE, BASE + RAM, 1 << 63):
        assert driver.smc(0x32000012, place >> 32, place & 0xFFFFFFFF)[0] == 4
    assert driver.smc(0x32000012, BASE >> 32, (BASE & 0xFFFFFFFF) + 8)[0] == 4
    assert driver.smc(WITH_REGD_ARG, 0, 1234, 0)[0] == 4
    page = driver.page()
    cookie = driver.register([page], PAGE)
    for offset in (4, PAGE - 31, PAGE - 32, PAGE - 64, PAGE, 0xFFFFFFF8):
        driver.memory.write(page + PAGE - 64, bytes(64))
        assert driver.smc(WITH_REGD_ARG, cookie >> 32, cookie & 0xFFFFFFFF, offset)[0] == 4
    for count in (124, 128, 0xFFFFFFFF):
        assert driver.call(good[:28] + struct.pack("<I", count)).regs[0] == 4
    assert driver.call(driver.arg(8)).regs[0] == 5


@pytest.mark.parametrize(
    "params",
    [
        [(0x20A, 0, PAGE, 5)],
        [(0x20A, BASE + 8 * PAGE, PAGE, 0)],
        [(0x20A, BASE + RAM, PAGE, 5)],
        [(0x20A, BASE, 1 << 40, 5)],
        [(0x20A, BASE, (1 << 64) - 1, 5)],
        [(0xA, BASE, PAGE, 5)],
        [],
        [(0x20A, BASE, PAGE, 5)] * 2,
    ],
)
def test_lists_that_are_refused(driver: Driver, params: list[tuple[int, int, int, int]]) -> None:
    driver.memory.write(BASE, struct.pack("<512Q", *[BASE + 1] * 512))
    assert driver.call(driver.arg(REGISTER, params)).ret == 0xFFFF0006


def test_a_list_that_goes_on_for_ever_ends(driver: Driver) -> None:
    page = driver.page()
    driver.memory.write(page, struct.pack("<512Q", *[BASE] * 511, page))
    assert driver.call(driver.arg(REGISTER, [(0x20A, page, 1 << 28, 77)])).ret == 0
    assert driver.call(driver.arg(UNREGISTER, [(5, 0, 0, 77)])).ret == 0


def test_interrupts_of_the_normal_world_come_through(bench: Bench, driver: Driver) -> None:
    """A TA that computes for long: the CPU is let go, then Linux sleeps, and the answer wakes it."""
    session = opened(driver)
    driver.enable_notifications()
    done: list[Answer] = []
    long = (VALUE_IN, 200_000_000, 0, 0)
    caller = threading.Thread(target=lambda: done.append(driver.invoke(session, LOOP, long)), daemon=True)
    before = len(driver.requests)
    caller.start()
    deadline = time.monotonic() + 20
    while not driver.requests[before:] and time.monotonic() < deadline:
        time.sleep(0.01)
        for cpu in range(60, 64):
            bench.monitor.interrupted(cpu)
    assert driver.requests[before:] == [NOTIFICATION]
    assert not done
    assert driver.call(driver.arg(CANCEL, session=session, cancel=4)).ret == 0
    assert driver.call(driver.arg(CANCEL, session=session + 1)).ret == 0xFFFF0006
    assert driver.call(driver.arg(CANCEL, [(0, 0, 0, 0)], session=session)).ret == 0xFFFF0006
    caller.join(30)
    assert done[0].ret == 0
    assert driver.requests[before:] == [NOTIFICATION]


def test_interrupts_while_linux_takes_no_notifications(bench: Bench, driver: Driver) -> None:
    session = opened(driver)
    done: list[Answer] = []
    long = (VALUE_IN, 50_000_000, 0, 0)
    caller = threading.Thread(target=lambda: done.append(driver.invoke(session, LOOP, long)), daemon=True)
    caller.start()
    while caller.is_alive():
        time.sleep(0.01)
        for cpu in range(60, 64):
            bench.monitor.interrupted(cpu)
    assert done[0].ret == 0
    assert NOTIFICATION not in driver.requests
    assert driver.interruptions > 1


def test_an_interrupt_that_is_told_before_its_call_has_begun(bench: Bench, driver: Driver) -> None:
    """South tells of both on two threads. The CPU is let go, or what its call waits for might never go on."""
    session = opened(driver)
    page = driver.page()
    where = page >> 32, page & 0xFFFFFFFF
    message = driver.arg(INVOKE, [(VALUE_IN, 1000, 0, 0)], func=LOOP, session=session)
    driver.memory.write(page, message)
    bench.monitor.interrupted(5)
    out = driver.smc(WITH_RPC_ARG, *where, cpu=5)
    assert out[0] == FOREIGN
    assert driver.smc(RETURN, 0, 0, out[3], cpu=6)[0] == 0
    driver.memory.write(page, message)
    assert driver.smc(WITH_RPC_ARG, *where, cpu=5)[0] == 0, "the next call is not meant"


def test_a_ta_that_panics_dies_alone(driver: Driver) -> None:
    one, two = opened(driver), opened(driver)
    answer = driver.invoke(one, PANIC)
    assert (answer.ret, answer.origin) == (0xFFFF3024, 3)
    assert driver.invoke(two, INCREMENT, (VALUE_INOUT, 1, 0, 0)).params[0][1] == 2


def test_only_so_many_calls_at_a_time(bench: Bench, driver: Driver) -> None:
    session = [opened(driver) for _ in range(bench.monitor.thread_count)]

    def spin(number: int) -> None:
        with suppress(queue.Empty):  # no answer: the normal world that waits for it is gone
            driver.invoke(number, SPIN)

    threads = [threading.Thread(target=spin, args=(s,), daemon=True) for s in session]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 20
    while bench.monitor._life.threads.active < len(threads) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert driver.call(driver.arg(CANCEL, session=session[0], cancel=1)).regs[0] == 1
    bench.monitor.reset()
    answer = driver.call(driver.arg(CANCEL, session=session[0], cancel=1))
    assert (answer.regs[0], answer.ret) == (0, 0xFFFF0006)


def test_a_start_of_the_normal_world_forgets_everything(bench: Bench, driver: Driver) -> None:
    session = opened(driver)
    pages = driver.scattered(PAGE)
    cookie = driver.register(pages, PAGE)
    bench.monitor.reset()
    assert driver.invoke(session, INCREMENT, (VALUE_INOUT, 1, 0, 0)).ret == 0xFFFF0006
    assert driver.call(driver.arg(UNREGISTER, [(5, 0, 0, cookie)])).ret == 0xFFFF0006
    assert driver.invoke(opened(driver), INCREMENT, (VALUE_INOUT, 1, 0, 0)).ret == 0


PROF = prof.UUIDS[Arch.AARCH64]
GPROF, FTRACE = 9, 11


class Profiler:
    """A supplicant that has the TA which profiles itself, and keeps files as tee-supplicant does.

    result: of its answers.
    """

    def __init__(self, result: int = 0) -> None:
        self.files: dict[tuple[int, int], bytes] = {}
        self.result = result
        self.asked = 0

    def __call__(self, command: int, params: list[list[int]], driver: Driver) -> int:
        if command == LOAD_TA:
            data = (prof.HERE / f"{PROF}.ta").read_bytes()
            _, offset, size, cookie = params[1]
            params[1][2] = len(data)
            if cookie and size >= len(data):
                driver.put(driver.buffers[cookie], offset, data)
            return 0
        assert command in (GPROF, FTRACE)
        self.asked += 1
        assert params[0][0] == VALUE_INOUT
        _, at, length, cookie = params[1]
        assert (driver.get(driver.buffers[cookie], at, length), length) == (PROF.bytes_le, 16)
        _, at, length, cookie = params[2]
        data = driver.get(driver.buffers[cookie], at, length)
        number = params[0][1] or 1 + sum(c == command for c, _ in self.files)
        self.files[command, number] = self.files.get((command, number), b"") + data
        params[0][1] = number
        return self.result


def test_profiles_go_to_the_supplicant(bench: Bench) -> None:
    driver, taker = bench.driver, Profiler()
    driver.supplicant = taker
    opened = driver.open(PROF)
    assert not opened.ret
    for func, a in ((prof.WORK, 5), (prof.GPROF, 1000), (prof.WORK, 5)):
        assert not driver.invoke(opened.session, func, (VALUE_INOUT, a, 0, 0)).ret
    assert sorted(taker.files) == [(GPROF, 1), (FTRACE, 1)]
    assert taker.files[GPROF, 1].startswith(b"gmon\1\0\0\0")
    text, _, records = taker.files[FTRACE, 1].partition(b"FTRACE\0\1")
    assert f"Function graph for TA: {PROF} @ ".encode() in text
    assert len(records) > 8 * 2 * 16
    assert not len(records) % 8


@pytest.mark.parametrize("result", [0xFFFF000A, 0xFFFF0000])
def test_a_supplicant_without_profiles_is_not_asked_again(bench: Bench, result: int) -> None:
    driver, taker = bench.driver, Profiler(result)
    driver.supplicant = taker
    opened = driver.open(PROF)
    for _ in range(3):
        assert not driver.invoke(opened.session, prof.WORK, (VALUE_INOUT, 5, 0, 0)).ret
    assert taker.asked == 1
    answer = driver.invoke(opened.session, prof.GPROF, (VALUE_INOUT, 5, 0, 0))
    assert (answer.ret, answer.origin) == (result, 4)
