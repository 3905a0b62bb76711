"""A board in a process that goes through its stages, hangs, panics, and is powered in several ways."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from boards.board import Board
from boards.catalogue import Stage, find_board, read_board
from boards.errors import TargetError
from boards.power import CommandPower, ManualPower, ProcessPower, relay
from boards.report import merged, write_report
from boards.testing import BOOT, fake_board
from south.errors import UsageError
from tests.threads import PATIENCE, eventually


def test_to_the_tee_and_back(tmp_path: Path) -> None:
    with Board(read_board(fake_board(tmp_path)), tmp_path / "run") as board:
        board.advance_to("bootloader")
        assert board.stage is Stage.BOOTLOADER
        with pytest.raises(UsageError, match="is at stage bootloader"):
            _ = board.shell
        board.advance_to(Stage.TEE)
        assert board.run("echo $FAKE_TEE; (exit 9)").exit_code == 9
        board.advance_to("kernel")  # behind: it starts anew
        assert board.records[-1].stage is Stage.KERNEL
        board.advance_to("off")
        words = [record.stage.word for record in board.records]
        assert words == [
            *("rom", "firmware", "bootloader", "kernel", "shell", "tee"),
            *("rom", "firmware", "bootloader", "kernel"),
        ]
    log = (tmp_path / "run/console.log").read_text()
    assert "power on" in log
    assert "stage tee reached" in log
    assert "power off" in log


@pytest.mark.parametrize("stage", [*(name for name, _ in BOOT), "shell", "tee"])
def test_a_board_that_hangs_says_where_and_only_once(tmp_path: Path, stage: str) -> None:
    with Board(read_board(fake_board(tmp_path, hang=stage, timeout=2.0)), tmp_path / "run") as board:
        began = time.monotonic()
        with pytest.raises(TargetError) as first:
            board.advance_to("tee")
        assert time.monotonic() - began < PATIENCE
        assert first.value.stage == stage
        assert f"stage {stage}: " in str(first.value)
        assert str(tmp_path / "run/console.log") in str(first.value)
        assert not first.value.latched
        with pytest.raises(TargetError, match=f"fake failed before, at {stage}") as again:
            board.advance_to("rom")
        assert again.value.latched
        assert len(str(again.value).splitlines()) == 1
        assert board.records[-1].problem


def test_a_failure_is_forgotten_after_a_power_cycle(tmp_path: Path) -> None:
    with Board(read_board(fake_board(tmp_path, hang="kernel", timeout=2.0)), tmp_path / "run") as board:
        with pytest.raises(TargetError):
            board.advance_to("kernel")
        board.power_cycle()
        board.advance_to("bootloader")


def test_a_panic_ends_the_wait_at_once(tmp_path: Path) -> None:
    last = "[    0.2] Kernel panic - not syncing: VFS: Unable to mount root fs\r\n"
    path = fake_board(tmp_path, hang="shell", last=last, timeout=60)
    with Board(read_board(path), tmp_path / "run") as board:
        with pytest.raises(TargetError, match=r"the kernel panicked: .*VFS"):
            board.advance_to("shell")


def test_a_board_that_dies_says_why(tmp_path: Path) -> None:
    path = fake_board(tmp_path)
    path.write_text(path.read_text().replace('"boards.testing"', '"no.such.module"'))
    with Board(read_board(path), tmp_path / "run") as board:
        with pytest.raises(TargetError, match=r"(?s)ended with status 1: .*No module named"):
            board.advance_to("rom")


def test_no_qemu_is_our_callers_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with Board(find_board("qemu-virt-linux"), tmp_path / "run", {"kernel": "k", "initrd": "i"}) as board:
        with pytest.raises(UsageError, match="apt-get install qemu-system-arm"):
            board.advance_to("kernel")
    monkeypatch.undo()
    path = fake_board(tmp_path)
    path.write_text(path.read_text().replace('kind = "qemu"', 'kind = "qemu"\nfolder = "/no/where"'))
    with Board(read_board(path), tmp_path / "run2") as board:
        with pytest.raises(UsageError, match="/no/where: No such file"):
            board.advance_to("rom")


def alive(pid: int) -> bool:
    """Not counting a zombie that nobody waits for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    with Board(read_board(fake_board(tmp_path))) as board:
        board.advance_to("shell")
        folder = board.folder
        pid = int(board.run("echo $PPID").output)
    assert not folder.exists()
    assert eventually(lambda: not alive(pid))
    assert set(os.listdir("/proc/self/fd")) == before


HARNESS = """
import sys, time
from pathlib import Path
from boards import Board, read_board
board = Board(read_board(Path(sys.argv[1])), Path(sys.argv[2]))
board.advance_to("shell")
print(board.run("echo $PPID").output, flush=True)
time.sleep(100)
"""


def test_a_harness_that_is_killed_leaves_no_board(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", HARNESS, str(fake_board(tmp_path)), str(tmp_path / "run")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as harness:
        assert harness.stdout is not None
        board = int(harness.stdout.readline())
        assert alive(board)
        harness.kill()
    assert eventually(lambda: not alive(board))


def test_the_host_is_a_board(tmp_path: Path) -> None:
    with Board(find_board("host"), tmp_path, {"socket": str(tmp_path / "none.sock")}) as board:
        assert board.run("echo here; (exit 4)")[1:3] == (4, "here\n")
        with pytest.raises(TargetError, match="stage tee"):
            board.advance_to("tee")


def test_command_and_relay_power(tmp_path: Path) -> None:
    log = tmp_path / "log"
    power = CommandPower(["sh", "-c", f"echo on >> {log}"], ["sh", "-c", f"echo off >> {log}"], settle=0.2)
    power.off()
    began = time.monotonic()
    power.on()
    assert time.monotonic() - began >= 0.1
    switch = relay(["sh", "-c", f'echo "$0" >> {log}'], "7=1", "7=0", 0.0)
    switch.on()
    switch.off()
    assert log.read_text().split() == ["off", "on", "7=1", "7=0"]
    assert power.trouble() == ""


def test_power_that_fails(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"(?s)ended with status 3.*no such relay"):
        CommandPower(["sh", "-c", "echo no such relay >&2; exit 3"], ["true"]).on()
    with pytest.raises(UsageError, match="No such file"):
        CommandPower(["/no/such/program"], ["true"]).on()


def test_a_process_that_ignores_the_first_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boards.power.STOP_SECONDS", 0.3)
    power = ProcessPower(lambda: ["sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done"], tmp_path / "log")
    power.on()
    assert eventually((tmp_path / "log").read_text)
    assert power.trouble() == ""
    power.off()
    assert power.trouble() == ""


def test_manual_power_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no terminal")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(UsageError, match=r'kind = "command" or "relay" to run unattended'):
        ManualPower("desk").on()


def test_the_end_asks_nobody(tmp_path: Path) -> None:
    path = tmp_path / "desk.toml"
    path.write_text('schema = 1\nsummary = "s"\n[consoles.a]\nlink = "process:/bin/cat"\n')
    with Board(read_board(path), tmp_path / "run") as board:
        assert isinstance(board.power, ManualPower)
        board.open(power=False)
        board.console.wait_connected()


def test_report(tmp_path: Path) -> None:
    path = fake_board(tmp_path, last="E/TC:? 0 TA panicked with code 0x1 <script>\r\n")
    with Board(read_board(path), tmp_path / "run") as board:
        board.run("echo '<b>'; (exit 2)")
        write_report(tmp_path, board, merged(board))
    page = (tmp_path / "report.html").read_text()
    assert "<script>" not in page
    assert "&lt;b&gt;" in page
    assert "TA panic" in page
    suite = ET.parse(tmp_path / "junit.xml").getroot()
    assert suite.get("tests") == "7"  # five stages, one command, one panic
    assert suite.get("failures") == "2"
    assert "TA panicked" in (tmp_path / "merged.log").read_text()


def test_a_panic_on_another_console_ends_the_wait(tmp_path: Path) -> None:
    path = fake_board(tmp_path, hang="bootloader", timeout=600)
    link = "process:sh -c \"echo 'E/TC:0 0 Panic at core/kernel/assert.c:28 <_assert_break>'; exec sleep 1000\""
    path.write_text(f"{path.read_text()}\n[consoles.secure]\nlink = '''{link}'''\n")
    with Board(read_board(path), tmp_path / "run") as board:
        began = time.monotonic()
        with pytest.raises(TargetError, match="secure: OP-TEE panicked"):
            board.advance_to("bootloader")
        assert time.monotonic() - began < PATIENCE
