"""The composition root of the normal world: a secure world with a supplicant's services behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from south.linux_host.log import STDERR
from ta_loader.cli.compose import Host
from ta_loader.cli.images import ToldProblems

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from normal_world.supplicant.services import Supplicant
    from ta_loader.cli.compose import Setup
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
    """A host for a daemon: its supplicant's services are there from the start and closed with it, crashes and refusals
    are written to standard error at once, and signals are the caller's. UsageError.

    report: also called with why a TA was refused, and with reason and backtrace of one that died.
    """

    def __init__(self, setup: Setup, services: ServiceOptions, report: Callable[[str], None] | None = None) -> None:
        self._supplicant = normal_world(services)
        self._report = report
        super().__init__(setup, normal=self._supplicant, on_crash=self._crashed, interruptible=False)
        self.images.problems = ToldProblems(self._refused)

    def _crashed(self, crash: Crash) -> None:
        tell_crash(crash)
        if self._report is not None:
            from tee.crash import crash_summary

            self._report("\n".join(crash_summary(crash)) + "\n")

    def _refused(self, text: str) -> None:
        STDERR.write(text)
        if self._report is not None:
            self._report(text)

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


def tell_crash(crash: Crash) -> None:
    from tee.crash import crash_lines

    STDERR.write("\n".join(crash_lines(crash)) + "\n")
