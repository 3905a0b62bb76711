"""Ctrl-C, SIGTERM and SIGHUP in mid-command and in mid-test: a report is written, and the power goes off."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest

from tests.boards.kit import LATE_SHELL, desk, switched
from tests.threads import eventually

if TYPE_CHECKING:
    from pathlib import Path

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def ended(words: list[str], folder: Path, number: int) -> tuple[int, str]:
    """Exit code and output of a program that gets a signal when its command on the board runs."""
    child = subprocess.Popen(
        [sys.executable, "-m", *words], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        assert eventually((folder / "runs").exists, 240), child.poll()
        os.kill(child.pid, number)
        text, _ = child.communicate(timeout=240)
    finally:
        child.kill()
    return child.returncode, text


@pytest.mark.parametrize("number", SIGNALS)
def test_board_run(tmp_path: Path, number: signal.Signals) -> None:
    words = ["ta_loader.cli", "board", "run", str(desk(tmp_path, LATE_SHELL)), "--report", "out"]
    code, text = ended([*words, "--", f"touch {tmp_path}/runs; sleep 300"], tmp_path, number)
    assert code == 128 + number, text
    assert f"interrupted by {number.name}" in text
    assert switched(tmp_path)[-2:] == ["on", "off"]
    page = (tmp_path / "out/report.html").read_text()
    assert "ENDED EARLY" in page
    assert f"interrupted by {number.name}" in page
    suite = ET.parse(tmp_path / "out/junit.xml").getroot()
    assert suite.get("errors") == "1"
    assert "$ touch" in (tmp_path / "out/merged.log").read_text()


@pytest.mark.parametrize("number", SIGNALS)
def test_board_test(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "test_it.py").write_text(
        "def test_first(shell): pass\n"
        f"def test_hangs(shell): shell.run('touch {tmp_path}/runs; sleep 300', 400)\n"
        "def test_last(shell): pass\n"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    words = [
        "ta_loader.cli",
        "board",
        "test",
        str(desk(tmp_path, LATE_SHELL)),
        "--html",
        "page.html",
        "--junit",
        "junit.xml",
    ]
    code, text = ended([*words, "--", "-p", "no:cacheprovider", "test_it.py"], tmp_path, number)
    assert code == 2, text  # pytest's of one that was interrupted
    assert switched(tmp_path)[-2:] == ["on", "off"]
    page = (tmp_path / "page.html").read_text()
    assert f"interrupted by {number.name} in test_it.py::test_hangs" in page
    assert "1 of 1 tests passed" in page
    assert ET.parse(tmp_path / "junit.xml").getroot().find("testsuite") is not None


def test_nohup_is_left_alone(tmp_path: Path) -> None:
    words = [
        "ta_loader.cli",
        "board",
        "run",
        str(desk(tmp_path, LATE_SHELL)),
        "--",
        f"touch {tmp_path}/runs; sleep 1; echo on",
    ]
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        code, text = ended(words, tmp_path, signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert code == 0, text


def test_a_terminal_that_is_gone_keeps_no_power_on(tmp_path: Path) -> None:
    """What a run says at its end cannot be written: nobody reads its pipes any more."""
    words = [
        sys.executable,
        "-m",
        "ta_loader.cli",
        "board",
        "run",
        str(desk(tmp_path, LATE_SHELL)),
        "-v",
        "--report",
        "out",
    ]
    command = f"touch {tmp_path}/runs; for i in 1 2 3 4 5; do echo $i; sleep 0.2; done"
    child = subprocess.Popen([*words, "--", command], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert eventually((tmp_path / "runs").exists, 240)
        for pipe in (child.stdout, child.stderr):
            assert pipe is not None
            pipe.close()
        child.wait(240)
    finally:
        child.kill()
    assert switched(tmp_path)[-2:] == ["on", "off"]
    assert "reached" in (tmp_path / "out/report.html").read_text()
