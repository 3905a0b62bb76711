"""The kernel's way to a TEE, through a model of the driver that speaks by the kernel's own header."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from normal_world.client import linux_tee as abi
from normal_world.client.device import Device, DeviceMemory
from normal_world.client.ports import Argument
from normal_world.protocol import SOCKET_VARIABLE
from south.platform import Arch
from ta_loader import samples
from tee.abi import results
from tee.abi.results import Origin
from tee.errors import TeeError
from tee.params import Kind
from tests.normal_world.model_tee import ModelDriver, build_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from normal_world.daemon.server import Server

HELLO = samples.HELLO[Arch.AARCH64]
INCREMENT, HASH = 0, 1
ALL = abi.GEN_CAP_GP | abi.GEN_CAP_REG_MEM | abi.GEN_CAP_MEMREF_NULL


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> ModelDriver:
    return build_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(params=[ALL, abi.GEN_CAP_GP], ids=["registered", "allocated"])
def device(
    request: pytest.FixtureRequest,
    driver: ModelDriver,
    daemon: tuple[str, Server],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Device]:
    monkeypatch.setenv(SOCKET_VARIABLE, daemon[0])
    node = tmp_path / "tee0"
    node.touch()
    driver.say(caps=request.param)
    device = Device(str(node), ioctl=driver.ioctl)
    yield device
    driver.closed(device._fd)
    device.close()


def test_calls_and_memory(device: Device) -> None:
    session, opened = device.open_session(HELLO, 0, 0, (), 1)
    assert (opened.result, opened.origin) == (0, Origin.TRUSTED_APP)
    done = device.invoke(session, INCREMENT, [Argument(Kind.VALUE_INOUT, 41, 7)], 2)
    assert (done.result, done.origin, done.answers) == (0, Origin.TRUSTED_APP, ((42, 7),))

    memory = device.allocate(5000)
    assert len(memory.view) == 5000
    memory.view[4501:4504] = b"abc"
    source = Argument(Kind.MEMREF_INPUT, memory=memory, offset=4501, size=3)
    done = device.invoke(session, HASH, [source, Argument(Kind.MEMREF_OUTPUT, memory=memory, offset=8, size=40)], 3)
    assert (done.result, done.answers[1]) == (0, (32, 0))
    assert memory.view[8:40] == hashlib.sha256(b"abc").digest()
    done = device.invoke(session, HASH, [source, Argument(Kind.MEMREF_OUTPUT, memory=memory, size=3)], 4)
    assert (done.result, done.answers[1]) == (results.SHORT_BUFFER, (32, 0))
    nothing = Argument(Kind.MEMREF_OUTPUT)
    if device.null_memrefs:
        assert device.invoke(session, HASH, [source, nothing], 5).result == results.SHORT_BUFFER
    else:
        with pytest.raises(TeeError) as refused:
            device.invoke(session, HASH, [source, nothing], 5)
        assert refused.value.result == results.NOT_SUPPORTED
    memory.close()
    memory.close()

    device.close_session(session)
    with pytest.raises(TeeError) as gone:
        device.invoke(session, INCREMENT, [], 6)
    assert (gone.value.result, gone.value.origin) == (results.BAD_PARAMETERS, Origin.COMMS)


def test_refusals(device: Device) -> None:
    _, opened = device.open_session(UUID(int=5), 0, 0, (), 1)
    assert (opened.result, opened.origin) == (results.ITEM_NOT_FOUND, Origin.TEE)
    with pytest.raises(TeeError) as huge:
        device.allocate((1 << 64) - 1)
    assert huge.value.result == results.OUT_OF_MEMORY
    assert len(device.allocate(0).view) == 0
    session, _ = device.open_session(HELLO, 0, 0, (), 2)
    beyond = Argument(Kind.MEMREF_INPUT, memory=device.allocate(16), offset=9, size=8)
    with pytest.raises(TeeError) as outside:
        device.invoke(session, HASH, [beyond], 3)
    assert outside.value.result == results.BAD_PARAMETERS


def test_no_device(driver: ModelDriver, tmp_path: Path) -> None:
    with pytest.raises(TeeError) as missing:
        Device(str(tmp_path / "tee7"), ioctl=driver.ioctl)
    assert (missing.value.result, missing.value.origin) == (results.ITEM_NOT_FOUND, Origin.API)
    node = tmp_path / "tee0"
    node.touch()
    for caps, implementation in ((ALL, 2), (abi.GEN_CAP_REG_MEM, 1)):
        driver.say(caps=caps, implementation=implementation)
        with pytest.raises(TeeError) as other:
            Device(str(node), ioctl=driver.ioctl)
        assert other.value.result == results.ITEM_NOT_FOUND
    with pytest.raises(TeeError) as plain:  # the kernel itself: not a TEE
        Device(str(node))
    assert plain.value.result == results.ITEM_NOT_FOUND


def test_closed(device: Device) -> None:
    closed = Device.__new__(Device)
    closed.__dict__.update(device.__dict__, _fd=-1)
    with pytest.raises(TeeError) as error:
        closed.close_session(1)
    assert (error.value.result, error.value.origin) == (results.BAD_STATE, Origin.API)
    closed.close()
    assert isinstance(device.allocate(1), DeviceMemory)
