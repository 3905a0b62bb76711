"""The shells that boards have, with what a user sets in them."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING

import pytest

from boards.console import Console
from boards.console_link import link_maker
from boards.console_log import Log
from boards.console_shell import Shell
from boards.errors import CommandTimeout, TargetError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SHELLS = ("dash -i", "bash --norc --noprofile -i", "busybox ash -i", "mksh -i", "ksh -i", "zsh -f -i")
SETTINGS = (
    "set -u",
    "IFS=0123456789",
    "IFS=:",
    "alias echo='echo -n' printf=false eval=false read=false command=false",
    "set -x",
    "set -f",
    "set -C",
    "stty -echo",
    "stty -onlcr",
    "PS1='a b> '",
    "PS1=",
    "unset PS1",
    "cd /; PS1='$PWD# '",
    "LC_ALL=C; export LC_ALL",
    "set -- one two three",
)


def program(words: str) -> str:
    name = words.split()[0]
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    return f"process:env ENV= {words}"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What this machine's user has in his start files is not tried here, and histories go elsewhere."""
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture(params=SHELLS, ids=[words.split()[0] for words in SHELLS])
def shell(request: pytest.FixtureRequest) -> Iterator[Shell]:
    with Console("uart", link_maker(program(request.param)), Log()) as console:
        made = Shell(console)
        made.check(20)
        yield made


def test_commands(shell: Shell) -> None:
    for command, code, output in (
        ("echo hi; (exit 3)", 3, "hi\n"),
        ("cat <<'EOF'\na 'q' \"d\" $x\nEOF", 0, "a 'q' \"d\" $x\n"),
        ("false | true", 0, ""),
        ("x='a b'; printf '%s\\n' \"$x\" | tr a-z A-Z", 0, "A B\n"),
        ("printf 'no newline'", 0, "no newline"),
        ("cd /; y=5", 0, ""),
        ("pwd; echo $y", 0, "/\n5\n"),
    ):
        done = shell.run(command)
        assert (done.exit_code, done.output) == (code, output), command
    assert shell.run("y=6; exit 7", subshell=True).exit_code == 7
    assert shell.run("echo $y").output == "5\n"


def test_a_syntax_error(shell: Shell) -> None:
    said = ""
    try:
        assert shell.run("if", 5).exit_code
    except TargetError as problem:
        said = problem.problem
    assert not said or "went back to its prompt" in said  # mksh gives up the whole line
    assert shell.run("echo still here").output == "still here\n"


def test_time_out(shell: Shell) -> None:
    for command in ("sleep 60; echo never", "read x; echo never"):
        with pytest.raises(CommandTimeout):
            shell.run(command, 0.3)
        done = shell.run("echo on; (exit 9)")
        assert (done.exit_code, done.output) == (9, "on\n")


@pytest.mark.parametrize("setting", SETTINGS)
def test_settings(setting: str) -> None:
    for words in ("dash -i", "bash --norc --noprofile -i"):
        if shutil.which(words.split()[0]) is None:
            continue
        with Console("uart", link_maker(program(words)), Log()) as console:
            shell = Shell(console)
            shell.check(20)
            shell.run(setting)
            for code in (0, 3, 117, 255):
                done = shell.run(f"/bin/echo one; (exit {code})")
                assert done.exit_code == code
                assert "one\n" in done.output if setting == "set -x" else done.output == "one\n"
            with pytest.raises(CommandTimeout):
                shell.run("sleep 60", 0.3)
            assert shell.run("(exit 5)").exit_code == 5


def test_what_a_shell_is_given_stays(shell: Shell) -> None:
    shell.run("umask 027; f() { echo from f; }; trap 'echo trapped' USR1")
    assert shell.run("umask; f; kill -USR1 $$").output.split("\n")[0].endswith("027")
    assert shell.run("f").output == "from f\n"


def test_another_shell_takes_its_place() -> None:
    with Console("uart", link_maker(program("dash -i")), Log()) as console:
        shell = Shell(console)
        shell.check(20)
        assert shell.run("echo $0; (exit 3)").exit_code == 3
        console.send_line("exec env PS1='new# ' dash -i")
        console.expect("new# $", 20)
        began = time.monotonic()
        assert shell.run("echo one; (exit 4)").exit_code == 4
        assert time.monotonic() - began < 15


@pytest.mark.parametrize("words", ["fish --private", "tcsh -f"])
def test_shells_that_are_refused(words: str) -> None:
    with Console("uart", link_maker(program(words)), Log()) as console:
        shell = Shell(console)
        began = time.monotonic()
        with pytest.raises(TargetError, match=f"the user's shell is {words.split()[0]}.*need a POSIX shell"):
            shell.check(60)
        with pytest.raises(TargetError, match="need a POSIX shell"):
            shell.run("true")
        assert time.monotonic() - began < 30
