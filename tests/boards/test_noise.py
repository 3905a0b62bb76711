"""The kernel and OP-TEE speak at any byte of what a command prints: codes and outputs are right all the same."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from boards.console import Console
from boards.console_kernel import split
from boards.console_link import ProcessLink, link_maker
from boards.console_log import Log
from boards.console_shell import Shell
from boards.testing import NoisyLink

COMMANDS = (
    ("echo {n}; (exit {code})", "{n}\n"),
    ("seq 1 40; (exit {code})", "".join(f"{n}\n" for n in range(1, 41))),
    ("printf '{n} no newline'; (exit {code})", "{n} no newline"),
    ("printf 'gr\\303\\274\\303\\237e €'; (exit {code})", "grüße €"),
    ("printf '\\033[1;31mred\\033[0m\\n'; (exit {code})", "red\n"),
    ("i=0; while [ $i -lt 4 ]; do sleep 0.01; echo $i; i=$((i+1)); done; (exit {code})", "0\n1\n2\n3\n"),
    ("echo 'it costs [5.00] or E/TC'; (exit {code})", "it costs [5.00] or E/TC\n"),
)


@pytest.mark.parametrize("count", [60, pytest.param(1000, marks=pytest.mark.fuzz)])
def test_many_commands(count: int) -> None:
    """50 messages a second."""
    links: list[NoisyLink] = []

    def make() -> NoisyLink:
        links.append(NoisyLink(ProcessLink(["/bin/sh", "-i"]), 50.0, seed=count))
        return links[-1]

    dice = random.Random(count)
    wrong: list[object] = []
    with Console("uart", make, Log()) as console:
        shell = Shell(console)
        shell.check(30)
        taken = 0
        for number in range(count):
            command, output = dice.choice(COMMANDS)
            code = dice.randrange(256)
            done = shell.run(command.replace("{n}", str(number)).replace("{code}", str(code)), 60)
            taken += len(done.kernel) + len(done.secure)
            if (done.exit_code, done.output) != (code, output.replace("{n}", str(number))):
                wrong.append(done)
    assert not wrong, wrong[:3]
    assert len(links) == 1
    assert links[0].said > count / 10
    assert taken


@pytest.mark.parametrize("at", range(0, 260, 7))
def test_a_message_at_any_byte(at: int) -> None:
    """One in the output of each command, and in its markers: nobody waits for a repetition."""

    class Once(NoisyLink):
        def read(self, seconds: float) -> bytes:
            data = ProcessLink.read(device, seconds)
            if (begin := data.find(b"\x18LBB1")) >= 0 and not self.said:
                place = min(begin + at, len(data))
                return data[:place] + self._message() + data[place:]
            return data

    device = ProcessLink(["/bin/sh", "-i"])
    with Console("uart", lambda: Once(device), Log()) as console:
        shell = Shell(console)
        shell.check(30)
        began = time.monotonic()
        done = shell.run("printf 'gr\\303\\274\\303\\237e\\n'; (exit 42)")
        assert (done.exit_code, done.output) == (42, "grüße\n")
        assert time.monotonic() - began < 10


def message(seconds: float, text: str) -> str:
    return f"[{seconds:12.6f}] {text}"


def test_a_message_that_the_command_prints_as_well() -> None:
    """The kernel says it on the console, and then `dmesg` prints it."""
    with Console("uart", link_maker("process:/bin/sh -i"), Log()) as console:
        shell = Shell(console)
        shell.check(20)
        now = float(Path("/proc/uptime").read_text().split()[0])
        old, one, two = message(1.5, "old"), message(now + 5, "one"), message(now + 6, "two")
        done = shell.run(f"printf '{one}\\nhel{two}\\nlo\\n{old}\\n{one}\\n{two}\\n'")
        assert done.output == f"hello\n{old}\n{one}\n{two}\n"
        assert done.kernel == (one, two)
        # It came before the command did, while its text was sent.
        three = message(now + 7, "three")
        shell.run(f"(sleep 0.3; echo '{three}') &")
        time.sleep(0.6)
        assert shell.run(f"echo '{three}'").output == f"{three}\n"


def test_split() -> None:
    text = "a\n[    5.000000] new\nb[    6.000000] newer\nc\nE/TC:0 0 panic\n[    1.000000] old\n[    5.000000] new\n"
    parts = split(text, 2.0, 0.0)
    assert parts.output == "a\nbc\n[    1.000000] old\n[    5.000000] new\n"
    assert parts.kernel == ("[    5.000000] new", "[    6.000000] newer")
    assert parts.secure == ("E/TC:0 0 panic",)
    assert parts.doubtful == ()
    assert split(text, 2.0, 0.0, secure=False).output.count("E/TC") == 1
    assert split(text, 2.0, 0.0, printed=frozenset({"[    6.000000] newer"})).output.count("newer") == 1
