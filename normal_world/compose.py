"""The composition root of the normal world: a secure world with a supplicant's services behind it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

from ta_loader.cli.compose import Host
from tee.abi.results import ITEM_NOT_FOUND

if TYPE_CHECKING:
    from uuid import UUID

    from ta_loader.cli.compose import Setup
    from tee.errors import TeeError
    from tee.normal import NormalWorld
    from tee.observe import Crash


class ServiceOptions(NamedTuple):
    """sockets: what TAs may connect to: "off", "loopback", or HOST:PORT,...; plugin_dirs: folders of .plugin files.

    state: folder of REE files and the RPMB device; None: where the device's key is.
    """

    sockets: str = "off"
    plugin_dirs: tuple[str, ...] = ()
    state: str | None = None


def normal_world(options: ServiceOptions) -> NormalWorld:
    """A supplicant's services on this host. UsageError for a policy that cannot be read."""
    from normal_world.supplicant.services import Supplicant

    return Supplicant(sockets=options.sockets)


def secure_host(setup: Setup, services: ServiceOptions) -> Host:
    """A host whose crashes are told on standard error at once; signals are the caller's."""
    host = Host(setup, normal=normal_world(services), on_crash=tell_crash, interruptible=False)
    host.images.problems = ToldProblems()
    return host


class ToldProblems(list[tuple["UUID", "TeeError"]]):
    """Keeps nothing: why an image was refused is told on standard error, once each."""

    MOST = 256
    """Clients choose what they ask for; after as many different refusals no more are told."""

    def __init__(self) -> None:
        super().__init__()
        self._told: set[str] = set()

    def append(self, problem: tuple[UUID, TeeError]) -> None:
        uuid, error = problem
        text = f"litebox: TA {uuid}: {error.detail or error}\n"
        if error.result == ITEM_NOT_FOUND or text in self._told or len(self._told) >= self.MOST:
            return
        self._told.add(text)
        sys.stderr.write(text)
        sys.stderr.flush()


def tell_crash(crash: Crash) -> None:
    from tee.crash import crash_lines

    sys.stderr.write("\n".join(crash_lines(crash)) + "\n")
    sys.stderr.flush()
