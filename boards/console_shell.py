"""Commands on a POSIX shell behind a line that may echo, interleave kernel messages, and lose or change bytes.

How a command gets there unharmed and runs exactly once:

1. It is sent as assignments, `labab='...'`, in which all but letters, digits and a few signs are octal escapes for
   printf. A piece of such a line is no command that could do harm, and an echo of it contains no marker.
2. The shell prints each variable back. Unless that is what was sent, the line is cancelled (Ctrl-C) and sent again.
   One fault in a name of the form xyxy never makes another such name.
3. `eval "$(printf %b ...)"` runs the pieces, if together they have the right length. The text carries markers of its
   own, with a token that is never used twice, and remembers the token in a variable: when no marker comes back, the
   line can be sent again without running twice.
4. The exit code comes with its complement and three times, so that a lost or doubled digit is noticed.

A program that may still run gets Ctrl-C and nothing else: a line typed at it would be its input. While a command runs,
the prompt (PS1) is a marker, so that the shell is known to be back (`boards.console_script`).
"""

from __future__ import annotations

import re
import secrets
import time
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from boards.console_kernel import ANYTHING, GAP, MESSAGE, newest, newest_in, own_words, split
from boards.console_log import Direction, printable
from boards.console_script import (
    ASK,
    COPIES,
    PRELUDE,
    PROTOCOL,
    RESTORE,
    Markers,
    encode,
    name,
    octets,
    own_line,
    pieces,
    prelude_line,
    probe,
    script,
    start_line,
    variable_line,
    without_ends,
)
from boards.errors import CommandTimeout, TargetError, TargetRestarted
from south.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from boards.console import Console, Match

STARTS = 4
"""Attempts to start a command before it is sent again."""
MAX_COMMAND = 1 << 20
"""Bytes."""
MAX_PIECES = 128
"""Of a command that does not go as a file, so that the line with their names is one that busybox' line editor takes
(1024)."""
MAX_PROMPT = 200
"""Characters of a prompt that is remembered."""
INTERRUPTS = 3
"""Ctrl-C for a command that does not end, before the console counts as its own."""
SLICE = 0.1
"""Seconds between looks at the prompt."""
POSIX, OTHERS = 3, {2: "fish", 4: "tcsh or csh"}
"""Backslashes in the answer to `probe`."""
ENDED = 2.0
"""Seconds that a login's prompt stands there."""
BUSY = 0.5
"""A line that was silent for less, in seconds, may have what is waited for under way."""


class Running(NamedTuple):
    """A command that was started. began: of the clock `time.monotonic`. newest: `console_kernel.newest` then. prompt:
    the line that stood there."""

    command: str
    token: str
    began: float
    newest: float
    prompt: str
    markers: Markers

    def ended_by(self, line: bytes) -> bool:
        """Whether that line of the console shows that it has ended."""
        return any(f"LBE{number}:{self.token}:".encode() in line for number in range(1, COPIES + 1))


class Completed(NamedTuple):
    """output: without the messages that came meanwhile from the kernel, which are in `kernel`, and from OP-TEE on the
    same line, in `secure`; raw: as it came.

    lost: bytes at the beginning of the output that were too many to be kept.
    """

    command: str
    exit_code: int
    output: str
    raw: str
    kernel: tuple[str, ...]
    seconds: float
    lost: int = 0
    secure: tuple[str, ...] = ()


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
        self._running: Running | None = None
        self._prepared = False
        self._gone = False
        self._prompt = ""
        self.lost = ""
        """Why no command can be sent any more, "" if one can."""
        self.restarted: Callable[[], str] = lambda: ""
        """Asked while a command runs: what the board said when it started again, "" if it did not."""
        self.login_line = ""
        """As the login's prompt stood on the console."""
        self.before: Callable[[], None] = lambda: None
        """Called before each command: who has the console meanwhile gives it back here."""

    def run(
        self,
        command: str,
        timeout: float = 30.0,
        *,
        check: bool = False,
        subshell: bool = False,
        shown: str | None = None,
    ) -> Completed:
        """timeout: seconds for the command itself. check: a code other than 0 is a TargetError. subshell: `exit` ends
        the command alone, and what it sets is gone afterwards. shown: in the log instead of the command.

        CommandTimeout if it does not end in time; it is interrupted, then. TargetError if the line is too bad.
        """
        return self.finish(self.start(command, subshell=subshell, shown=shown), timeout, check=check)

    def put(self, source: Path | bytes, path: str, *, mode: int | None = None) -> None:
        """A file on the board with the content of one of ours, or these bytes. It replaces another as a whole.

        mode: its permissions; None: those of `source`, for bytes the shell's own. UsageError for what cannot be read
        or written, TargetError.
        """
        from boards.shell_files import local_file, put

        data, found = (source, None) if isinstance(source, bytes) else local_file(source)
        put(self, data, path, mode=found if mode is None else mode)

    def get(self, path: str) -> bytes:
        """The content of a file of the board. UsageError for one that cannot be read, TargetError."""
        from boards.shell_files import get

        return get(self, path)

    def start(self, command: str, *, subshell: bool = False, shown: str | None = None) -> Running:
        """A command that `finish` waits for. The console is its own until then. TargetError, UsageError."""
        self.before()
        encoded = octets(command)
        if b"\0" in encoded or len(encoded) > MAX_COMMAND:
            raise UsageError(f"a command for a shell has no zero byte and at most {MAX_COMMAND} bytes")
        self._ready()
        token = secrets.token_hex(4)
        text = encode(script(command, token, subshell=subshell))
        if len(text) > self.room:
            text = encode(script(self._as_file(encoded, token), token, subshell=subshell))
        self.console.log.add(self.console.name, Direction.EVENT, f"$ {printable(encoded) if shown is None else shown}")
        running = Running(
            command,
            token,
            time.monotonic(),
            newest(self.console.log, self.console.name),
            self._prompt,
            Markers(token),
        )
        for _ in range(0, self._attempts, STARTS):
            self._prepare()
            if self._start(start_line(self._transfer(text), len(text), token), running):
                return running
        self._interrupt()
        raise self._failure(f"a command did not start within {self._attempts} attempts")

    def finish(self, running: Running, timeout: float, *, check: bool = False) -> Completed:
        """As `run`, of what `start` has started."""
        try:
            match = self._end(running, timeout)
        except TargetError:
            self._running = None  # nothing may be typed at what is there now
            raise
        ending = _Ending.of(match) if match else self._late(running, timeout)
        if not ending.number and not ending.code:
            answer = self._ask(running)
            ending = ending._replace(code=answer or "")
            self._restore()
        self._running = None
        if self.console.lookout is not None:
            self.console.lookout.forget()
        if self.console.alarm and "/TC:" not in self.console.alarm:
            self.console.clear_alarm()  # a command has printed it: the shell is alive
        if not ending.code:
            raise self._failure(f"the shell went back to its prompt before {running.command!r} had ended")
        done = _completed(running, ending)
        if check and done.exit_code:
            raise self._failure(f"{running.command!r} ended with {done.exit_code}", done.output)
        return done

    def check(self, timeout: float = 30.0) -> None:
        """TargetError unless a POSIX shell answers within so many seconds."""
        self.before()
        deadline = time.monotonic() + timeout
        while not self.answers(min(self._patience, timeout)):
            if time.monotonic() >= deadline:
                raise self._failure(f"no shell answers within {timeout:g} s")
            self._interrupt()

    def answers(self, patience: float) -> bool:
        """Whether a shell does, within so many seconds. TargetError for one that is no POSIX shell."""
        before = 0
        while True:
            token = secrets.token_hex(4)
            self.console.send_line(probe(token))
            match = self.console.poll(own_line(f"LBA:{token}:", rf"(\\{{1,6}}){GAP}:"), patience)
            if match is None:
                return False
            count = len(match.groups[0])
            if count == POSIX:
                self._learn_prompt()
                return True
            # One that answers the same twice is no other because of a byte that was lost.
            if count == before and count in OTHERS:
                self.lost = (
                    f"the user's shell is {OTHERS[count]}; commands need a POSIX shell, such as sh, bash, dash, "
                    "busybox, ksh or zsh: give the user another (chsh), or name another user in [shell]"
                )
                raise self._failure(self.lost)
            before = count

    @property
    def restarted_already(self) -> bool:
        """Whether a command ended by that."""
        return self._gone

    def restore_prompt(self) -> None:
        """Of a run before this one."""
        self._restore()
        self._learn_prompt()

    def _ready(self) -> None:
        """TargetError unless the shell is at its prompt, as far as is known."""
        if self.lost:
            raise self._failure(self.lost)
        running, self._running = self._running, None
        if running is not None and self._regain(running) is None:
            self.lost = f"{running.command!r} has the console until the board is turned off"
            raise self._failure(self.lost)
        self._learn_prompt()

    def _learn_prompt(self) -> None:
        line = self.console.last_line
        if line and len(line) <= MAX_PROMPT and not line.startswith("LBP:"):
            self._prompt = line

    @property
    def room(self) -> int:
        """Characters of an encoded script that need not go as a file."""
        return self._piece * (MAX_PIECES - 8)

    def _as_file(self, command: bytes, token: str) -> str:
        """What runs a command that is too long for a line from a file, which is gone when it begins."""
        path = f"/tmp/litebox-{token}"
        self.put(b"rm -f %s\n%s\n" % (path.encode(), command), path, mode=0o600)
        return f"\\. {path}"

    def _transfer(self, text: str) -> list[str]:
        """Put `text` into variables of the shell; their names."""
        parts = pieces(text, self._piece)
        names = [name(number) for number in range(len(parts))]
        for variable, part in zip(names, parts, strict=True):
            if not self._confirm(partial(variable_line, variable, part), "V", part, self._attempts):
                raise self._unsent()
        return names

    def _prepare(self) -> None:
        """What all commands have in common, once for a shell."""
        for _ in range(0, self._attempts, STARTS):
            if self._prepared:
                return
            # If the length stays wrong, a garbled line has changed a variable that was sound: all are sent again.
            line = partial(prelude_line, self._transfer(encode(PRELUDE)))
            self._prepared = self._confirm(line, "Q", str(len(PRELUDE)), STARTS)
        if not self._prepared:
            raise self._unsent()

    def _confirm(self, line: Callable[[str], str], kind: str, value: str, attempts: int) -> bool:
        """Send `line` of a token until the shell prints `value` in its answer; False after so many attempts.

        Each attempt has a token of its own. With one for all, an answer to the first that comes late would confirm
        the second, while that one is still on its way and may yet arrive garbled. Later attempts wait longer, so that
        a board that is merely slow is understood in the end.
        """
        for attempt in range(attempts):
            if self._dirty:
                self._interrupt()
            token = secrets.token_hex(4)
            self.console.send_line(line(token))
            patience = self._patience * (1 + attempt // STARTS)
            found = self.console.poll(own_line(f"LB{kind}:{token}:", f"({ANYTHING}):{GAP}$"), patience)
            if found is not None and own_words(found.groups[0]) == value:
                return True
            self._dirty = True
        return False

    def _unsent(self) -> TargetError:
        return self._failure(
            f"{self._attempts} attempts to send a command failed; is a shell there, and the line sound?"
        )

    def _start(self, line: str, running: Running) -> bool:
        """False if it did not: then a garbled line may have changed a variable that was sound when it was sent."""
        self._running = running
        for _ in range(STARTS):
            if self._dirty:
                self._interrupt()
                if self.console.seen(running.markers.end, 0.0, alarms=False):
                    return True  # it ran, unseen, and the interrupt was its
            self.console.send_line(line)
            # Without the first marker another or one of the end's shows as well that it ran; nothing is taken.
            if self._seen(running.markers.begun):
                if not self.console.seen(running.markers.missing, 0.0, alarms=False):
                    return True
                self._prepared = False  # another shell, perhaps: `exec sh`
                break
            self._dirty = True
        self._running = None
        return False

    def _seen(self, pattern: re.Pattern[bytes]) -> bool:
        """With more patience while the line is busy."""
        for _ in range(STARTS):
            if self.console.seen(pattern, self._patience, alarms=False):
                return True
            if self.console.silence > BUSY:
                break
        return False

    def _end(self, running: Running, timeout: float) -> Match | None:
        """The marker of the end with a sound exit code, or the prompt."""
        deadline = time.monotonic() + timeout
        before, lost = b"", 0
        while True:
            match = self.console.poll(
                running.markers.end,
                max(0.0, deadline - time.monotonic()),
                alarms=False,
                watch=lambda: self._watch(running),
            )
            if match is None:
                return None
            match = match._replace(data=before + match.data, lost=lost + match.lost)
            if not match.groups[0] or sum(int(own_words(group)) for group in match.groups[1:]) == 255:
                return match
            before, lost = match.data + match.text.encode(), match.lost

    def _watch(self, running: Running) -> None:
        """TargetError if there is no shell any more that could end the command."""
        console = self.console
        if said := self.restarted():
            self._restart(f"the board started again while {running.command!r} ran: {said}")
        if self.login_line and console.last_line == self.login_line and console.silence >= ENDED:
            self._restart(f"{running.command!r} ended the shell: {self.login_line}")
        if console.alarm and console.silence >= _patience(console.alarm, running.newest):
            raise self._failure(console.alarm)

    def _restart(self, why: str) -> None:
        self.lost, self._gone = why, True
        raise self._failure(why, kind=TargetRestarted)

    def _late(self, running: Running, timeout: float) -> _Ending:
        """CommandTimeout for a command that did not end in time, unless it did and the line lost that."""
        tail = self.console.tail
        if self.console.lookout is not None and self.console.lookout.line:
            # A key would stop the bootloader.
            self._restart(f"the board started again while {running.command!r} ran: {self.console.lookout.line}")
        ending = self._regain(running)
        if ending is not None and ending.code and not ending.number:
            return ending
        problem = f"{running.command!r} did not end within {timeout:g} s"
        if ending is None:
            self.lost = f"{problem}, nor at Ctrl-C: it has the console until the board is turned off"
            problem = self.lost
        self._running = None
        raise self._failure(problem, tail, CommandTimeout)

    def _regain(self, running: Running) -> _Ending | None:
        """Ctrl-C until the shell is at its prompt; nothing else is typed before. None: it has not come back."""
        for _ in range(INTERRUPTS):
            self.console.write(b"\x03")
            deadline = time.monotonic() + self._patience
            while time.monotonic() < deadline:
                match = self.console.poll(running.markers.end, SLICE)
                if match is not None and match.groups[0]:
                    return _Ending.of(match)
                if match is not None:
                    self._restore()
                    return _Ending(b"", "", "")
                if running.prompt and self.console.last_line == running.prompt:
                    # The shell's own prompt: an end that was not noticed, or PS1 was changed.
                    before = self.console.tail.encode()
                    code = self._ask(running)
                    if code is None:
                        break
                    return _Ending(before, "", code)
        return None

    def _ask(self, running: Running) -> str | None:
        """The exit code, of a shell at its prompt; "" if the command did not end, None without an answer."""
        for _ in range(STARTS):
            self.console.send_line(ASK)
            match = self.console.poll(running.markers.answer, self._patience)
            if match is not None:
                code, other = map(own_words, match.groups[1:])
                return code if code and int(code) + int(other or 0) == 255 else ""
        return None

    def _restore(self) -> None:
        """The prompt, as it was."""
        for _ in range(STARTS):
            token = secrets.token_hex(4)
            self.console.send_line(f"{RESTORE};\\printf 'LB%s:{token}:\\n' R")
            if self.console.poll(own_line(f"LBR:{token}:"), self._patience) is not None:
                return
        self._dirty = True

    def _interrupt(self) -> None:
        """Back to an empty command line, whatever was on it."""
        self.console.write(b"\x03")
        self.console.quiet(0.1, 1.0)
        self._dirty = False

    def _failure(self, problem: str, output: str | None = None, kind: type[TargetError] = TargetError) -> TargetError:
        log = self.console.log.path
        tail = self.console.tail if output is None else output
        # The user's own lines, as far as there are some.
        tail = "\n".join([line for line in tail.splitlines() if line and not PROTOCOL.search(line)]) or tail
        return kind(f"console {self.console.name}: {problem}", output=tail, log="" if log is None else str(log))


def _patience(alarm: str, newest: float) -> float:
    """Seconds of silence after which an alarm while a command runs is no text that it printed."""
    message = MESSAGE.search(alarm)
    if message is not None:
        return 2.0 if float(message[1]) > newest else float("inf")
    return 10.0 if newest >= 0.0 and "/TC:" not in alarm else 3.0


class _Ending(NamedTuple):
    """data: all that came before the marker. number: the marker's, "" if it was the prompt. code: "" if unknown.

    lost: bytes before it that were not kept.
    """

    data: bytes
    number: str
    code: str
    lost: int = 0

    @classmethod
    def of(cls, match: Match) -> _Ending:
        return cls(match.data, match.groups[0], match.groups[1], match.lost)


def _completed(running: Running, ending: _Ending) -> Completed:
    # A message may stand within a character, so characters are made of bytes when messages are gone.
    text = ending.data.decode("latin-1")
    began = running.markers.started(text)
    raw = without_ends(began.output, int(ending.number) - 1) if ending.number else began.output
    start = newest_in(began.earlier, running.newest)
    parts = split(raw, start, began.uptime)
    return Completed(
        running.command,
        int(own_words(ending.code)),
        _text(parts.output),
        _text(raw),
        tuple(map(_text, parts.kernel)),
        time.monotonic() - running.began,
        ending.lost,
        tuple(map(_text, parts.secure)),
    )


def _text(latin: str) -> str:
    return latin.encode("latin-1").decode("utf-8", "backslashreplace")
