"""A board that starts again while nobody asked it to, told from a command that prints such a line.

The first stage's pattern on the console is a sign alone: `dmesg` and a saved log have it as well. A board that starts
makes pauses, goes on with its boot, and ends at a login prompt; a command ends with its marker.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from boards.console_log import printable

if TYPE_CHECKING:
    import re
    from collections.abc import Sequence

PAUSE = 0.5
"""Seconds of silence that output of a command on a busy line does not have."""
WAITS = 1.0
"""Seconds of silence after which a login prompt waits."""
LONG = 8.0
"""Seconds after the sign, with pauses and more output: then it is no listing."""
LATELY = 2.0


class Lookout:
    """On one console. signs: patterns of lines that a start has. login: of the prompt at its end, or None."""

    def __init__(self, signs: Sequence[re.Pattern[bytes]], login: re.Pattern[bytes] | None) -> None:
        self._signs = signs
        self._login = login
        self._at = 0.0
        self._came = time.monotonic()
        self._paused = False
        self._further = False
        self.line = ""
        """The sign, "" if there was none."""
        self.sure = False

    def forget(self) -> None:
        """The line was a command's."""
        if not self.sure:
            self.line, self._paused, self._further = "", False, False

    def ended(self, why: str) -> None:
        """The line's other end is another one now."""
        self.line, self.sure = why, True

    def said(self) -> None:
        """Something came."""
        now = time.monotonic()
        self._paused = self._paused or bool(self.line and now - self._came >= PAUSE)
        self._came = now

    def look(self, line: bytes) -> None:
        """At a whole line."""
        if any(sign.search(line) for sign in self._signs):
            if not self.line:
                self.line, self._at = printable(line), time.monotonic()
            self._further = self._further or self._paused

    def restarted(self, last_line: str) -> str:
        """The sign, if it is sure by now that it was one."""
        if not self.line:
            return ""
        now = time.monotonic()
        quiet = now - self._came
        waits = self._login is not None and quiet >= WAITS and self._login.search(last_line.encode()) is not None
        boots = self._paused and now - self._at >= LONG and quiet < LATELY
        return self.line if self.sure or self._further or waits or boots else ""
