"""Persistent objects in the RPMB file system on the emulated device."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from normal_world.supplicant.rpmb import EmulatedRpmb
from tee.abi import results
from tee.abi.objects import ObjectType
from tee.abi.storage import DataFlag, StorageId
from tee.errors import TeeError
from tee.storage.store import TrustedStorage
from tests.tee.storage.kit import MemoryFiles
from tests.tee.storage.test_services import Normal, Ta

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tee.normal import NormalWorld, Rpmb, RpmbInfo

ALL = DataFlag.ACCESS_READ | DataFlag.ACCESS_WRITE | DataFlag.ACCESS_WRITE_META


class WithRpmb(Normal):
    def __init__(self, rpmb: Rpmb) -> None:
        super().__init__(MemoryFiles())
        self.rpmb = rpmb  # type: ignore[assignment]


class RpmbTa(Ta):
    """As `Ta`, with everything in the RPMB."""

    storage_id = StorageId.PRIVATE_RPMB


def ta_on(rpmb: Rpmb, number: int = 1) -> RpmbTa:
    ta = RpmbTa(number=number)
    ta.storage = TrustedStorage(ta.platform, cast("NormalWorld", WithRpmb(rpmb)))
    return ta


@pytest.fixture
def device(tmp_path: Path) -> Iterator[EmulatedRpmb]:
    made = EmulatedRpmb(tmp_path / "rpmb")
    yield made
    made.close()


def test_objects_last(device: EmulatedRpmb) -> None:
    ta = ta_on(device)
    obj = ta.made(b"name", b"hello " * 100)
    assert ta.seek(obj, 700) == results.SUCCESS
    assert ta.write(obj, b"end") == results.SUCCESS
    again = ta_on(device)
    assert again.open(b"name") == results.SUCCESS
    obj = again.out
    assert again.data(obj) == b"hello " * 100 + bytes(100) + b"end"
    assert again.info(obj)[:5] == (ObjectType.DATA, 0, 0, 0xFFFFFFFF, 703)
    assert again.call("storage_obj_trunc", obj, 5) == results.SUCCESS
    assert again.data(obj) == b"hello"


def test_names(device: EmulatedRpmb) -> None:
    ta = ta_on(device)
    obj = ta.made(b"a", b"A")
    ta.close(ta.made(b"b", b"B"))
    assert ta.create(b"b") == results.ACCESS_CONFLICT
    assert ta.names() == {b"a", b"b"}
    assert ta.call("storage_obj_rename", obj, ta.memory.place(b"b"), 1) == results.ACCESS_CONFLICT
    assert ta.call("storage_obj_rename", obj, ta.memory.place(b"c"), 1) == results.SUCCESS
    assert ta.write(obj, b"C") == results.SUCCESS
    assert ta.names() == {b"b", b"c"}
    assert RpmbTa(ta.storage, number=2).names() == set()
    assert ta.call("storage_obj_del", obj) == results.SUCCESS
    assert ta.names() == {b"b"}
    assert ta.data(ta.made(b"b", b"over", ALL | DataFlag.OVERWRITE)) == b"over"
    assert ta.open(b"gone") == results.ITEM_NOT_FOUND


def test_it_is_full_in_the_end(device: EmulatedRpmb) -> None:
    ta = ta_on(device)
    obj = ta.made(b"a", b"A")
    assert ta.call("storage_obj_trunc", obj, 1 << 20) == results.STORAGE_NO_SPACE
    assert ta.call("storage_obj_trunc", obj, 1 << 40) == results.STORAGE_NO_SPACE
    assert ta.data(obj) == b"A"


class Dead:
    """A device that does not answer."""

    def info(self, device: int) -> RpmbInfo:
        raise TeeError(results.ITEM_NOT_FOUND)

    def request(self, device: int, frames: bytes, response_frames: int) -> bytes:
        raise TeeError(results.GENERIC)


def test_no_device() -> None:
    assert ta_on(Dead()).open(b"n") == results.STORAGE_NOT_AVAILABLE
