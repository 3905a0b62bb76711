"""Commands that do not end, ask, or end the shell: nothing is typed at them. Another run's board is not switched."""

from __future__ import annotations

import json
import socket
import sys
import time
from typing import TYPE_CHECKING

import pytest

from boards.board import Board
from boards.catalogue import read_board
from boards.console import Console
from boards.console_link import link_maker
from boards.console_log import Log
from boards.console_shell import Shell
from boards.errors import CommandTimeout, TargetError
from boards.testing import FakeLine
from ta_loader.cli import main
from ta_loader.cli.board import BOARD_FAILED, TIMED_OUT
from tests.boards.kit import desk, switched

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STUBBORN = """
import os, signal, sys, time, tty
for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP):
    signal.signal(number, signal.SIG_IGN)
{raw}
print("Press Enter to erase", flush=True)
end = time.monotonic() + float(sys.argv[2])
os.set_blocking(0, False)
got = b""
while time.monotonic() < end:
    try:
        got += os.read(0, 100)
    except BlockingIOError:
        time.sleep(0.01)
    open(sys.argv[1], "wb").write(got)
os.set_blocking(0, True)
"""
"""Ignores Ctrl-C, and writes down what is typed at it."""


@pytest.fixture
def shell() -> Iterator[Shell]:
    with Console("uart", link_maker("process:/bin/sh -i"), Log()) as console:
        made = Shell(console, patience=1.0)
        made.check(20)
        yield made


def test_a_command_that_asks_is_not_answered(shell: Shell, tmp_path: Path) -> None:
    for number, ask in enumerate(("read x", "head -n 1 >/dev/null", "(read x)", "cat >/dev/null")):
        erased = tmp_path / f"erased{number}"
        with pytest.raises(CommandTimeout, match=r"did not end within 0\.3 s") as caught:
            shell.run(f"printf 'Press Enter to erase: '; {ask}; touch {erased}", 0.3)
        assert "Press Enter to erase" in caught.value.output
        assert "LBB" not in caught.value.output
        assert shell.run("echo on; (exit 3)").exit_code == 3
        assert not erased.exists()


@pytest.mark.parametrize("raw", ["", "tty.setraw(0)"], ids=["cooked", "raw"])
def test_a_program_that_ignores_ctrl_c_gets_nothing_else(shell: Shell, tmp_path: Path, raw: str) -> None:
    program, got = tmp_path / "program.py", tmp_path / "got"
    program.write_text(STUBBORN.format(raw=raw))
    with pytest.raises(CommandTimeout, match="it has the console until the board is turned off"):
        shell.run(f"{sys.executable} {program} {got} 60", 1.0)
    began = time.monotonic()
    with pytest.raises(TargetError, match="it has the console"):
        shell.run("echo next")
    assert time.monotonic() - began < 5
    assert set(got.read_bytes()) == ({3} if raw else set())


def test_an_exception_while_a_command_runs(shell: Shell, tmp_path: Path) -> None:
    """As of a test's own time limit: the next command is no input of the one that runs."""
    got = tmp_path / "got"
    shell.start(f"read x; echo $x >{got}; sleep 60")
    assert shell.run("echo next").output == "next\n"
    assert not got.exists()


def test_the_prompt_is_as_it_was(shell: Shell) -> None:
    before = shell.run('echo "<$PS1>"').output
    with pytest.raises(CommandTimeout):
        shell.run("sleep 60", 0.2)
    shell.run("true")
    shell.console.discard()
    shell.console.send_line('echo "($PS1)"')
    prompt = shell.console.expect(r"^\((.*)\)$", 10).groups[0]
    assert not prompt.startswith("LBP"), before


def test_what_the_command_did_before_its_end(shell: Shell) -> None:
    """One that takes Ctrl-C for an end of its own: it was too late all the same."""
    with pytest.raises(CommandTimeout):
        shell.run("(trap 'exit 0' INT; while :; do sleep 0.1; done)", 0.5)
    assert shell.run("echo on").output == "on\n"


def test_exit_codes_of_board_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    erased = tmp_path / "erased"
    words = ["board", "run", "host", "--to", "shell", "-q"]
    assert main([*words, "--", "exit 3"]) == 3
    assert main([*words, "--", f"{sys.executable} -c 'raise SystemExit(9)'; exit"]) == 9
    assert main([*words, "--json", "--", "set -e; false; echo never"]) == 1
    assert json.loads(capsys.readouterr().out)["commands"][0]["output"] == ""
    assert main([*words, "--timeout", "1", "--", f"printf 'Erase? '; read x; touch {erased}"]) == TIMED_OUT == 124
    assert "did not end within 1 s" in capsys.readouterr().err
    assert not erased.exists()


def test_another_run_s_board_is_not_switched(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with FakeLine(link_maker("process:/bin/cat")) as line, socket.create_server(("127.0.0.1", 0)) as server:
        # A serial server takes anybody; a port of its own lock would refuse the second.
        for port in (line.path, f"socket://127.0.0.1:{server.getsockname()[1]}"):
            path = desk(tmp_path, secure=port)
            entry = read_board(path)
            with Board(entry, tmp_path / "one") as board:
                board.advance_to("shell")
                before = switched(tmp_path)
                assert "on" in before
                assert main(["board", "run", str(path), "--", "true"]) == BOARD_FAILED
                assert "in use by another run" in capsys.readouterr().err
                with Board(entry, tmp_path / "two") as other:
                    for _ in range(2):
                        with pytest.raises(TargetError):
                            other.power_cycle()
                assert switched(tmp_path) == before, port
                assert board.run("echo here").output == "here\n"
            assert switched(tmp_path)[-1] == "off"


def test_a_port_that_another_program_has(tmp_path: Path) -> None:
    pytest.importorskip("serial")
    with FakeLine(link_maker("process:/bin/cat")) as line:
        path = desk(tmp_path, secure=line.path, timeout=20)
        theirs = link_maker(line.path)()
        try:
            with Board(read_board(path), tmp_path / "run") as board, pytest.raises(TargetError, match="no connection"):
                board.advance_to("shell")
        finally:
            theirs.close()
    assert not switched(tmp_path)


def test_a_port_that_comes_with_the_power(tmp_path: Path) -> None:
    """An adapter on the board itself."""
    pytest.importorskip("serial")
    port = tmp_path / "port"
    with FakeLine(link_maker("process:/bin/cat")) as line:
        path = desk(tmp_path, secure=str(port), on=f"ln -s {line.path} {port}")
        with Board(read_board(path), tmp_path / "run") as board:
            board.advance_to("shell")
