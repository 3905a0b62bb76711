"""Who watches the secure world: system calls, log text, crashes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID

    from tee.records import CallRecord, Crash


class Observer:
    """Base of watchers: override what is of interest. Called from the thread that runs the TA."""

    tracing = False
    """True: every system call is reported, also those answered in C; costs time."""

    def on_call(self, record: CallRecord) -> None:
        """After each system call, when `tracing`."""

    def on_log(self, uuid: UUID, text: str) -> None:
        """Text a TA logged, one or more lines; the platform's console gets it too."""

    def on_crash(self, crash: Crash) -> None:
        """A TA panicked, faulted or hit a limit."""
