"""Lines of text with checksums, for terminals that lose and change bytes and in which a kernel speaks as well.

    #D01f:YWJj:0a1b2c3d     to the agent, `<` from it

Kind, round, offset; base64; CRC-32 of a token and the text before it.

csrc/lines.c is the same in C. The token is one run's own: what an earlier one left on the line is no line.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from typing import NamedTuple

TO_AGENT, FROM_AGENT = b"#", b"<"
"""A shell that is there in the agent's place takes the first for the beginning of a comment."""
PIECE_MAX = 720
"""Bytes that one line carries."""
ROUNDS = 16
LINE_MAX = 1100
"""Characters of a line with its end."""

_LINE = re.compile(rb"([DANP])([0-9a-f])([0-9a-f]{1,16}):([A-Za-z0-9+/]*={0,2}):([0-9a-f]{8})")
_OURS = re.compile(rb"[DANP][0-9a-f]")


class Line(NamedTuple):
    """kind: D, data from offset `at` on; A, all before `at` has come; N, as A, and a line was lost; P, as A, and an
    answer is wanted. round: of D, the sender's; else the last that was seen.
    """

    kind: str
    at: int
    data: bytes = b""
    round: int = 0


class DamagedLine(ValueError):
    """It was one of ours, and is not whole."""


def seed(token: str) -> int:
    """What the checksum of each line begins with."""
    return zlib.crc32(token.encode())


def format_line(line: Line, start: int, mark: bytes = TO_AGENT) -> bytes:
    text = b"%s%s%x%x:%s:" % (mark, line.kind.encode(), line.round, line.at, base64.b64encode(line.data))
    # The checksum is of what stands before the last colon.
    return b"%s%08x\n" % (text, zlib.crc32(text[:-1], start))


def parse_line(text: bytes, start: int, mark: bytes = FROM_AGENT) -> Line | None:
    """text: without its end. None: no line of the other end's. DamagedLine."""
    at = text.rfind(mark)
    if at < 0:
        return None
    found = _LINE.fullmatch(text, at + 1)
    if found is None or len(text) - at > LINE_MAX:
        # The kernel and shells write `<`, too; of ours are those that look like it.
        if _OURS.match(text, at + 1):
            raise DamagedLine
        return None
    if zlib.crc32(text[at : found.start(5) - 1], start) != int(found[5], 16):
        raise DamagedLine
    try:
        data = base64.b64decode(found[4], validate=True)
    except binascii.Error:
        raise DamagedLine from None
    if len(data) > PIECE_MAX:
        raise DamagedLine
    return Line(found[1].decode(), int(found[3], 16), data, int(found[2], 16))
