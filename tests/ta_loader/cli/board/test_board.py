"""`litebox-ta board` as its users call it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from boards.testing import fake_board
from ta_loader.cli import main
from ta_loader.cli.board import ACTIONS, BOARD_FAILED, action

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["board", "--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in ACTIONS)
    assert "exit codes" in text
    assert main(["board"]) == 2
    for name in ACTIONS:
        assert main(["board", name, "--help"]) == 0
        assert "examples:" in capsys.readouterr().out
        assert action(name).name == f"board {name}"


def test_an_unknown_action(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["board", "boot"]) == 2
    assert "there are list, info, console, run" in capsys.readouterr().err


def test_list(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_board(tmp_path, name="mine")
    (tmp_path / "broken.toml").write_text("x")
    monkeypatch.setenv("LITEBOX_BOARDS", str(tmp_path))
    assert main(["board", "list"]) == 0
    text = capsys.readouterr().out
    assert "mine" in text
    assert "is no TOML" in text
    assert main(["board", "list", "--json"]) == 0
    boards = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert boards["host"]["problem"] == ""
    assert boards["broken"]["problem"]


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["board", "info", "qemu-virt-optee"]) == 0
    assert "firmware" in capsys.readouterr().out
    assert main(["board", "info", "qemu-virt-optee", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["stages"][0]["stage"] == "rom"
    assert main(["board", "info", "nothing"]) == 2


def test_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    board = str(fake_board(tmp_path))
    report = tmp_path / "report"
    assert main(["board", "run", board, "--report", str(report), "--", "echo hi; (exit 6)"]) == 6
    out, err = capsys.readouterr()
    assert out == "hi\n"
    assert "tee" in err
    assert {"report.html", "junit.xml", "merged.log", "console.log"} <= {path.name for path in report.iterdir()}
    assert main(["board", "run", board, "--json", "--", "printf", "%s", "a b"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["commands"][0]["output"] == "a b"
    assert [stage["stage"] for stage in found["stages"]][-1] == "tee"


def test_run_on_a_board_that_hangs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    board = str(fake_board(tmp_path, hang="kernel", timeout=2.0))
    assert main(["board", "run", board, "--report", str(tmp_path / "out"), "--", "true"]) == BOARD_FAILED
    assert "stage kernel: " in capsys.readouterr().err
    assert "did not come" in (tmp_path / "out/report.html").read_text()
    assert main(["board", "run", board, "--to", "firmware", "-v"]) == 0
    assert "BL1: v1.0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["run", "host", "--to", "kernel", "--", "true"], "a command needs stage shell or tee"),
        (["run", "host", "--to", "moon"], "is no stage"),
        (["run", "qemu-virt-optee", "--to", "rom", "--keep"], "--keep needs stage shell or tee"),
        (["guest", "moon"], "there are kernel, initrd, key"),
        (["guest", "kernel", "--files", "/"], "are for initrd"),
        (["run", "host", "--var", "x"], "write --var NAME=VALUE"),
        (["run", "host", "--var", "x=1"], "has no variable x"),
        (["run"], "needs BOARD"),
        (["console", "host", "secure"], "has no console secure; it has normal"),
    ],
)
def test_mistakes(capsys: pytest.CaptureFixture[str], words: list[str], problem: str) -> None:
    assert main(["board", *words]) == 2
    assert problem in capsys.readouterr().err


def test_console_without_a_terminal(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ta_loader.cli", "board", "console", "host", "--log", str(tmp_path)],
        input=b"echo $((6*7)) is the answer\n",
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"42 is the answer" in done.stdout
    assert "42 is the answer" in (tmp_path / "console.log").read_text()


def test_piped_input_waits_for_the_shell(tmp_path: Path) -> None:
    """The board boots, asks for a name, and is a shell some time later."""
    done = subprocess.run(
        [sys.executable, "-m", "ta_loader.cli", "board", "console", str(fake_board(tmp_path)), "--log", str(tmp_path)],
        input=b"echo $((6*7)) is the answer\n",
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"42 is the answer" in done.stdout


KEPT = [sys.executable, "-m", "ta_loader.cli", "board", "run"]


def test_a_board_that_is_kept(tmp_path: Path) -> None:
    """A person types, then leaves with Ctrl-]; the exit code is the command's, and its output comes first."""
    ours, theirs = os.openpty()
    words = [*KEPT, str(fake_board(tmp_path)), "--keep", "-q", "--", "echo first; (exit 6)"]
    with kept(words, theirs) as child:
        assert child.stdout is not None
        seen = read_until(child.stdout.fileno(), b"fake# ")
        assert seen.startswith(b"first\n")
        os.write(ours, b"echo $((6 * 7))\r")
        read_until(child.stdout.fileno(), b"42\r\n")
        os.write(ours, b"\x1d")
        _, err = child.communicate(timeout=30)
    os.close(ours)
    assert child.returncode == 6
    assert b"leave it with Ctrl-]" in err


def test_a_kept_board_may_be_turned_off_from_within(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    words = [*KEPT, str(fake_board(tmp_path)), "--keep", "-q"]
    with kept(words, theirs) as child:
        assert child.stdout is not None
        read_until(child.stdout.fileno(), b"fake# ")
        os.write(ours, b"exit\r")
        _, err = child.communicate(timeout=30)
    os.close(ours)
    assert child.returncode == 0, err
    assert b"ended with status 0" in err


@contextlib.contextmanager
def kept(words: list[str], terminal: int) -> Iterator[subprocess.Popen[bytes]]:
    """Ended with the test, whatever comes of it. terminal: its standard input, closed here."""
    child = subprocess.Popen(words, stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    os.close(terminal)
    try:
        yield child
    finally:
        child.terminate()
        child.communicate(timeout=30)


def read_until(descriptor: int, wanted: bytes) -> bytes:
    seen = b""
    while wanted not in seen:
        ready, _, _ = select.select([descriptor], [], [], 30)
        assert ready, seen
        data = os.read(descriptor, 4096)
        assert data, seen
        seen += data
    return seen
