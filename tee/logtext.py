"""What TAs log, made fit for the secure world's log: without control characters, and without lines that pass for ours.

A TA can log any bytes, a report of another TA's death or a message of the secure world among them; the reader of the
log, a person or the boards' search for panics, would take it for that.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from north.text import visible

if TYPE_CHECKING:
    import re
    from collections.abc import Iterator

_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_OURS = (
    rf"(?<![A-Za-z0-9_])(?:[A-Z]/(?:TC|LD):|TA {_UUID} (?:panicked|died|was )|litebox(?:-ta)?:)"
    r"|^  (?:registers|backtrace|mapped regions):|^    #[0-9]"
)
"""Our own reports and messages, and OP-TEE's core and loader. TAs write `E/TA:` and the like."""
MOST_TAIL = 128
"""Characters of a line without an end that are remembered; what passes for ours is shorter."""


@functools.cache
def _ours() -> re.Pattern[str]:
    """Made when a TA logs: most runs log nothing, and wait for no import."""
    import re

    return re.compile(_OURS, re.MULTILINE)


class LogText:
    """Of one log."""

    def __init__(self) -> None:
        self._tail = ""

    def of_ta(self, text: str) -> str:
        """`text` as it may be written. A line that passes for ours has its first character as a code."""
        text = visible(text)
        tail = self._tail
        joined = tail + text
        at = len(tail)
        split = ""
        if any(found.start() < at < found.end() for found in _ours().finditer(joined)):
            split = "\n"  # put together of two messages
            tail, joined, at = "", text, 0
        cleaned = "".join(_cleaned(joined, at))
        self._tail = (tail + text).rpartition("\n")[2][-MOST_TAIL:]
        return split + cleaned

    def end_line(self) -> str:
        """What has to be written before a line of ours."""
        open_line, self._tail = self._tail, ""
        return "\n" if open_line else ""


def _cleaned(text: str, start: int) -> Iterator[str]:
    """From `start` on."""
    for found in _ours().finditer(text, start):
        yield text[start : found.start()]
        word = found[0]
        indent = len(word) - len(word.lstrip())
        yield f"{word[:indent]}\\x{ord(word[indent]):02x}{word[indent + 1 :]}"
        start = found.end()
    yield text[start:]
