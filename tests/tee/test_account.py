"""What the host holds for an instance is charged to it, and credited when it is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from north.account import HANDLE, Account
from south.platform import Arch
from ta_loader import samples
from tee.abi.algorithms import Algorithm, Mode
from tee.abi.objects import TYPES, ObjectType
from tee.abi.pta_system import PTA_SYSTEM_UUID
from tee.abi.results import OUT_OF_MEMORY, SUCCESS
from tee.costs import object_cost, operation_cost
from tee.errors import TeeError
from tee.limits import Limits
from tests.hostile.kit import Driver, RawCall, make_world, open_from_ta
from tests.tee.raw_ta import N

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CELL = 0
MEMORY = 2 << 20
ALLOC_ENUM, FREE_ENUM, CLOSE_SESSION = 45, 46, 6


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    with make_world(tmp_path, limits=Limits(memory=MEMORY)) as world:
        driver = Driver(world, Arch.AARCH64)
        yield driver
        driver.close()


def used(driver: Driver) -> int:
    return driver.instance.space.used


@pytest.mark.parametrize("type_", [ObjectType.AES, ObjectType.RSA_KEYPAIR, ObjectType.X448_KEYPAIR, ObjectType.DATA])
def test_an_object_is_charged_with_all_that_it_may_hold(driver: Driver, type_: int) -> None:
    before = used(driver)
    props = TYPES.get(type_)
    assert not driver.one(N["cryp_obj_alloc"], type_, props.max_bits if props else 0, CELL, scratch=(2,))
    assert used(driver) - before == object_cost(props)
    least = sum(props.max_bits // 8 for _ in props.attrs if not props.alloc) if props else 0
    assert object_cost(props) >= HANDLE + least
    assert not driver.one(N["cryp_obj_close"], driver.word(CELL))
    assert used(driver) == before


def test_an_operation_is_charged_with_the_key_that_it_owns(driver: Driver) -> None:
    before = used(driver)
    assert not driver.one(N["cryp_obj_alloc"], ObjectType.RSA_KEYPAIR, 4096, CELL, scratch=(2,))
    algo = Algorithm.RSASSA_PKCS1_V1_5_SHA256
    assert not driver.one(N["cryp_state_alloc"], algo, Mode.SIGN, driver.word(CELL), 0, CELL, scratch=(4,))
    assert used(driver) - before == object_cost(TYPES[ObjectType.RSA_KEYPAIR]) + operation_cost(algo)
    assert not driver.one(N["cryp_state_free"], driver.word(CELL))
    assert used(driver) == before


def test_what_was_refused_is_not_charged(driver: Driver) -> None:
    before = used(driver)
    assert driver.one(N["cryp_state_alloc"], Algorithm.SHA256, Mode.DIGEST, 0, 0, 1)  # nowhere to put the handle
    assert driver.one(N["cryp_state_alloc"], 0x50000FFF, Mode.DIGEST, 0, 0, CELL, scratch=(4,))
    assert driver.one(N["cryp_obj_alloc"], ObjectType.AES, 256, 1)
    assert driver.one(ALLOC_ENUM, 1)
    assert used(driver) == before


def test_enumerators_and_sessions(driver: Driver) -> None:
    before = used(driver)
    assert not driver.one(ALLOC_ENUM, CELL, scratch=(0,))
    assert used(driver) == before + HANDLE
    assert not driver.one(FREE_ENUM, driver.word(CELL))
    result, session = open_from_ta(driver, PTA_SYSTEM_UUID)
    assert result == SUCCESS
    assert used(driver) == before + HANDLE
    assert not driver.one(CLOSE_SESSION, session)
    assert used(driver) == before


def test_the_quota_ends_objects_and_pages_alike(driver: Driver) -> None:
    alloc = RawCall(N["cryp_obj_alloc"], (ObjectType.RSA_KEYPAIR, 4096, CELL), frozenset({2}))
    _, answers = driver.batch([alloc] * 256)
    fitting = answers.count(SUCCESS)
    assert fitting < 256
    assert set(answers[fitting:]) == {OUT_OF_MEMORY}
    assert used(driver) <= MEMORY
    cost = object_cost(TYPES[ObjectType.RSA_KEYPAIR])
    assert MEMORY - used(driver) < cost
    driver.reopen()
    assert used(driver) + fitting * cost > MEMORY - cost  # the next instance has its own


def test_an_account_without_a_quota_takes_everything() -> None:
    account = Account()
    account.charge(1 << 60)
    account.credit(1 << 60)


def test_instances_that_callees_make_are_counted_at_the_first_caller(tmp_path: Path) -> None:
    with make_world(tmp_path, limits=Limits(nested=2)) as world:
        driver = Driver(world, Arch.AARCH64)
        hello = samples.HELLO[Arch.AARCH64]
        opened = [open_from_ta(driver, hello) for _ in range(3)]
        assert [result for result, _ in opened] == [SUCCESS, SUCCESS, OUT_OF_MEMORY]
        assert not driver.one(CLOSE_SESSION, opened[0][1])
        again, _ = open_from_ta(driver, hello)
        assert again == SUCCESS
        assert driver.instance.nested == 2
        driver.reopen()
        assert driver.instance.nested == 0


def test_more_than_is_copied_at_once_is_refused(tmp_path: Path) -> None:
    from north.usermemory import COPY_MAX

    with make_world(tmp_path) as world:
        driver = Driver(world, Arch.AARCH64)
        memory = driver.instance.memory
        with pytest.raises(TeeError) as caught:
            memory.copy_in(0x1000, COPY_MAX + 1)
        assert caught.value.result == OUT_OF_MEMORY
