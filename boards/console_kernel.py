"""The kernel's messages on a console, told from what a command prints.

A line in printk's form that comes while a command runs is the kernel's own if it was just logged: its time is later
than that of every message that was on this console before, and not before the command began. What `dmesg` prints of
older messages is the command's output.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from boards.console_log import Direction

if TYPE_CHECKING:
    from boards.console_log import Log

MESSAGE = re.compile(r"\[ *([0-9]{1,8}\.[0-9]{6})\](?:\[ *[TC][0-9]{1,7}\])? [^\n]*(?:\n|\Z)")
"""printk's line: time, and thread or processor with CONFIG_PRINTK_CALLER."""
SLACK = 1.0
"""Seconds by which printk's clock, which does not count sleep, may be behind /proc/uptime."""


def newest(log: Log, console: str) -> float:
    """The time of the last message on a console, in the kernel's seconds; -1: there was none."""
    for entry in log.backwards(console):
        if entry.direction is Direction.IN and (found := MESSAGE.search(entry.text)):
            return float(found[1])
    return -1.0


def split(text: str, after: float, uptime: float) -> tuple[str, tuple[str, ...]]:
    """(what the command printed, the kernel's messages). after: `newest` and uptime, both as the command began."""
    messages: list[str] = []
    start = max(after, uptime - SLACK)

    def take(found: re.Match[str]) -> str:
        if float(found[1]) <= start:
            return found[0]
        messages.append(found[0].rstrip("\n"))
        return ""

    return MESSAGE.sub(take, text), tuple(messages)
