"""What is asked of the agent and what it answers: layouts, and reading answers that nobody vouches for.

csrc/calls.c reads and writes the same. Little-endian; each message begins with `HEADER`.
"""

from __future__ import annotations

import enum
import struct
from typing import TYPE_CHECKING, NamedTuple

from tee.params import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

VERSION = 1
PARAMS = 4
MEMORY_MAX = 16 << 20
"""Bytes of all memrefs of a call."""
MESSAGE_MAX = MEMORY_MAX + 4096
IS_NULL = 1
REPLY = 0x80
"""Added to an operation's number."""

HEADER = struct.Struct("<III")
"""bytes of the rest, id, operation"""
PARAM = struct.Struct("<BBHIQQ")
"""kind, flags, 0, bytes of memory that follow (zeros at its end are left out), a or the memref's size, b"""
OPEN = struct.Struct("<II16s")
"""login, group, UUID"""
INVOKE = struct.Struct("<II")
"""session, command"""
NUMBER = struct.Struct("<I")
ANSWER = struct.Struct("<IIII")
"""result, origin, session (or version and NULL memrefs), bytes of text at the end; then four of `ANSWERED`"""
ANSWERED = struct.Struct("<QQI")
"""a or the memref's size, b, bytes of memory that follow"""


class Op(enum.IntEnum):
    HELLO = 1
    OPEN = 2
    INVOKE = 3
    CLOSE = 4
    CANCEL = 5
    QUIT = 6


class BadMessage(ValueError):
    """The other end does not keep to this."""


class Offer(NamedTuple):
    """One parameter. memory: of a memref, None for NULL; size: its bytes."""

    kind: Kind
    a: int = 0
    b: int = 0
    memory: memoryview | None = None
    size: int = 0


class Answered(NamedTuple):
    a: int
    b: int
    memory: bytes


class Answer(NamedTuple):
    """params: of HELLO and the like they mean nothing."""

    result: int
    origin: int
    number: int
    params: tuple[Answered, ...]
    text: str


def request(id: int, op: Op, body: bytes = b"") -> bytes:
    return HEADER.pack(len(body), id, op) + body


def offers(given: Sequence[Offer]) -> bytes:
    out = bytearray()
    for offer in [*given, *[Offer(Kind.NONE)] * (PARAMS - len(given))]:
        if offer.kind < Kind.MEMREF_INPUT:
            out += PARAM.pack(offer.kind, 0, 0, 0, offer.a, offer.b)
        elif offer.memory is None:
            out += PARAM.pack(offer.kind, IS_NULL, 0, 0, offer.size, 0)
        else:
            # Outputs, too: bytes that the TA leaves alone stay as they were.
            data = bytes(offer.memory).rstrip(b"\0")
            out += PARAM.pack(offer.kind, 0, 0, len(data), offer.size, 0) + data
    return bytes(out)


def read_answer(body: bytes, offered: Iterable[int] = ()) -> Answer:
    """offered: bytes of each parameter's memory, which an answer may fill. BadMessage."""
    try:
        result, origin, number, text = ANSWER.unpack_from(body)
        at, params = ANSWER.size, []
        for room in [*offered, *[0] * PARAMS][:PARAMS]:
            a, b, size = ANSWERED.unpack_from(body, at)
            at += ANSWERED.size
            memory = body[at : at + size]
            if len(memory) != size or size > room:
                raise BadMessage(f"{size} bytes for memory of {room}")
            at += size
            params.append(Answered(a, b, memory))
    except struct.error as problem:
        raise BadMessage(str(problem)) from None
    if len(body) - at != text:
        raise BadMessage(f"{len(body) - at} bytes at the end instead of {text}")
    return Answer(result, origin, number, tuple(params), body[at:].decode("utf-8", "backslashreplace"))


class Assembler:
    """Puts messages together from the stream's bytes."""

    def __init__(self, most: int = MESSAGE_MAX) -> None:
        self._data = bytearray()
        self._most = most

    def feed(self, data: bytes) -> list[tuple[int, int, bytes]]:
        """(id, operation, body) of each that is whole now. BadMessage."""
        self._data += data
        out: list[tuple[int, int, bytes]] = []
        while len(self._data) >= HEADER.size:
            size, id, op = HEADER.unpack_from(self._data)
            if size > self._most:
                raise BadMessage(f"a message of {size} bytes")
            end = HEADER.size + size
            if len(self._data) < end:
                break
            out.append((id, op, bytes(self._data[HEADER.size : end])))
            del self._data[:end]
        return out
