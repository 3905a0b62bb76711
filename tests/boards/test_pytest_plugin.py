"""The pytest plugin, as a project of its users' has it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest

from boards.testing import fake_board
from normal_world import Context, TaDied
from south.platform import Arch
from ta_loader import samples
from ta_loader.samples import build

if TYPE_CHECKING:
    from pathlib import Path

TESTS = """\
import pytest

def test_shell(shell, board):
    assert shell.run("echo on; (exit 3)").exit_code == 3

@pytest.mark.board_stage("kernel")
def test_early(board, console):
    assert board.stage.word in ("kernel", "shell")
    assert console is board.consoles["normal"]

@pytest.mark.board_stage("tee")
def test_tee(shell):
    shell.run("echo a sign of life")
    assert shell.run("echo $FAKE_TEE").output == "no\\n"

def test_without():
    pass
"""


def run(folder: Path, *options: str) -> tuple[int, str]:
    (folder / "test_them.py").write_text(TESTS)
    (folder / "pytest.ini").write_text("[pytest]\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", *options],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_without_a_board_they_are_skipped(tmp_path: Path) -> None:
    code, text = run(tmp_path)
    assert code == 0, text
    assert "1 passed, 3 skipped" in text
    assert "no --board was given" in text


def test_two_boards_and_what_a_failure_shows(tmp_path: Path) -> None:
    one, two = (fake_board(tmp_path, name=name) for name in ("one", "two"))
    code, text = run(tmp_path, "--board", str(one), "--board", str(two), "--junit-xml=out.xml", "--board-report=logs")
    assert code == 1, text
    assert "2 failed, 5 passed" in text
    assert "Consoles of board one" in text
    assert "a sign of life" in text
    cases = ET.parse(tmp_path / "out.xml").getroot().iter("testcase")
    shown = {
        c.get("name"): p.get("value", "") for c in cases for p in c.iter("property") if p.get("name") == "consoles"
    }
    assert set(shown) == {"test_tee[one]", "test_tee[two]"}
    assert "a sign of life" in shown["test_tee[two]"]
    page = (tmp_path / "logs/one/report.html").read_text()
    assert "test_shell[one]" in page
    assert "test_shell[two]" not in page
    suite = ET.parse(tmp_path / "logs/one/junit.xml").getroot()
    # Six stages: test_tee's comes after test_shell's; three tests.
    assert suite.get("tests") == "9"
    assert suite.get("failures") == "1"
    assert (tmp_path / "logs/two/console.log").is_file()


def test_a_report_that_was_cut_says_so(tmp_path: Path) -> None:
    (tmp_path / "test_loud.py").write_text("def test_loud(shell): shell.run('seq 1 900; false', check=True)\n")
    code, text = run(tmp_path, "--board", "host", "--board-report=logs", "test_loud.py")
    assert code == 1, text
    found = re.search(r"\(the first ([0-9]+) lines are in .*logs/host/console\.log\)", text)
    assert found is not None, text
    assert int(found[1]) > 600


def test_symbols_name_what_dies_on_a_board(tmp_path: Path) -> None:
    """In a crash report of ours that a console shows."""
    if not build.available(Arch.AARCH64):
        pytest.skip(f"{build.COMPILER[Arch.AARCH64]} is not installed")
    symbols = tmp_path / "symbols"
    symbols.mkdir()
    (tmp_path / "x.ta").write_bytes(build.build(build.hello_recipe(Arch.AARCH64), symbols))
    said: list[str] = []
    trust = [samples.public_key()]
    with Context(state=tmp_path / "state", trust=trust, log=said.append) as tee:
        with tee.open_session(tmp_path / "x.ta") as session, pytest.raises(TaDied):
            session.invoke(2, 0xBAD)
    (tmp_path / "said").write_text("".join(said))
    assert "hello.c" not in "".join(said)
    test = f"def test_it(shell): shell.run('cat {tmp_path}/said; false', check=True)\n"
    (tmp_path / "test_it.py").write_text(test)
    options = ("--board", "host", "--board-report=logs", "test_it.py")
    for more, named in (((), False), (("--board-symbols", str(symbols)), True)):
        code, text = run(tmp_path, *options, *more)
        assert code == 1, text
        assert ("hello.c:" in (tmp_path / "logs/host/merged.log").read_text()) is named
        shutil.rmtree(tmp_path / "logs")


def test_a_board_that_hangs_is_reported_once(tmp_path: Path) -> None:
    board = fake_board(tmp_path, hang="kernel", timeout=2.0)
    code, text = run(tmp_path, "--board", str(board))
    assert code == 1, text
    assert text.count("whole log:") == 1
    assert "fake failed before, at kernel" in text


def test_mistakes(tmp_path: Path) -> None:
    for options, problem in (
        (["--board", "hots"], "did you mean host"),
        (["--board", "host", "--board-var", "x"], "write NAME=VALUE"),
        (["--board", "host", "--board-var", "host:x=1"], "has no variable x"),
    ):
        code, text = run(tmp_path, *options)
        assert code, text
        assert problem in text
