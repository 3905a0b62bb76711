"""Bytes in order, each once, over lines that get lost: go-back-N by byte offsets. csrc/stream.c is the same in C.

Offsets count bytes and not lines, as TCP's do, so that what is sent again may be cut differently: on a bad line short
ones come through where long ones never would. A line that comes damaged or out of order is complained of (N), with the
round that it was seen in: each time that the sender goes back a new one begins, and a complaint of an older one, whose
remedy is on its way, is not heeded. What got lost otherwise, a timer finds
(RFC 6298's, with Karn's rule: what was sent twice measures nothing; it forgets its back-off with every progress).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from normal_world.agent.lines import PIECE_MAX, ROUNDS, Line

if TYPE_CHECKING:
    from collections.abc import Callable

WINDOW = 2048
"""Bytes under way: as lines they fit a terminal's input queue of 4096 (Linux' n_tty)."""
PIECE_MIN = 24
PIECES = 16
"""Under way: where lines are short because many get lost, little is sent twice."""
RTO_FIRST, RTO_MIN, RTO_MAX = 1.0, 0.1, 8.0
"""Seconds until what was not acknowledged is sent again."""
BACKOFF_MAX = 5
"""Doublings of that while nothing gets through."""


class Stream:
    """One end. send: puts a line on its way. It has no clock and no thread: `now`, in seconds, is given."""

    def __init__(self, send: Callable[[Line], None]) -> None:
        self._send = send
        self._out = bytearray()
        self._under_way = 0
        self._acked = 0
        self._expected = 0
        self._piece = PIECE_MAX
        self._rto = RTO_FIRST
        self._timer: float | None = None
        self._timed: tuple[float, int] | None = None
        self._furthest = 0
        self._backoff = 0
        self._round = 0
        self._seen = 0

    @property
    def idle(self) -> bool:
        """Whether the other end has got everything."""
        return not self._out

    def put(self, data: bytes) -> None:
        self._out += data

    def ping(self) -> None:
        """Ask for a sign of life."""
        self._send(Line("P", self._expected, round=self._seen))

    def damaged(self) -> None:
        """A line came that is not whole."""
        self._send(Line("N", self._expected, round=self._seen))

    def take(self, line: Line, now: float) -> bytes:
        """A line came; the bytes that are next."""
        if line.kind == "D":
            return self._data(line)
        if 0 < line.at - self._acked <= len(self._out):
            self._acknowledged(line.at, now)
        if line.kind == "N" and line.at == self._acked and self._under_way and line.round == self._round:
            self._go_back()
        if line.kind == "P":
            self._send(Line("A", self._expected, round=self._seen))
        return b""

    def _data(self, line: Line) -> bytes:
        self._seen = line.round
        if line.at > self._expected:
            self.damaged()
            return b""
        data = line.data[self._expected - line.at :]
        if data:
            self._expected += len(data)
        self._send(Line("A", self._expected, round=self._seen))
        return data

    def work(self, now: float) -> float | None:
        """Send what is to be sent; when it wants to be called again, None: whenever."""
        if self._timer is not None and now >= self._timer:
            self._backoff = min(self._backoff + 1, BACKOFF_MAX)
            self._go_back()
        window = min(WINDOW, self._piece * PIECES)
        while self._under_way < min(len(self._out), window):
            end = min(self._under_way + self._piece, len(self._out), window)
            at = self._acked + self._under_way
            if self._timed is None and at >= self._furthest:
                self._timed = now, self._acked + end
            self._send(Line("D", at, bytes(self._out[self._under_way : end]), self._round))
            self._under_way = end
            self._furthest = max(self._furthest, self._acked + end)
            if self._timer is None:
                self._timer = now + self._patience
        return self._timer

    def _acknowledged(self, at: int, now: float) -> None:
        gained = at - self._acked
        if self._timed is not None and at >= self._timed[1]:
            seen = 2 * (now - self._timed[0]) + 0.05
            self._rto = min(max((3 * self._rto + seen) / 4, RTO_MIN), RTO_MAX)
            self._timed = None
        del self._out[:gained]
        self._under_way = max(0, self._under_way - gained)
        self._acked = at
        self._piece = min(self._piece + 8 + self._piece // 8, PIECE_MAX)
        self._backoff = 0
        self._timer = now + self._patience if self._under_way else None

    @property
    def _patience(self) -> float:
        return min(self._rto * (1 << self._backoff), RTO_MAX)

    def _go_back(self) -> None:
        self._round = (self._round + 1) % ROUNDS
        self._under_way = 0
        self._timer = self._timed = None
        self._piece = max(self._piece // 2, PIECE_MIN)
