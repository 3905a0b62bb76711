"""A secure world for other processes: with a supplicant's services, and reports on standard error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normal_world.host.compose import Host
from normal_world.host.images import ToldProblems
from normal_world.supplicant.services import Supplicant
from south.linux_host.log import STDERR

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from normal_world.host.setup import Setup
    from normal_world.supplicant.services import ServiceOptions
    from tee.records import Crash


class DaemonHost(Host):
    """A host for a daemon: its supplicant's services are there from the start and closed with it, crashes and refusals
    are written to standard error at once, and signals are the caller's. UsageError.

    report: also called with why a TA was refused, and with reason and backtrace of one that died.
    """

    def __init__(self, setup: Setup, services: ServiceOptions, report: Callable[[str], None] | None = None) -> None:
        self._supplicant = Supplicant(services)
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
