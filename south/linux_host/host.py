"""Clock, entropy and console of the Linux host."""

from __future__ import annotations

import os
import time

from south.linux_host.log import STDERR


class HostClock:
    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(max(0.0, seconds))


class HostEntropy:
    """getrandom(2) of the host's kernel."""

    def fill(self, size: int) -> bytes:
        return os.urandom(size)


class StderrConsole:
    def write(self, text: str) -> None:
        STDERR.write(text)


class NullConsole:
    """A sink for callers that want no secure-world log."""

    def write(self, text: str) -> None:
        pass
