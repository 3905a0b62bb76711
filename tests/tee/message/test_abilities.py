"""What a driver is told that we can, and that we do no more than that: as a smaller OP-TEE, or an older one."""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING

import pytest

from south.platform import PAGE
from tee.abi import optee_smc
from tests.tee.message.conftest import bench_with
from tests.tee.message.kit import BASE, INVOKE, OPEN, REGISTER, UNREGISTER, WITH_ARG, WITH_REGD_ARG, WITH_RPC_ARG
from tests.tee.message.test_calls import HASH, HELLO, supplicant

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.tee.message.kit import Answer, Driver

RESERVED = BASE + (1 << 18)
SIZE = 1 << 18
UNKNOWN = 0xFFFFFFFF
EXCHANGE, GET_SHM, ENABLE_NOTIFICATIONS = 0xB2000009, 0xB2000007, 0xB2000010
KINDS = {"reserved": (optee_smc.RESERVED_ONLY, 0x71, WITH_RPC_ARG), "old": (optee_smc.OLD, 0x01, WITH_ARG)}
"""By the words of `litebox-ta qemu-arm --shm`: abilities, as the driver is told (optee_smc.h), and how it calls."""


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def driver(tmp_path: Path, kind: str) -> Iterator[Driver]:
    for bench in bench_with(tmp_path, KINDS[kind][0]):
        bench.driver.supplicant = supplicant
        yield bench.driver


def opened(driver: Driver, kind: str) -> Answer:
    a, b = struct.unpack("<2Q", HELLO.bytes)
    message = driver.arg(OPEN, [(0x101, a, b, 0), (0x101, 0, 0, 0)])
    return driver.call(message, place=RESERVED + 512, style=KINDS[kind][2])


def test_what_the_driver_is_told(driver: Driver, kind: str) -> None:
    assert driver.smc(EXCHANGE, 1)[:2] == (0, KINDS[kind][1])
    assert driver.smc(GET_SHM) == (0, RESERVED, SIZE, 1)
    assert driver.smc(ENABLE_NOTIFICATIONS)[0] == (UNKNOWN if kind == "old" else 0)


def test_calls_in_the_reserved_piece(driver: Driver, kind: str) -> None:
    answer = opened(driver, kind)
    assert (answer.regs[0], answer.ret) == (0, 0)
    driver.memory.write(RESERVED + 8192, b"reserved")
    params = [(9, RESERVED + 8192, 8, 0), (0xA, RESERVED + 9000, 32, 0)]
    message = driver.arg(INVOKE, params, func=HASH, session=answer.session)
    assert driver.call(message, place=RESERVED + 1024, style=KINDS[kind][2]).ret == 0
    assert driver.memory.read(RESERVED + 9000, 32) == hashlib.sha256(b"reserved").digest()
    assert not driver.buffers


def test_no_other_memory(driver: Driver, kind: str) -> None:
    session = opened(driver, kind).session
    style = KINDS[kind][2]
    pages = driver.scattered(PAGE)
    listed = driver.page_list(pages)
    # A message outside; registration and its end are no commands (EBADCMD); lists of pages are no memory.
    assert driver.call(driver.arg(INVOKE), style=style).regs[0] == 4
    for command, param in ((REGISTER, (0x20A, listed, PAGE, 7)), (UNREGISTER, (5, 0, 0, 7))):
        assert driver.call(driver.arg(command, [param]), place=RESERVED, style=style).regs[0] == 5
    for address in (listed, RESERVED):
        params = [(0x209, address, 8, 0), (0xA, RESERVED + 9000, 32, 0)]
        message = driver.arg(INVOKE, params, func=HASH, session=session)
        assert driver.call(message, place=RESERVED, style=style).ret == 0xFFFF0006
    assert driver.smc(WITH_REGD_ARG, 0, 7, 0)[0] == (UNKNOWN if kind == "old" else 4)


def test_an_old_one_knows_no_room_for_requests_behind_a_message(tmp_path: Path) -> None:
    for bench in bench_with(tmp_path, optee_smc.OLD):
        assert bench.driver.smc(WITH_RPC_ARG, 0, RESERVED)[0] == UNKNOWN
