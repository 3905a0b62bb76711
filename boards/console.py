"""One UART: a thread that reads it from the moment it opens, and what waits for what it says.

Whatever the other end does, memory stays bounded and nothing waits without a limit. A line that breaks
(an unplugged adapter, a QEMU that restarts) is opened again until the console is closed.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from boards.console_kernel import own_words
from boards.console_link import ProcessLink
from boards.console_log import Direction, Entry, Lines, printable
from boards.console_plain import MOMENT, Plain
from boards.errors import TargetError
from boards.pattern import AnyOf, compile_pattern
from tee.errors import reason

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Sequence

    from boards.console_link import Link
    from boards.console_log import Log
    from boards.console_restart import Lookout

MAX_UNREAD = 1 << 20
"""Bytes that nobody has waited for yet; the oldest go first."""
MAX_MATCH = 1024
"""Bytes from the start of a match to its end, so that each byte is searched a bounded number of times."""
WINDOW = 2 * MAX_MATCH
"""Bytes that are searched at once: a pattern such as `x.*y` takes a time that grows with their square."""
MAX_SCREEN = 8192
"""Bytes that a login looks back."""
TAIL = 2000
"""Bytes of output that a failure shows."""
POLL = 0.1
"""Seconds between looks at whether the console was closed or the target died."""
RETRY = (0.05, 0.5)
"""Seconds between attempts to open a line, doubled from the first to the second."""
LAST_WORDS = 1.0
"""Seconds for the output of a target that has died."""
IDLE_POLLS = 5
"""Of POLL seconds each, without a byte: then a line without an end is looked at as it is."""
ECHO_SECONDS = 10.0
"""After a secret was written, within which a terminal may echo it."""
SHORT_SECRET = 4
"""Bytes; a shorter one is hidden at the end of a line alone, where its echo stands."""
ABSENT = (errno.ENOENT, errno.ENXIO, errno.ENODEV)
BUSY = (errno.EBUSY, errno.EAGAIN, errno.EACCES)
"""Of a port that another program has, or that is not for us."""
BUSY_SECONDS = 1.0
"""For a program that is about to leave it."""
CONNECT = 10.0
"""Seconds that a write waits for a broken line to come back."""


HIDDEN = "(not shown)"


class Match(NamedTuple):
    """before: output up to the match. text: what matched. groups: its groups, "" for one that took no part.

    lost: bytes before all this that were too many to be kept. data: `before`, as it came. which: of `AnyOf`, the index
    of the pattern.
    """

    before: str
    text: str
    groups: tuple[str, ...]
    lost: int = 0
    data: bytes = b""
    which: int = 0


class Alarm(NamedTuple):
    """Output after which waiting is pointless, such as a kernel's panic. meaning: for a person."""

    pattern: str
    meaning: str


class Pace(NamedTuple):
    """For a UART without flow control: write `size` bytes, then rest for `rest` seconds. size 0: all at once."""

    size: int = 0
    rest: float = 0.0


class Console:
    """name: in the log. make: opens the line, each time it is called (`console_link.link_maker`).

    health: asked while waiting; what it returns, unless "", is why nothing will come any more.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], Link],
        log: Log,
        *,
        pace: Pace = Pace(),  # noqa: B008 (immutable)
        alarms: Sequence[Alarm] = (),
        health: Callable[[], str] = lambda: "",
    ) -> None:
        self.name = name
        self.log = log
        self.health = health
        self.tap: Callable[[bytes], None] | None = None
        """Called by the reader's thread with every byte that comes, as it came."""
        self.screen: Callable[[bytes], None] | None = None
        """The same, for who logs in."""
        self.lookout: Lookout | None = None
        """For a board that starts again, once it is at its shell."""
        self._taker: Callable[[bytes], bool] | None = None
        self._withheld = b""
        self._make = make
        self._pace = pace
        self._alarms = [(compile_pattern(alarm.pattern), alarm.meaning) for alarm in alarms]
        self._changed = threading.Condition()
        self._writing = threading.Lock()
        self._unread = bytearray()
        self._recent = bytearray()
        self._scanned = 0
        self._alarm = ""
        self._last_at = time.monotonic()
        self._link: Link | None = None
        self._trouble = "never opened"
        self._errno: int | None = None
        self._closing = threading.Event()
        self._plain = Plain()
        self._lines = Lines()
        self._lost = 0
        self._idle = 0
        self._secrets: list[tuple[bytes, float]] = []
        log.unfinished[name] = self._begun
        self._thread = threading.Thread(target=self._run, name=f"console-{name}", daemon=True)

    def open(self) -> Console:
        """Start reading; the line itself may come later."""
        if not self._thread.is_alive() and not self._closing.is_set():
            self._thread.start()
        return self

    def close(self) -> None:
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()
        self.log.unfinished.pop(self.name, None)
        if self._lines.unfinished:
            at, rest = self._lines.flush()
            self.log.add(self.name, Direction.IN, self._hidden(rest), at)

    def __enter__(self) -> Console:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def connected(self) -> bool:
        return self._link is not None

    def wait_connected(self, timeout: float = CONNECT) -> None:
        """timeout: seconds. TargetError if the line cannot be opened by then."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while self._link is None:
                if self._closing.is_set() or (left := deadline - time.monotonic()) <= 0:
                    raise self._failure(f"no connection within {timeout:g} s: {self._trouble}")
                self._check_health()
                self._changed.wait(min(left, POLL))

    def wait_claimed(self) -> None:
        """Have the line before the board is switched. No error for one that is not there: it may come with the power.

        TargetError if somebody else has it, or it cannot be opened.
        """
        deadline = time.monotonic() + CONNECT
        busy = time.monotonic() + BUSY_SECONDS
        with self._changed:
            while self._link is None and self._errno not in ABSENT:
                now = time.monotonic()
                if self._closing.is_set() or now >= (busy if self._errno in BUSY else deadline):
                    raise self._failure(f"no connection: {self._trouble}")
                self._changed.wait(POLL)

    def wait_disconnected(self, timeout: float) -> None:
        """For a line that goes with the target's power; no error if it stays."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while self._link is not None and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)

    def write(self, data: bytes, *, secret: bool = False, log: bool = True) -> None:
        """TargetError if the line is gone and does not come back, or takes nothing. secret: shown as such in the log.

        log: False for what no reader of the log wants, a protocol's lines.
        """
        self.wait_connected()
        if secret and data.strip(b"\r\n"):
            self._secrets = [*self._secrets[-7:], (data.strip(b"\r\n"), time.monotonic() + ECHO_SECONDS)]
        if log:
            self.log.add(self.name, Direction.OUT, HIDDEN if secret else data)
        step = self._pace.size or len(data)
        with self._writing:
            link = self._link
            try:
                for at in range(0, len(data), step):
                    if link is None:
                        raise OSError("the line was lost")
                    link.write(data[at : at + step])
                    if self._pace.rest:
                        time.sleep(self._pace.rest)
            except (OSError, ValueError) as problem:
                raise self._failure(f"cannot write: {reason(problem)}") from None

    def send_line(self, text: str) -> None:
        self.write(os.fsencode(text) + b"\n")

    def take_lines(self, taker: Callable[[bytes], bool] | None) -> None:
        """From now on `taker` is shown each whole line by the reader's thread; what it says True to is seen by nobody
        else, and not logged. Waits see whole lines alone, until None ends this.
        """
        with self._changed:
            self._taker = taker

    @property
    def alarm(self) -> str:
        """What it said after which waiting is pointless, "" if nothing."""
        return self._alarm

    def discard(self) -> None:
        """Forget output that nobody has waited for; it stays in the log."""
        with self._changed:
            self._unread.clear()
            self._scanned = 0
            self._lost = 0

    def expect(self, pattern: str | AnyOf, timeout: float, *, alarms: bool = True) -> Match:
        """Wait for output that matches, and take it and all before it away.

        pattern: a regular expression; `^` and `$` are those of a line. It sees output without carriage returns
        and terminals' control sequences, and matches at most MAX_MATCH bytes. timeout: seconds. TargetError if it
        does not come, or at once if an alarm does (alarms) or the target died.
        """
        match = self.poll(pattern, timeout, alarms=alarms)
        if match is None:
            wanted = " or ".join(map(repr, pattern.patterns if isinstance(pattern, AnyOf) else (pattern,)))
            raise self._failure(f"{wanted} did not come within {timeout:g} s")
        return match

    def poll(
        self,
        pattern: str | re.Pattern[bytes] | AnyOf,
        timeout: float,
        *,
        alarms: bool = True,
        watch: Callable[[], None] = lambda: None,
    ) -> Match | None:
        """As `expect`; None if it does not come. watch: called again and again while waiting; it may raise."""
        return self._wait(pattern, timeout, alarms, watch, take=True)

    def seen(self, pattern: str | re.Pattern[bytes], timeout: float, *, alarms: bool = True) -> bool:
        """Whether output that matches comes; nothing is taken away."""
        return self._wait(pattern, timeout, alarms, watch=lambda: None, take=False) is not None

    def _wait(
        self,
        pattern: str | re.Pattern[bytes] | AnyOf,
        timeout: float,
        alarms: bool,
        watch: Callable[[], None],
        *,
        take: bool,
    ) -> Match | None:
        regex = compile_pattern(pattern) if isinstance(pattern, str) else pattern
        deadline = time.monotonic() + timeout
        last_words = False
        with self._changed:
            self._scanned = 0
            while True:
                found = self._search(regex, deadline)
                if found is not None:
                    match = self._take(found, take)
                    return match._replace(which=regex.which(found)) if isinstance(regex, AnyOf) else match
                self._scanned = len(self._unread)
                if alarms and self._alarm:
                    raise self._failure(self._alarm)
                watch()
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                trouble = self.health()
                if trouble and last_words:
                    # A machine that panics and ends did so because it panicked, also where its panic is not waited for.
                    raise self._failure(self._alarm or trouble)
                if trouble:
                    # What it said before it died may still be on its way.
                    self._changed.wait_for(lambda: self._link is None, min(left, LAST_WORDS))
                    last_words = True
                    continue
                self._changed.wait(min(left, POLL))

    def quiet(self, seconds: float, timeout: float) -> None:
        """Wait until nothing has come for so long, at most for `timeout` seconds."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while (left := deadline - time.monotonic()) > 0 and self._changed.wait(min(left, seconds)):
                pass

    @property
    def tail(self) -> str:
        """The last that came, also if a wait has taken it away."""
        with self._changed:
            return self._tail()

    @property
    def unread(self) -> bytes:
        """The last that nobody has waited for."""
        with self._changed:
            return bytes(self._unread[-MAX_SCREEN:])

    def check(self) -> None:
        """TargetError if waiting is pointless: an alarm, or the target died."""
        with self._changed:
            if self._alarm:
                raise self._failure(self._alarm)
            self._check_health()

    @property
    def last_line(self) -> str:
        """What stands after the last line's end, without messages of the kernel and of OP-TEE."""
        with self._changed:
            recent = bytes(self._recent)
        return own_words(_text(recent)).rpartition("\n")[2]

    @property
    def silence(self) -> float:
        """Seconds since something came."""
        return time.monotonic() - self._last_at

    def clear_alarm(self) -> None:
        """For a board that starts anew."""
        with self._changed:
            self._alarm = ""

    def _search(self, regex: re.Pattern[bytes] | AnyOf, deadline: float) -> re.Match[bytes] | None:
        """The first match in what is unread and was not searched before."""
        data = self._unread
        at = max(0, self._scanned - MAX_MATCH)
        while True:
            end = min(len(data), at + WINDOW)
            found = regex.search(data, at, end)
            if found is not None and found.end() == end < len(data):
                # A `$` at the end of the window alone is none.
                found = regex.search(data, found.start(), found.start() + WINDOW)
            if found is not None or end == len(data) or time.monotonic() > deadline + POLL:
                return found
            at = end - MAX_MATCH

    def _take(self, found: re.Match[bytes], take: bool) -> Match:
        groups = tuple(_text(group) if group is not None else "" for group in found.groups())
        before = bytes(self._unread[: found.start()])
        match = Match(_text(before), _text(found[0]), groups, self._lost, before)
        if take:
            del self._unread[: found.end()]
            self._lost = 0
        return match

    def _check_health(self) -> None:
        trouble = self.health()
        if trouble:
            raise self._failure(trouble)

    def _failure(self, problem: str) -> TargetError:
        path = "" if self.log.path is None else str(self.log.path)
        return TargetError(f"console {self.name}: {problem}", output=self._tail(), log=path)

    def _tail(self) -> str:
        lines = bytes(self._recent[-TAIL:]).splitlines()[-25:]
        return "\n".join(printable(self._hidden(line, always=True)) for line in lines)

    def _begun(self) -> Entry | None:
        """The line that has no end yet."""
        at, line = self._lines.began, self._lines.unfinished
        return Entry(at, self.name, Direction.IN, printable(self._hidden(line))) if line else None

    def _hidden(self, line: bytes, *, always: bool = False) -> bytes:
        """Without secrets, which a terminal that echoes shows."""
        for secret, until in self._secrets:
            if not always and time.monotonic() > until:
                continue
            if len(secret) >= SHORT_SECRET:
                line = line.replace(secret, HIDDEN.encode())
            elif line.endswith(secret):
                line = line[: -len(secret)] + HIDDEN.encode()
        return line

    # The reader's thread.

    def _run(self) -> None:
        pause = RETRY[0]
        while not self._closing.is_set():
            if self._link is None and not self._connect():
                self._closing.wait(pause)
                pause = min(pause * 2, RETRY[1])
                continue
            pause = RETRY[0]
            assert self._link is not None
            try:
                data = self._link.read(POLL)
            except (OSError, ValueError) as problem:
                self._disconnect(reason(problem))
                continue
            self._idle = 0 if data else self._idle + 1
            try:
                if data:
                    self._came(data)
                elif self._plain.waits and self.silence > MOMENT:
                    self._said(self._plain.release())
                elif self._idle == IDLE_POLLS:
                    self._look_for_alarm(self._lines.unfinished)
            except Exception as problem:
                # A fault of what looks at the output: the line is read on.
                self.log.add(self.name, Direction.EVENT, f"not looked at: {type(problem).__name__}: {problem}")
        self._disconnect("")

    def _connect(self) -> bool:
        try:
            link = self._make()
        except Exception as problem:
            # Also what no line can be: the thread must live to say so.
            self._trouble, self._errno = str(problem), getattr(problem, "errno", None)
            return False
        self._errno = None
        self._plain = Plain()
        self.log.add(self.name, Direction.EVENT, "connected")
        with self._changed:
            self._link = link
            self._changed.notify_all()
        return True

    def _disconnect(self, why: str) -> None:
        with self._changed:
            link, self._link = self._link, None
            self._trouble = why or "closed"
            self._changed.notify_all()
        if link is None:
            return
        try:
            link.close()
        except OSError:
            pass
        if why and isinstance(link, ProcessLink) and self.lookout is not None:
            self.lookout.ended(why)  # the next is another program
        if why:
            self.log.add(self.name, Direction.EVENT, f"disconnected: {why}")

    def _came(self, data: bytes) -> None:
        if self.tap is not None:
            try:
                self.tap(data)
            except OSError:
                self.tap = None  # its reader is gone
        if self.screen is not None:
            self.screen(data)
        self._said(self._plain.feed(data))

    def _said(self, data: bytes) -> None:
        if data and self.lookout is not None:
            self.lookout.said()
        data = self._shown(data, self.log.now())
        with self._changed:
            self._last_at = time.monotonic()
            self._recent += data
            del self._recent[:-TAIL]
            self._unread += data
            surplus = len(self._unread) - MAX_UNREAD
            if surplus > 0:
                del self._unread[:surplus]
                self._lost += surplus
                self._scanned = max(0, self._scanned - surplus)
            self._changed.notify_all()

    def _shown(self, data: bytes, now: float) -> bytes:
        """Cut into lines and log it; what waits may see."""
        taker = self._taker
        kept = bytearray()
        for at, line in self._lines.feed(data, now):
            if taker is not None and taker(line):
                continue
            kept += line + b"\n"
            self.log.add(self.name, Direction.IN, self._hidden(line), at)
            self._look_for_alarm(line)
            if self.lookout is not None:
                self.lookout.look(line)
        withheld, self._withheld = self._withheld, b"" if taker is None else self._lines.unfinished
        return withheld + data if taker is None else bytes(kept)

    def _look_for_alarm(self, line: bytes) -> None:
        for pattern, meaning in self._alarms:
            if not self._alarm and pattern.search(line):
                self._alarm = f"{meaning}: {printable(line)}"


def _text(data: bytes | bytearray) -> str:
    return data.decode("utf-8", "backslashreplace")
