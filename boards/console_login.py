"""From whatever a console shows to a shell: one loop, until it is there or the time is over.

Each round looks at the last line, without the messages that the kernel and OP-TEE put there: a login prompt gets the
name, a password prompt the password, a prompt a question that only a shell answers. What is refused, flushed or lost
comes again. After a silence a newline asks for the prompt; a bootloader's countdown gets nothing.
"""

from __future__ import annotations

import os
import re
import threading
import time
from typing import TYPE_CHECKING

from boards.console_kernel import own_words
from boards.console_plain import MOMENT, Plain
from boards.console_shell import Shell
from boards.errors import TargetError
from boards.pattern import compile_pattern

if TYPE_CHECKING:
    from boards.catalogue import ShellEntry
    from boards.console import Console

SCREEN = 8192
"""Bytes that are looked at."""
CALM = 0.15
"""Seconds without another word, before a line counts as one that waits."""
LOOK = 0.05
PROBE = 3.0
"""Seconds for a shell to answer."""
REFUSALS = 3
"""Of a name that arrived whole; more may lock an account."""
MAX_REFUSALS = 10
DELAYS = (0.0, 0.5, 1.0, 2.0, 4.0)
"""Seconds before the name is sent, the more often it was: some flush what is typed early."""
MAX_SILENCE = 30.0
FIRST = 0.3
"""Seconds for the prompt of a board that is always on, before it is asked for."""
_OURS = re.compile(r"LBP:[0-9a-f]{8}:\Z")
"""The prompt that a run left which was killed while a command ran."""
_RETURN = re.compile(rb"\r+(?![\r\n])")
_COUNT = re.compile(r"[\s\x08:0-9.]*")


class Screen:
    """What a person would see: a carriage return alone begins a line. Fed by the reader's thread."""

    def __init__(self, begun: bytes = b"") -> None:
        self._lock = threading.Lock()
        self._plain = Plain()
        self._text = bytearray(begun[-SCREEN:])
        self._held = b""
        self._at = time.monotonic()

    def feed(self, data: bytes) -> None:
        with self._lock:
            data = self._held + data
            whole = data.rstrip(b"\r")
            self._held = data[len(whole) :][-1:]
            self._text += self._plain.feed(_RETURN.sub(b"\n", whole) if b"\r" in whole else whole)
            del self._text[:-SCREEN]
            self._at = time.monotonic()

    def text(self) -> str:
        """Without messages."""
        with self._lock:
            if self._plain.waits and time.monotonic() - self._at > MOMENT:
                self._text += self._plain.release()
            return own_words(self._text.decode("utf-8", "backslashreplace"))

    def forget(self) -> None:
        with self._lock:
            self._text.clear()


class Login:
    """One login. always_on: the board may have shown its prompt long ago."""

    def __init__(self, console: Console, entry: ShellEntry, user: str, password: str, *, always_on: bool) -> None:
        self._console = console
        self._entry = entry
        self._user = user
        self._password = password
        self._always_on = always_on
        self._shell = Shell(console)
        self._screen = Screen()
        patterns = (("password", entry.ask_password), ("login", entry.login), ("prompt", entry.prompt))
        self._patterns = [(name, compile_pattern(pattern)) for name, pattern in patterns if pattern]
        self._refused = compile_pattern(entry.refused)
        self._countdown = compile_pattern(entry.countdown)
        self._counts = {"login": 0, "password": 0, "prompt": 0, "refusal": 0, "newline": 0}
        self._answered = False
        """The password was sent, for a name that arrived whole."""
        self._silence = entry.silence
        self._seen = ""
        self._since = time.monotonic()
        self._early = 0.0

    def run(self) -> Shell:
        """A shell that answers. TargetError."""
        deadline = time.monotonic() + self._entry.timeout
        self._screen.feed(self._console.unread)
        self._console.screen = self._screen.feed
        try:
            while time.monotonic() < deadline:
                self._console.check()
                if self._round():
                    return self._shell
                time.sleep(LOOK)
        finally:
            self._console.screen = None
        raise self._failure(f"no shell within {self._entry.timeout:g} s: {self._story()}")

    def _round(self) -> bool:
        text = self._screen.text()
        now = time.monotonic()
        if text != self._seen:
            self._seen, self._since = text, now
        quiet = now - self._since
        if self._counts_down(text):
            return False
        line = text[text.rfind("\n") + 1 :]
        waits = self._what(line) if line.strip() else ""
        if waits:
            return quiet >= CALM and self._answer(waits, line)
        if early := self._what(text):
            # Behind it came what is no prompt: let it pass, but not for ever.
            self._early = self._early or now
            if now - self._early >= self._silence:
                return self._answer(early, text)
        else:
            self._early = 0.0
        if quiet >= (FIRST if self._always_on and not self._counts["newline"] else self._silence):
            self._silence = min(2 * self._silence, MAX_SILENCE)
            self._counts["newline"] += 1
            self._since = now
            self._console.write(b"\n")
        return False

    def _counts_down(self, text: str) -> bool:
        """Whether the last that was said is a bootloader's countdown: a key would stop the boot."""
        data = text.encode()
        ends = [found.end() for found in self._countdown.finditer(data)]
        return bool(ends) and _COUNT.fullmatch(data[ends[-1] :].decode("utf-8", "replace")) is not None

    def _what(self, text: str) -> str:
        data = text.encode()
        if _OURS.search(text):
            return "prompt"
        return next((name for name, pattern in self._patterns if pattern.search(data)), "")

    def _answer(self, waits: str, line: str) -> bool:
        self._counts[waits] += 1
        self._early = 0.0
        if waits == "prompt":
            return self._probe(line)
        if waits == "password":
            whole = self._counts["login"] == 0 or self._user in self._seen
            self._type(self._password, secret=True)
            self._answered = whole
            return False
        if self._counts["password"] and self._refusal():
            raise self._failure(f"the login of {self._user!r} was refused {REFUSALS} times; is the password right?")
        self._shell.login_line = line if "\n" not in line else ""
        time.sleep(DELAYS[min(self._counts["login"], len(DELAYS)) - 1])
        self._type(self._user)
        return False

    def _refusal(self) -> bool:
        """Whether there were too many."""
        again, self._answered = self._answered, False
        if again or self._refused.search(self._seen.encode()):
            self._counts["refusal"] += 1
        return (again and self._counts["refusal"] >= REFUSALS) or self._counts["refusal"] >= MAX_REFUSALS

    def _type(self, text: str, *, secret: bool = False) -> None:
        self._screen.forget()
        self._since = time.monotonic()
        self._console.write(os.fsencode(text) + b"\n", secret=secret)

    def _probe(self, line: str) -> bool:
        self._screen.forget()
        if self._shell.answers(PROBE):
            if _OURS.search(line):
                self._shell.restore_prompt()
            return True
        if self._always_on:
            self._console.write(b"\x03")  # of a line that somebody has begun
        self._since = time.monotonic()
        return False

    def _story(self) -> str:
        said = [f"{count} x {name}" for name, count in self._counts.items() if count]
        return f"seen and answered were {', '.join(said)}" if said else "no prompt came"

    def _failure(self, problem: str) -> TargetError:
        log = self._console.log.path
        tail = self._console.tail
        return TargetError(f"console {self._console.name}: {problem}", output=tail, log="" if log is None else str(log))
