"""Commands over lines that lose, double, change and delay bytes: run exactly once, with the right exit code."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boards.console import Console
from boards.console_kernel import split
from boards.console_link import ProcessLink, link_maker
from boards.console_log import Log
from boards.console_script import PRELUDE, encode, name, pieces
from boards.console_shell import MAX_COMMAND, MAX_PIECES, Shell
from boards.errors import TargetError
from boards.testing import FakeLine, Faults
from south.errors import UsageError
from tests.threads import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from boards.console_link import Link

SHELLS = ("/bin/sh -i", "/bin/bash --norc -i")


@pytest.fixture(params=SHELLS, ids=["sh", "bash"])
def shell(request: pytest.FixtureRequest) -> Iterator[Shell]:
    with Console("uart", link_maker(f"process:{request.param}"), Log()) as console:
        made = Shell(console)
        made.check(10)
        yield made


@pytest.mark.parametrize(
    ("command", "code", "output"),
    [
        ("echo hello", 0, "hello\n"),
        ("false", 1, ""),
        ("(exit 255)", 255, ""),
        ("printf 'no newline'", 0, "no newline"),
        ("echo \"it's\" '\"' '$HOME' \\\\ é", 0, "it's \" $HOME \\ é\n"),
        ("for i in 1 2\ndo echo $i\ndone", 0, "1\n2\n"),
        ("echo a # comment", 0, "a\n"),
        ("echo LBE1:0123:0:255:", 0, "LBE1:0123:0:255:\n"),
        ("printf '\\n\\n'", 0, "\n\n"),
        ("nosuchcommand 2>/dev/null", 127, ""),
        ("", 0, ""),
    ],
)
def test_exit_code_and_output(shell: Shell, command: str, code: int, output: str) -> None:
    done = shell.run(command)
    assert (done.exit_code, done.output) == (code, output)


def test_a_syntax_error_is_an_exit_code(shell: Shell) -> None:
    done = shell.run("if", 5)
    assert done.exit_code in (1, 2)
    assert "yntax error" in done.output
    assert shell.run("echo still here").output == "still here\n"


def test_the_shell_keeps_its_state(shell: Shell) -> None:
    shell.run("cd /; x=5")
    assert shell.run("pwd; echo $x").output == "/\n5\n"


def test_a_long_command_and_long_output(shell: Shell) -> None:
    text = "".join(chr(33 + i % 90) for i in range(5000)).replace("'", "-")
    assert shell.run(f"printf %s '{text}'", 60).output == text
    assert shell.run("i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done", 60).output.count("\n") == 3000


def _message(seconds: float, text: str) -> str:
    return f"[{seconds:12.6f}]{text}"


def test_kernel_messages_are_taken_out(shell: Shell) -> None:
    now = float(Path("/proc/uptime").read_text().split()[0])
    first, second = _message(now + 5, " usb 1-1: new device"), _message(now + 6, "[  T42] more")
    done = shell.run(f"printf 'hel{first}\\nlo\\n{second}\\n'")
    assert done.output == "hello\n"
    assert done.kernel == (first, second)
    assert done.raw.startswith("hel[")


def test_messages_of_old_are_the_command_s_output(shell: Shell) -> None:
    now = float(Path("/proc/uptime").read_text().split()[0])
    old, seen, new = (_message(s, " optee: x") for s in (1.790435, now + 1000, now + 1001))
    assert shell.run(f"echo '{old}'").output == f"{old}\n"
    assert shell.run(f"echo '{seen}'").kernel == (seen,)
    done = shell.run(f"printf '{old}\\n{seen}\\n{new}\\n'")  # as dmesg, with one that comes meanwhile
    assert done.output == f"{old}\n{seen}\n"
    assert done.kernel == (new,)


def test_a_command_that_does_not_end_is_interrupted(shell: Shell) -> None:
    began = time.monotonic()
    impatient = Shell(shell.console, patience=0.3)
    with pytest.raises(TargetError, match=r"'sleep 1000' did not end within 0\.5 s"):
        impatient.run("sleep 1000", 0.5)
    assert time.monotonic() - began < PATIENCE
    assert shell.run("echo back").output == "back\n"


def test_check(shell: Shell) -> None:
    with pytest.raises(TargetError, match="ended with 3"):
        shell.run("echo why; (exit 3)", check=True)


def test_no_shell_there() -> None:
    with Console("uart", link_maker("process:/bin/cat"), Log()) as console:
        with pytest.raises(TargetError, match="no shell answers"):
            Shell(console, patience=0.2).check(0.5)
        with pytest.raises(TargetError, match="attempts to send a command failed"):
            Shell(console, patience=0.1, attempts=2).run("true")


def test_commands_that_cannot_be_sent() -> None:
    with Console("uart", link_maker("process:/bin/cat"), Log()) as console:
        for command in ("a\0b", "x" * (MAX_COMMAND + 1)):
            with pytest.raises(UsageError):
                Shell(console).run(command)


@pytest.mark.parametrize(
    "faults",
    [
        Faults(drop=0.001),
        Faults(double=0.001),
        Faults(garble=0.001),
        Faults(delay=0.01),
        Faults(drop=0.001, double=0.001, garble=0.001, delay=0.002),
    ],
    ids=["drop", "double", "garble", "delay", "all"],
)
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.fuzz), pytest.param(2, marks=pytest.mark.fuzz)])
def test_a_bad_line_runs_each_command_once(faults: Faults, seed: int, tmp_path: Path) -> None:
    count = tmp_path / "count"
    with FakeLine(link_maker("process:/bin/sh -i"), faults, seed) as line:
        with Console("uart", line.make, Log()) as console:
            shell = Shell(console, patience=0.3, attempts=40, piece=60)
            shell.check(30)
            for number in range(4):
                done = shell.run(f"echo {number} >> '{count}'; (exit {number * 11 % 256})", 20)
                assert done.exit_code == number * 11 % 256
    assert count.read_text() == "".join(f"{number}\n" for number in range(4))


class LateLink:
    """Holds back what answers a line with `variable`, until the line comes again; that one is garbled."""

    def __init__(self, device: Link, variable: bytes) -> None:
        self._device = device
        self._start = variable + b"='"
        self._held = b""
        self.copies = 0

    def read(self, seconds: float) -> bytes:
        self._held += self._device.read(seconds)
        if self.copies == 1:
            return b""
        data, self._held = self._held, b""
        return data

    def write(self, data: bytes) -> None:
        if data.startswith(self._start):
            self.copies += 1
            if self.copies == 2:
                at = len(self._start)
                data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        self._device.write(data)

    def close(self) -> None:
        self._device.close()


@pytest.mark.parametrize("variable", ["laaaa", "labab"])
def test_a_late_answer_is_no_answer_to_the_next_attempt(variable: str) -> None:
    link = LateLink(ProcessLink(["/bin/sh", "-i"]), variable.encode())
    with Console("uart", lambda: link, Log()) as console:
        shell = Shell(console, patience=0.3)
        shell.check(PATIENCE)
        assert shell.run("echo sound", PATIENCE).output == "sound\n"
        # A piece of the prelude that stayed garbled would have made it worthless.
        console.send_line("\\printf '%s\\n' \"$lbprel\"; echo 'LB'END")
        assert PRELUDE in console.expect("LBEND", PATIENCE).data.decode().replace("\r", "")
    assert link.copies >= 3


def test_a_prelude_that_changed_on_its_way_is_sent_again() -> None:
    """As a garbled line of another variable does it, which no answer shows."""

    class Once(LateLink):
        def write(self, data: bytes) -> None:
            if data.startswith(b"lbprel=") and not self.copies:
                self.copies = 2
                self._device.write(b"labab=\n")
            self._device.write(data)

    link = Once(ProcessLink(["/bin/sh", "-i"]), b"")
    with Console("uart", lambda: link, Log()) as console:
        shell = Shell(console, patience=0.3)
        shell.check(PATIENCE)
        assert shell.run("echo sound", PATIENCE).output == "sound\n"


@given(st.text(max_size=200).filter(lambda text: "\0" not in text))
def test_an_encoded_command_has_no_shell_syntax(text: str) -> None:
    encoded = encode(text)
    assert re.fullmatch(r"(?:[A-Za-z0-9_./=+,-]|\\0[0-7]{3})*", encoded)
    parts = pieces(encoded, 20)
    assert "".join(parts) == encoded
    assert all(re.fullmatch(r"(?:[A-Za-z0-9_./=+,-]|\\0[0-7]{3})+", piece) and len(piece) <= 20 for piece in parts)


@settings(max_examples=15)
@given(st.text(max_size=60).filter(lambda text: "\0" not in text and not text.endswith("\n")))
def test_printf_decodes_what_is_encoded(text: str) -> None:
    try:
        data = text.encode()
    except UnicodeEncodeError:
        return
    done = subprocess.run(["/bin/sh", "-c", 'printf %b "$1"', "sh", encode(text)], capture_output=True, check=True)
    assert done.stdout == data


@given(st.text(alphabet="[]0123456789. TC\nab", max_size=80))
def test_kernel_messages_never_eat_more_than_their_line(text: str) -> None:
    parts = split(text, -1, 0)
    assert parts.output.count("\n") >= text.count("\n") - len(parts.kernel) - len(parts.secure)


def test_one_fault_makes_no_other_variable() -> None:
    names = {name(number) for number in range(MAX_PIECES)}
    assert len(names) == MAX_PIECES
    for one in names:
        for at in range(len(one)):
            near = {one[:at] + one[at + 1 :], one[: at + 1] + one[at:]}
            near |= {one[:at] + chr(ord(one[at]) ^ 1 << bit) + one[at + 1 :] for bit in range(8)}
            assert not near & names
