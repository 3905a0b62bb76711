"""Messages of the kernel and of OP-TEE on a console, told from what a command prints.

They come at any byte: within a line, within a marker of the shell's protocol. `tolerant` makes a pattern that matches
all the same; `split` takes them out of a command's output.

A line in printk's form that comes while a command runs is the kernel's own if it was just logged: its time is later
than that of every message that was on this console before, and not before the command began. What `dmesg` prints of
older messages is the command's output, and so is a second copy of a message that came while the command ran.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from boards.console_log import Direction

if TYPE_CHECKING:
    from boards.console_log import Log

_PRINTK = r"\[ *[0-9]{1,8}\.[0-9]{6}\](?:\[ *[TC][0-9]{1,7}\])? "
MAX_MESSAGE = 500
"""Characters; a longer line is not looked for within a marker."""
_SECURE = r"[DIEFM]/(?:TC|TA|LD):"
FOREIGN = rf"(?:{_PRINTK}|{_SECURE})[^\n]{{0,{MAX_MESSAGE}}}+\n"
"""A whole line of the kernel's (printk's time, with CONFIG_PRINTK_CALLER thread or processor) or of OP-TEE's
(lib/libutils/ext/trace.c: level, slash, module)."""
GAP = f"(?:{FOREIGN})*+"
"""A pattern for messages, or none."""
MESSAGE = re.compile(r"\[ *([0-9]{1,8}\.[0-9]{6})\](?:\[ *[TC][0-9]{1,7}\])? [^\n]*(?:\n|\Z)")
_ANY = re.compile(rf"(?:{_PRINTK}|{_SECURE})[^\n]*(?:\n|\Z)")
SLACK = 1.0
"""Seconds by which printk's clock, which does not count sleep, may be behind /proc/uptime."""


class Parts(NamedTuple):
    """output: what the command printed. kernel, secure: messages that came meanwhile. doubtful: those of `kernel` that
    stood at the start of a line and only once, as what a command prints does."""

    output: str
    kernel: tuple[str, ...]
    secure: tuple[str, ...]
    doubtful: tuple[str, ...]


def tolerant(text: str) -> str:
    """A pattern for `text` with messages at any place after its first character."""
    return GAP.join(re.escape(char) for char in text)


def repeated(chars: str, most: int) -> str:
    """A pattern for one to `most` of a class of characters, with messages between them; `own_words` takes those out."""
    return f"[{chars}](?:{GAP}[{chars}]){{0,{most - 1}}}"


ANYTHING = rf"(?:{FOREIGN}|[^\n])*?"
"""A pattern for the rest of a line, with messages in it."""


def own_words(text: str) -> str:
    """Without messages, also one at the end that is still coming."""
    return _ANY.sub("", text)


def newest(log: Log, console: str) -> float:
    """The time of the last message on a console, in the kernel's seconds; -1: there was none."""
    for entry in log.backwards(console):
        if entry.direction is Direction.IN and (found := MESSAGE.search(entry.text)):
            return float(found[1])
    return -1.0


def newest_in(text: str, before: float) -> float:
    """The same, of text, if it is later than `before`."""
    return max([before, *(float(found[1]) for found in MESSAGE.finditer(text))])


def split(
    text: str, after: float, uptime: float, *, secure: bool = True, printed: frozenset[str] = frozenset()
) -> Parts:
    """after: `newest` and uptime, both as the command began. secure: take OP-TEE's lines out as well.

    printed: messages that are known to be the command's.
    """
    kernel: list[str] = []
    other: list[str] = []
    doubtful: list[str] = []
    taken: set[str] = set()
    start = max(after, uptime - SLACK)

    def take(found: re.Match[str]) -> str:
        line = found[0].rstrip("\n")
        time = MESSAGE.match(line)
        if time is None:
            if not secure:
                return found[0]
            other.append(line)
            return ""
        if float(time[1]) <= start or line in printed:
            return found[0]
        if line in taken:
            # The kernel has said it once; this one the command prints.
            if line in doubtful:
                doubtful.remove(line)
            return found[0]
        taken.add(line)
        kernel.append(line)
        if found.start() == 0 or text[found.start() - 1] == "\n":
            doubtful.append(line)
        return ""

    return Parts(_ANY.sub(take, text), tuple(kernel), tuple(other), tuple(doubtful))
