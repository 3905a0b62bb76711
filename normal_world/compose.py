"""The composition root of the normal world: a secure world with a supplicant's services behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from north.text import visible_line
from south.linux_host.log import STDERR
from ta_loader.cli.compose import Host
from tee.abi.results import ITEM_NOT_FOUND

if TYPE_CHECKING:
    from types import TracebackType
    from uuid import UUID

    from normal_world.supplicant.services import Supplicant
    from ta_loader.cli.compose import Setup
    from tee.errors import TeeError
    from tee.observe import Crash


class ServiceOptions(NamedTuple):
    """sockets: what TAs may connect to: "off", "loopback", or HOST:PORT,...; plugin_dirs: folders of C plugins.

    state: folder of REE files and the RPMB device; None: where the device's key is. sysroot: root of another machine's
    libraries, for plugins of that machine; plugin_seconds: a plugin's time for one call, None: the default.
    """

    sockets: str = "off"
    plugin_dirs: tuple[str, ...] = ()
    state: str | None = None
    sysroot: str | None = None
    plugin_seconds: float | None = None


def normal_world(options: ServiceOptions) -> Supplicant:
    """A supplicant's services on this host, each made when it is first used. UsageError for a policy that cannot be
    read. The caller closes it, after the world that uses it.
    """
    from normal_world.supplicant.services import Supplicant

    return Supplicant(
        options.state,
        sockets=options.sockets,
        plugin_dirs=options.plugin_dirs,
        sysroot=options.sysroot,
        plugin_seconds=options.plugin_seconds,
    )


def for_state(state: str | None) -> Supplicant:
    """What `ta_loader.cli.services` looks for."""
    return normal_world(ServiceOptions(state=state))


class DaemonHost(Host):
    """A host for a daemon: its supplicant's services are there from the start and closed with it, its crashes are told
    on standard error at once, and signals are the caller's. UsageError.
    """

    def __init__(self, setup: Setup, services: ServiceOptions) -> None:
        self._supplicant = normal_world(services)
        super().__init__(setup, normal=self._supplicant, on_crash=tell_crash, interruptible=False)
        self.images.problems = ToldProblems()

    def __enter__(self) -> DaemonHost:
        try:
            # Before there is anything that only this key opens.
            self.platform.root_of_trust.hardware_unique_key()
            self._supplicant.make_all()
            super().__enter__()
        except BaseException:
            self._supplicant.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            super().__exit__(kind, problem, trace)
        finally:
            self._supplicant.close()


class ToldProblems(list[tuple["UUID", "TeeError"]]):
    """Keeps nothing: why an image was refused is told on standard error, once each."""

    MOST = 256
    """Clients choose what they ask for; after as many different refusals no more are told."""

    def __init__(self) -> None:
        super().__init__()
        self._told: set[str] = set()

    def append(self, problem: tuple[UUID, TeeError]) -> None:
        uuid, error = problem
        text = f"litebox: TA {uuid}: {visible_line(error.detail or str(error))}\n"
        if error.result == ITEM_NOT_FOUND or text in self._told or len(self._told) >= self.MOST:
            return
        self._told.add(text)
        STDERR.write(text)


def tell_crash(crash: Crash) -> None:
    from tee.crash import crash_lines

    STDERR.write("\n".join(crash_lines(crash)) + "\n")
