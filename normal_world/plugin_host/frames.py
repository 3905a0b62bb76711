"""What the daemon and a plugin's keeper say to each other: csrc/frames.h, for Python.

One frame is one packet of a SOCK_SEQPACKET pair, and all have one size. The data of a call are at the start of a memfd
of DATA_MAX bytes, sealed against resizing.
"""

from __future__ import annotations

import enum
import struct
from typing import NamedTuple
from uuid import UUID

from tee.normal import PLUGIN_DATA_MAX

VERSION = 1
DATA_MAX = PLUGIN_DATA_MAX
TEXT = 128
"""Bytes of text, its NUL included."""
LAYOUT = struct.Struct(f"<6IQ{TEXT}s")
"""struct lb_frame: version, kind, call, a, b, limit, length, text"""


class Kind(enum.IntEnum):
    """enum lb_kind; from INVOKE on the daemon's, from READY on the keeper's."""

    INVOKE = 1
    CANCEL = 2
    READY = 16
    REFUSED = 17
    ANSWER = 18
    DIED = 19


class Death(enum.IntEnum):
    """enum lb_death"""

    BY_SIGNAL = 1
    BY_EXIT = 2
    TOO_LONG = 3
    CANCELLED = 4
    NO_START = 5


class FrameError(Exception):
    """Not a frame."""


class Frame(NamedTuple):
    """call: number of the call that it is about. limit: milliseconds; length: bytes. What a, b and text are depends
    on the kind: see csrc/frames.h."""

    kind: int
    call: int = 0
    a: int = 0
    b: int = 0
    limit: int = 0
    length: int = 0
    text: bytes = b""

    def pack(self) -> bytes:
        return LAYOUT.pack(VERSION, *self)

    @classmethod
    def unpack(cls, packet: bytes) -> Frame:
        """FrameError: of another size or version."""
        if len(packet) != LAYOUT.size:
            raise FrameError(f"{len(packet)} bytes are no frame")
        version, *fields = LAYOUT.unpack(packet)
        if version != VERSION:
            raise FrameError(f"a frame of version {version}")
        return cls(*fields)

    @property
    def message(self) -> str:
        """What is said in `text`, as one line that a terminal can be shown."""
        said = self.text.partition(b"\0")[0].decode("utf-8", "replace")
        return "".join(c if c.isprintable() else " " for c in said).strip()

    def identity(self) -> tuple[UUID, str]:
        """Of READY: the plugin's UUID and name."""
        return UUID(bytes=self.text[:16]), self._replace(text=self.text[16:]).message
