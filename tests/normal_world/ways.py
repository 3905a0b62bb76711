"""The ways of a Python `Context` to a TEE, for tests that run over each: in this process, daemon, kernel, agent."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from boards.testing import Faults
from normal_world.api import Context
from normal_world.client.device import Device
from normal_world.client.options import LocalOptions
from normal_world.protocol import SOCKET_VARIABLE
from ta_loader import samples
from tests.normal_world.model_tee import build_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest

WAYS = ("local", "daemon", "device", "agent", "agent-bad-line")


@contextlib.contextmanager
def connected(way: str, socket: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    """One of `WAYS` to a TEE with the samples; socket: of a daemon, for all but `local`."""
    with contextlib.ExitStack() as kept:
        made = {
            "local": lambda: local(folder / "own", samples.FOLDER, trust=samples.public_key_file()),
            "daemon": lambda: Context.daemon(socket),
            "device": lambda: device(socket, folder, monkeypatch),
            "agent": lambda: over_agent(socket, Faults(), kept),
            "agent-bad-line": lambda: over_agent(socket, Faults(0.0003, 0.0003, 0.0003, 0.001), kept),
        }[way]()
        with made:
            yield made


def over_agent(socket: str, faults: Faults, made: contextlib.ExitStack) -> Context:
    """Through the agent on a pty, whose libteec speaks to the daemon at `socket`. made: ends it."""
    from normal_world.client.agent import AgentWay
    from tests.normal_world.agent_kit import agent

    return Context.over(AgentWay(made.enter_context(agent(socket, faults))))


def local(state: Path, *ta_dirs: Path | str, trust: Path | str) -> Context:
    return Context.local(LocalOptions(ta_dirs=ta_dirs, trust=[trust], state=state, log=lambda _: None))


def device(socket: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    """Through the model of the driver, which speaks to the daemon at `socket`."""
    monkeypatch.setenv(SOCKET_VARIABLE, socket)
    driver = build_model(folder)
    node = folder / "tee0"
    node.touch()
    return Context.over(Closing(str(node), ioctl=driver.ioctl, released=driver.closed))


class Closing(Device):
    """Tells the model of the file's release, as the kernel would see it."""

    def __init__(self, path: str, *, ioctl, released) -> None:  # type: ignore[no-untyped-def]
        super().__init__(path, ioctl=ioctl)
        self._released = released

    def close(self) -> None:
        if self._fd >= 0:
            self._released(self._fd)
        super().close()
