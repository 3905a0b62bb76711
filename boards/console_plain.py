"""Takes carriage returns and terminals' control sequences out of what a line says.

ECMA-48: control sequences (CSI, §5.4), strings (DCS, OSC, APC, PM, SOS; §5.6, of any length), escape sequences (§5.5)
and shifts, each with its 8-bit form where that byte is no part of a UTF-8 character. CAN and SUB end a sequence.

What never ends holds nothing back: a string ends at a line's end, and what has begun is let go when nothing more comes
for a moment (`Plain.release`). Then its text was noise of the line, and is shown.
"""

from __future__ import annotations

import re

MOMENT = 0.3
"""Seconds after which a sequence that has begun will not end any more."""
MAX_CSI = 256
"""Bytes of a control sequence; a longer one is none."""
MAX_KEPT = 4096
"""Of a string that has not ended, the last bytes that are kept in case it was none."""

_PLAIN = re.compile(rb"[^\x0e\x0f\x18\x1a\x1b\r\x80-\xff]+")
_UTF8 = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_UTF8_BEGUN = re.compile(rb"(?:[\xc2-\xf4]|[\xe0-\xf4][\x80-\xbf]|[\xf0-\xf4][\x80-\xbf]{2})\Z")
_CSI = re.compile(rb"[0-?]*+[ -/]*+")
_MESSAGE = re.compile(rb"\[(?: *[0-9.]*\Z| *[0-9]{1,8}\.[0-9]*(?:\Z|\]))|[DIEFM](?:\Z|/(?:\Z|[TL]))")
"""The beginning of what may be a message, `boards.console_kernel`."""
_FINAL = frozenset(range(0x40, 0x7F))
_ESCAPE = re.compile(rb"[ -/]*+")
_ESCAPE_FINAL = frozenset(range(0x30, 0x7F))
_STRING_TEXT = re.compile(
    rb"(?:[^\x07\x18\x1a\x1b\n\x80-\xff]|(?!\xc2[\x80-\x9f])"
    rb"(?:[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}"
    rb"|(?!(?:[\xc2-\xf4]|[\xe0-\xf4][\x80-\xbf]|[\xf0-\xf4][\x80-\xbf]{2})\Z)[\x80-\x9b\x9d-\xff]))*+"
)
"""Of a string: no control that ends it, and 0x9c as a part of a character alone."""
_CONTINUATION = bytes(range(0x80, 0xC0))
_STRINGS = b"P]_^X"
"""After ESC: DCS, OSC, APC, PM, SOS. With 0x40 more they are the 8-bit forms."""
_SHIFTS = b"\x0e\x0f"
_ENDS = b"\x18\x1a"
_ESC = 0x1B


class Plain:
    """Of one stream, which comes in pieces."""

    def __init__(self) -> None:
        self._held = b""
        self._string = False
        """Whether what is held is the inside of a string, its beginning gone."""

    def feed(self, data: bytes) -> bytes:
        data, self._held = self._held + data, b""
        out = bytearray()
        at = 0
        if self._string:
            at = self._in_string(data, 0, out)
        while at < len(data):
            plain = _PLAIN.match(data, at)
            if plain is not None:
                out += plain[0]
                at = plain.end()
            else:
                at = self._special(data, at, out)
        return bytes(out)

    @property
    def waits(self) -> bool:
        """Whether something is held back."""
        return bool(self._held) or self._string

    def release(self) -> bytes:
        """What was held back, but for the sequence's own beginning."""
        held, self._held = self._held, b""
        if self._string:
            self._string = False
            return _kept(held.rstrip(b"\x1b"))
        return held if held[:1] >= b"\xc2" else b""

    def _hold(self, data: bytes, at: int) -> int:
        self._held = data[at:]
        return len(data)

    def _special(self, data: bytes, at: int, out: bytearray) -> int:
        byte = data[at]
        if byte == _ESC:
            return self._escape(data, at, out)
        if byte < 0x20:
            return at + 1  # a carriage return, a shift, CAN or SUB
        character = _UTF8.match(data, at)
        if character is not None and character[0][0] == 0xC2 and character[0][1] < 0xA0:
            return self._control(data, at, at + 2, character[0][1], out)
        if character is not None:
            out += character[0]
            return character.end()
        if _UTF8_BEGUN.match(data, at):
            return self._hold(data, at)
        if byte < 0xA0:
            return self._control(data, at, at + 1, byte, out)
        out.append(byte)
        return at + 1

    def _control(self, data: bytes, start: int, at: int, byte: int, out: bytearray) -> int:
        """A control character of the set C1."""
        if byte == 0x9B:
            return self._csi(data, start, at, out)
        if byte - 0x40 in _STRINGS:
            return self._in_string(data, at, out)
        if byte in (0x8E, 0x8F, 0x9C):
            return at  # single shifts, and the end of a string that was none
        out += data[start:at]
        return at

    def _escape(self, data: bytes, at: int, out: bytearray) -> int:
        if at + 1 == len(data):
            return self._hold(data, at)
        byte = data[at + 1]
        if byte == ord("["):
            return self._csi(data, at, at + 2, out)
        if byte in _STRINGS:
            return self._in_string(data, at + 2, out)
        middle = _ESCAPE.match(data, at + 1, at + 1 + MAX_CSI)
        assert middle is not None
        end = middle.end()
        if end == len(data):
            return self._hold(data, at)
        if data[end] in _ESCAPE_FINAL:
            return end + 1
        return end if data[end] in _ENDS else at + 1

    def _csi(self, data: bytes, start: int, at: int, out: bytearray) -> int:
        """From `start` on; `at` is behind its introducer."""
        said = bytearray()
        while True:
            middle = _CSI.match(data, at, at + MAX_CSI)
            assert middle is not None
            end = middle.end()
            if end - at == MAX_CSI:
                break
            if end == len(data):
                return self._hold(data, start)
            if data[end] not in _FINAL:
                # Broken off: what follows is text again.
                out += said
                return end
            message = _MESSAGE.match(data, end)
            if message is None:
                out += said
                return end + 1
            line = data.find(b"\n", end, end + MAX_KEPT) + 1
            if not line and len(data) - end < MAX_KEPT:
                return self._hold(data, start)
            if not line:
                break
            # The kernel or OP-TEE has spoken within a sequence; it goes on behind the line.
            said += _kept(data[end:line])
            at = line
        out += said
        return at

    def _in_string(self, data: bytes, at: int, out: bytearray) -> int:
        """To the string's end. Its text is kept in case there is none."""
        begin = at
        self._string = True
        while True:
            text = _STRING_TEXT.match(data, at)
            assert text is not None
            end = text.end()
            byte = data[end] if end < len(data) else -1
            if byte < 0 or byte > 0xC2 or (byte in (_ESC, 0xC2) and end + 1 == len(data)):
                break  # there is more to come
            if byte == 0xC2 and data[end + 1] != 0x9C:
                at = end + 2
                continue
            self._string = False
            if byte == ord("\n"):
                # None of these has a line's end in it: noise of the line, and text behind it.
                out += _kept(data[begin:end])
                return end
            if byte == 0xC2 or (byte == _ESC and data[end + 1] == ord("\\")):
                return end + 2
            return end if byte == _ESC else end + 1
        self._held = data[begin:] if len(data) - begin <= MAX_KEPT else data[-MAX_KEPT:].lstrip(_CONTINUATION)
        return len(data)


def _kept(data: bytes) -> bytes:
    """Text that was taken for a string's."""
    data = data if len(data) <= MAX_KEPT else data[-MAX_KEPT:].lstrip(_CONTINUATION)
    return bytes(byte for byte in data if byte != 0x0D and byte not in _SHIFTS)
