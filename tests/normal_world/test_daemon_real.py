"""Debian's own TAs behind the daemon: a call that waits is cancelled, and one whose client died is ended."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from normal_world.client.device import Device
from normal_world.client.ports import Argument
from normal_world.daemon.status import fetch
from normal_world.protocol import SOCKET_VARIABLE, Op
from tee.abi import results
from tee.abi.results import Origin
from tee.params import Kind
from tests.normal_world.kit import RawClient, flat, in_process, value
from tests.normal_world.model_tee import build_model
from tests.threads import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.normal_world.kit import Daemon

pytestmark = pytest.mark.real

OS_TEST = UUID("5b9e0e40-2636-11e1-ad9e-0002a5d5c51b")
CLIENT_WITH_TIMEOUT, BASIC, WAIT = 1, 5, 9  # ta_os_test.h
LONG = 0x7FFFFFF0  # ms


@pytest.fixture
def served(tmp_path: Path, debian_tas: Path, debian_kit: Path) -> Iterator[Daemon]:
    with in_process(tmp_path, "--ta-dir", str(debian_tas), "--trust", str(debian_kit), "--grace", "0.3") as daemon:
        yield daemon


def in_flight(daemon: Daemon) -> int:
    return sum(entry["calls_in_flight"] for entry in fetch(daemon.path)["contexts"])


def test_a_waiting_call_is_cancelled_from_another_connection(served: Daemon) -> None:
    client = RawClient(served.path)
    opened = client.open(OS_TEST)
    assert opened.result == 0
    client.send(Op.INVOKE, 5, opened.id, WAIT, *flat([value(Kind.VALUE_INPUT, 60_000)]))
    assert eventually(lambda: in_flight(served) == 1)
    assert RawClient(served.path, client.token).ask(Op.CANCEL, 5).result == 0
    reply = client.receive()
    assert reply is not None
    assert (reply.result, reply.origin) == (results.CANCEL, Origin.TRUSTED_APP)
    assert client.ask(Op.CLOSE_SESSION, opened.id, 0).result == 0


def test_the_kernels_way_cancels(served: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the model of the driver."""
    monkeypatch.setenv(SOCKET_VARIABLE, served.path)
    driver = build_model(tmp_path)
    node = tmp_path / "tee0"
    node.touch()
    device = Device(str(node), ioctl=driver.ioctl)
    session, opened = device.open_session(OS_TEST, 0, 0, (), 1)
    assert opened.result == 0
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(device.invoke, session, WAIT, [Argument(Kind.VALUE_INPUT, 60_000)], 9)
        assert eventually(lambda: in_flight(served) == 1)
        device.cancel(8)
        assert not answer.done()
        device.cancel(9)
        outcome = answer.result(10)
    assert (outcome.result, outcome.origin) == (results.CANCEL, Origin.TRUSTED_APP)
    device.cancel(9)
    device.close_session(session)
    device.close()


@pytest.mark.parametrize("command", [WAIT, CLIENT_WITH_TIMEOUT])
def test_a_dead_clients_call_ends_also_in_a_nested_ta(served: Daemon, command: int) -> None:
    client = RawClient(served.path)
    session = client.open(OS_TEST).id
    client.send(Op.INVOKE, 5, session, command, *flat([value(Kind.VALUE_INPUT, LONG)]))
    assert eventually(lambda: in_flight(served) == 1)
    client.close()
    assert eventually(lambda: not fetch(served.path)["contexts"])
    assert eventually(lambda: not fetch(served.path)["instances"])
    assert fetch(served.path)["bugs"] == 0
    assert RawClient(served.path).open(OS_TEST).result == 0
