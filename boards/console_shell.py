"""Commands on a POSIX shell behind a line that may echo, interleave kernel messages, and lose or change bytes.

How a command gets there unharmed and runs exactly once:

1. It is sent as assignments, `labab='...'`, in which all but letters, digits and a few signs are octal escapes for
   printf. A piece of such a line is no command that could do harm, and an echo of it contains no marker.
2. The shell prints each variable back. Unless that is what was sent, the line is cancelled (Ctrl-C) and sent again.
   One fault in a name of the form xyxy never makes another such name.
3. `eval "$(printf %b ...)"` runs the pieces, if together they have the right length. The text carries markers of its
   own, with a token that is never used twice, and remembers the token in a variable: when no marker comes back, the
   line can be sent again without running twice.
4. The exit code comes with its complement and twice, so that a lost or doubled digit is noticed.

POSIX.1-2017 XCU: printf (`%b`, `\\0ddd`), `command` (2.9.1: with it a syntax error in `eval` does not end the shell).
"""

from __future__ import annotations

import re
import secrets
import time
from typing import TYPE_CHECKING, NamedTuple

from boards.console_kernel import newest, split
from boards.console_log import Direction, printable
from boards.errors import TargetError
from ta_loader.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from boards.console import Console, Match

STARTS = 4
"""Attempts to start a command before it is sent anew."""
MAX_COMMAND = 1 << 16
"""Bytes."""
MAX_PIECES = 128
"""Of a command, so that the line with their names stays below what busybox' line editor takes (1024)."""
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./=+,-")
PROTOCOL = re.compile(
    r"LB(?:[AV]|[BE][12]):[0-9a-f]{8}:|\bl([a-z]{2})\1(?:='|\$l)|printf 'LB%s|eval \"\$\(printf %b"
    r"|(?:\\0[0-7]{3}[^\\]{0,40}){2}|' V \"\$l"
)
"""Lines of our own doing in a log: of no interest to a reader, unless the line is bad."""


class Running(NamedTuple):
    """A command that was started. began: of the clock `time.monotonic`; newest: `console_kernel.newest` then."""

    command: str
    token: str
    began: float
    newest: float

    def ended_by(self, line: bytes) -> bool:
        """Whether that line of the console tells that it has ended."""
        return f"LBE1:{self.token}:".encode() in line or f"LBE2:{self.token}:".encode() in line


class Completed(NamedTuple):
    """output: without the messages that the kernel printed meanwhile, which are in `kernel`; raw: as it came.

    lost: bytes at the beginning of the output that were too many to be kept.
    """

    command: str
    exit_code: int
    output: str
    raw: str
    kernel: tuple[str, ...]
    seconds: float
    lost: int = 0


class Shell:
    """A shell that is at its prompt.

    attempts: of each step. patience: seconds for a short answer. piece: bytes of one line; a serial driver's input
    queue and busybox' line editor (1024) are small.
    """

    def __init__(self, console: Console, *, attempts: int = 10, patience: float = 3.0, piece: int = 200) -> None:
        self.console = console
        self._attempts = attempts
        self._patience = patience
        self._piece = piece
        self._dirty = False
        self.before: Callable[[], None] = lambda: None
        """Called before each command: who has the console meanwhile gives it back here."""

    def run(self, command: str, timeout: float = 30.0, *, check: bool = False) -> Completed:
        """timeout: seconds for the command itself. check: a code other than 0 is a TargetError.

        TargetError if it does not end in time (it is interrupted, then) or the line is too bad.
        """
        return self.finish(self.start(command), timeout, check=check)

    def start(self, command: str) -> Running:
        """A command that `finish` waits for. The console is its own until then. TargetError, UsageError."""
        self.before()
        encoded = command.encode()
        if b"\0" in encoded or len(encoded) > MAX_COMMAND:
            raise UsageError(f"a command for a shell has no zero byte and at most {MAX_COMMAND} bytes")
        self.console.log.add(self.console.name, Direction.EVENT, f"$ {printable(encoded)}")
        began, last = time.monotonic(), newest(self.console.log, self.console.name)
        token = secrets.token_hex(4)
        text = encode(_script(command, token))
        for _ in range(0, self._attempts, STARTS):
            if self._start(self._transfer(text, token), token):
                return Running(command, token, began, last)
        self._interrupt()
        raise self._failure(f"a command did not start within {self._attempts} attempts")

    def finish(self, running: Running, timeout: float, *, check: bool = False) -> Completed:
        """As `run`, of what `start` has started."""
        try:
            done = self._finish(running, timeout)
        except TargetError:
            self._interrupt()
            raise
        if check and done.exit_code:
            raise self._failure(f"{running.command!r} ended with {done.exit_code}", done.output)
        return done

    def check(self, timeout: float = 30.0) -> None:
        """TargetError unless a shell answers within so many seconds."""
        self.before()
        deadline = time.monotonic() + timeout
        while True:
            token = secrets.token_hex(4)
            self.console.send_line(f"printf 'LB%s:{token}:\\n' A")
            if self.console.poll(f"LBA:{token}:", min(self._patience, timeout)) is not None:
                return
            if time.monotonic() >= deadline:
                raise self._failure(f"no shell answers within {timeout:g} s")
            self._interrupt()

    def _transfer(self, text: str, token: str) -> str:
        """Put `text` into variables of the shell; the line that runs it."""
        pieces = _pieces(text, self._piece)
        if len(pieces) > MAX_PIECES:
            raise UsageError(f"a command of {len(text)} encoded bytes is too long for a line; send a file instead")
        names = [_name(number) for number in range(len(pieces))]
        for name, piece in zip(names, pieces, strict=True):
            line = f"{name}='{piece}';printf 'LB%s:{token}:%s:\\n' V \"${name}\""
            self._confirm(line, f"LBV:{token}:", piece)
        together = "".join(f"${name}" for name in names)
        return f'lbc={together};[ ${{#lbc}} = {len(text)} ]&&eval "$(printf %b "$lbc")"'

    def _confirm(self, line: str, marker: str, value: str) -> None:
        """Send a line until the shell prints `value` after `marker`."""
        for _ in range(self._attempts):
            if self._dirty:
                self._interrupt()
            self.console.send_line(line)
            found = self.console.poll(f"{marker}([^\n]*):$", self._patience)
            if found is not None and found.groups[0] == value:
                return
            self._dirty = True
        raise self._failure(
            f"{self._attempts} attempts to send a command failed; is a shell there, and the line sound?"
        )

    def _start(self, line: str, token: str) -> bool:
        """False if it did not: then a garbled line may have changed a variable that was sound when it was sent."""
        for _ in range(STARTS):
            if self._dirty:
                self._interrupt()
            self.console.send_line(line)
            # Without the first marker the second or one of the end's tells as well that it ran; nothing is taken.
            if self.console.seen(f"LB[BE][12]:{token}:", self._patience):
                return True
            self._dirty = True
        return False

    def _finish(self, running: Running, timeout: float) -> Completed:
        match = self._end(running.token, timeout)
        if match is None:
            raise self._failure(f"{running.command!r} did not end within {timeout:g} s")
        raw = _output(match.before, running.token, second=match.groups[0] == "2")
        output, kernel = split(raw, running.newest, _uptime(match.before, running.token))
        took = time.monotonic() - running.began
        return Completed(running.command, int(match.groups[1]), output, raw, kernel, took, match.lost)

    def _end(self, token: str, timeout: float) -> Match | None:
        """The marker of the end with a sound exit code."""
        deadline = time.monotonic() + timeout
        before, lost = "", 0
        pattern = f"LBE([12]):{token}:([0-9]{{1,3}}):([0-9]{{1,3}}):"
        asked = False
        while True:
            match = self.console.poll(pattern, max(0.0, deadline - time.monotonic()))
            if match is not None:
                match = match._replace(before=before + match.before, lost=lost + match.lost)
                if int(match.groups[1]) + int(match.groups[2]) == 255:
                    return match
                before, lost = match.before, match.lost
            elif asked:
                return None
            else:
                # Both markers may have been lost: a shell that is back at its prompt tells again.
                asked = True
                deadline = time.monotonic() + self._patience
                self.console.send_line('eval "$(printf %b "$lbc")"')

    def _interrupt(self) -> None:
        """Back to an empty command line, whatever was on it."""
        self.console.write(b"\x03\n")
        self.console.quiet(0.1, 1.0)
        self._dirty = False

    def _failure(self, problem: str, output: str | None = None) -> TargetError:
        log = self.console.log.path
        tail = self.console.tail if output is None else output
        return TargetError(f"console {self.console.name}: {problem}", output=tail, log="" if log is None else str(log))


def encode(text: str) -> str:
    """As printf's `%b` decodes it, without a character that a shell gives a meaning."""
    return "".join(chr(byte) if byte in _PLAIN else f"\\0{byte:03o}" for byte in text.encode())


def _name(number: int) -> str:
    """Of a variable; far from every other."""
    return "l" + 2 * (chr(97 + number // 26) + chr(97 + number % 26))


def _pieces(text: str, size: int) -> list[str]:
    """Cut, but never within an escape: a lone backslash at a piece's end would eat the quote in some shells."""
    out: list[str] = []
    while text:
        cut = min(size, len(text))
        escape = text.rfind("\\", max(0, cut - 4), cut)
        if escape >= 0 and cut < len(text) and escape + 5 > cut:
            cut = escape or 5
        out.append(text[:cut])
        text = text[cut:]
    return out


def _script(command: str, token: str) -> str:
    quoted = command.replace("'", "'\\''")
    return (
        f'[ "$lbd" = {token} ]||{{ lbd={token};lbu=;read lbu lbx </proc/uptime;'
        f"echo LBB1:{token}:$lbu:;echo LBB2:{token}:$lbu:;command eval '{quoted}'\n"
        f"lbr=$?;}};echo LBE1:{token}:$lbr:$((255-lbr)):;echo LBE2:{token}:$lbr:$((255-lbr)):"
    )


def _uptime(before: str, token: str) -> float:
    """Seconds since the kernel started when the command did; 0: the shell cannot tell."""
    found = re.search(rf"LBB[12]:{token}:([0-9]{{1,9}}\.[0-9]{{2}}):", before)
    return float(found[1]) if found else 0.0


def _output(before: str, token: str, *, second: bool) -> str:
    """What the command printed, of all that came before the marker of its end."""
    start = before.rfind(f"LBB2:{token}:")
    if start >= 0:
        out = before[start:].partition("\n")[2]
    else:
        start = before.find(f"LBB1:{token}:")
        # The second marker was damaged: its line is not the command's.
        out = before[start:].split("\n", 2)[-1] if start >= 0 else before
    if second:
        out = out[: out.rstrip("\n").rfind("\n") + 1]
    return out
