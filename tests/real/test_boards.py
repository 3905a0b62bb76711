"""Debian's own kernel and busybox, booted in QEMU over its serial line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from boards import guest
from boards.board import Board
from boards.catalogue import Stage, find_board
from boards.console_log import Direction
from boards.errors import TargetError
from boards.report import merged
from boards.secure_log import Kind, findings
from south.errors import UsageError
from ta_loader.symbolise.finder import ElfFinder
from tests.real import debian
from tests.real.firmware import firmware
from tests.threads import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow
QEMU = "qemu-system-aarch64"


@pytest.fixture(scope="module")
def images() -> dict[str, str]:
    """The board's variables: the guest that comes along is made once, for what all tests have in common."""
    if shutil.which(QEMU) is None:
        pytest.skip(f"{QEMU} is not installed (Debian: apt-get install qemu-system-arm)")
    try:
        return {"kernel": str(guest.kernel()), "initrd": str(guest.initrd())}
    except UsageError as problem:
        pytest.skip(str(problem))


@pytest.fixture(scope="module")
def booted(images: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    folder = tmp_path_factory.mktemp("run")
    with Board(find_board("qemu-virt-linux"), folder, images) as board:
        board.advance_to("shell")
        yield board


def test_it_boots_through_its_stages(booted: Board) -> None:
    assert [record.stage for record in booted.records] == [Stage.KERNEL, Stage.SHELL]
    assert not any(record.problem for record in booted.records)
    said = [e.text for e in booted.log.entries("normal") if e.direction is Direction.IN]
    assert any("Booting Linux on physical CPU 0x0000000000" in line for line in said)


@pytest.mark.parametrize(
    ("command", "code", "output"),
    [
        ("uname -sm", 0, "Linux aarch64\n"),
        ("(exit 77)", 77, ""),
        ("printf 'no newline'", 0, "no newline"),
        ("sh -c 'kill -9 $$'", 137, None),
        ("cd /proc && pwd", 0, "/proc\n"),
    ],
)
def test_commands(booted: Board, command: str, code: int, output: str | None) -> None:
    done = booted.run(command)
    assert done.exit_code == code
    if output is not None:
        assert done.output == output


def test_busybox_computes_what_this_machine_does(booted: Board) -> None:
    ours = subprocess.run("seq 500 | md5sum", shell=True, capture_output=True, text=True, check=True).stdout
    assert booted.run("seq 500 | md5sum").output == ours


def test_messages_of_the_kernel_are_told_apart(booted: Board) -> None:
    done = booted.run("for i in 1 2 3; do echo line $i; echo from the kernel $i > /dev/kmsg; done; (exit 5)")
    assert done.exit_code == 5
    assert done.output == "line 1\nline 2\nline 3\n"
    assert [message.partition("] ")[2] for message in done.kernel] == [f"from the kernel {i}" for i in (1, 2, 3)]


def test_what_the_guest_holds(booted: Board) -> None:
    assert "<LOOPBACK,UP," in booted.run("ip addr show lo").output
    assert booted.run("ping -c 1 -W 5 127.0.0.1").exit_code == 0
    assert booted.run("ls /lib/optee_armtz/*.ta | wc -l").output.strip() == "24"
    assert booted.run("ls /usr/lib/tee-supplicant/plugins").output.endswith(".plugin\n")
    assert booted.run("xtest --help").output.startswith("Usage: xtest")  # with all its libraries
    assert booted.run("modprobe optee && lsmod").exit_code == 0
    assert any("this machine has no OP-TEE" in e.text for e in booted.log.entries("normal"))
    assert booted.run("su user -c id").output == "uid=1000(user) gid=1000(user) groups=1000(user)\n"


def test_files_of_the_users(images: dict[str, str], tmp_path: Path) -> None:
    """Made by the board's own command, once: a second boot finds it."""
    own, tas = tmp_path / "own", tmp_path / "tas"
    (own / "etc/litebox").mkdir(parents=True)
    (own / "etc/litebox/start").write_text("#!/bin/sh\necho started > /tmp/mark\n")
    (own / "etc/litebox/start").chmod(0o755)
    tas.mkdir()
    (tas / "12345678-0000-0000-0000-000000000000.ta").write_bytes(b"a TA")
    variables = {"files": str(own), "tas": str(tas)}
    seen = []
    for turn in ("first", "second"):
        with Board(find_board("qemu-virt-linux"), tmp_path / turn, variables) as board:
            command = "cat /tmp/mark /lib/optee_armtz/12345678-0000-0000-0000-000000000000.ta"
            assert board.run(command).output == "started\na TA"
            image = Path(board.text("${initrd}"))
            seen.append((image, image.stat().st_ino))
    image.unlink()
    assert seen[0] == seen[1]
    assert str(image) != images["initrd"]


def test_a_command_that_hangs_is_interrupted(booted: Board) -> None:
    with pytest.raises(TargetError, match=r"did not end within 1 s"):
        booted.shell.run("sleep 1000", 1)
    assert booted.run("echo back").output == "back\n"


def test_power_off_from_within_and_a_panic(images: dict[str, str], tmp_path: Path) -> None:
    with Board(find_board("qemu-virt-linux"), tmp_path / "off", images) as board:
        board.advance_to("shell")
        board.console.send_line("poweroff -f")
        board.console.expect("reboot: Power down", 60)
        assert eventually(board.power.trouble, 20)
        assert "ended with status 0" in board.power.trouble()

        board.power_cycle()
        board.advance_to("shell")
        with pytest.raises(TargetError, match=r"the kernel panicked: .*sysrq"):
            board.run("echo c > /proc/sysrq-trigger", 60)


def test_the_command_line(images: dict[str, str], tmp_path: Path) -> None:
    words = [word for name, value in images.items() for word in ("--var", f"{name}={value}")]
    words += ["--report", str(tmp_path), "--json", "--", "cat /proc/cpuinfo; (exit 3)"]
    done = subprocess.run(
        [sys.executable, "-m", "ta_loader.cli", "board", "run", "qemu-virt-linux", *words],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    found = json.loads(done.stdout)
    assert [stage["stage"] for stage in found["stages"]] == ["kernel", "shell"]
    assert "CPU implementer" in found["commands"][0]["output"]
    assert "Booting Linux" in (tmp_path / "report.html").read_text()
    assert ET.parse(tmp_path / "junit.xml").getroot().get("tests") == "3"


@pytest.fixture(scope="module")
def optee_firmware(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which(QEMU) is None:
        pytest.skip(f"{QEMU} is not installed (Debian: apt-get install qemu-system-arm)")
    folder = tmp_path_factory.mktemp("firmware")
    why_not = firmware(folder)
    if why_not:
        pytest.skip(why_not)
    return folder


def test_a_real_optee(optee_firmware: Path, tmp_path: Path) -> None:
    with Board(find_board("qemu-virt-optee"), tmp_path, {"firmware": str(optee_firmware)}) as board:
        board.advance_to("tee")
        assert [record.stage for record in board.records] == list(Stage)[1:]
        assert "optee: initialized driver" in board.run("dmesg").raw
        assert board.run("test -c /dev/tee0 && test -c /dev/teepriv0").exit_code == 0
        log = merged(board)
        assert not findings(log)
        _check_aborts(board)

        # One log of two consoles: the secure world starts between TF-A and U-Boot, which speak on the other.
        def when(console: str, text: str) -> float:
            return next(e.time for e in log if e.console == console and text in e.text and e.direction is Direction.IN)

        assert (
            when("normal", "Booting Trusted Firmware") < when("secure", "OP-TEE version") < when("normal", "U-Boot 20")
        )


def _check_aborts(board: Board) -> None:
    """xtest 1010 has a TA touch memory that it must not: each time the secure world tells it on its own console."""
    tas = debian.ta_dir()
    assert tas is not None
    done = board.run("xtest -t regression 1010", 300)
    assert done.exit_code == 0, done.output
    assert "1 test case of which 0 failed" in done.output
    found = findings(merged(board, ElfFinder((), [str(tas)]).find))
    assert {(finding.kind, finding.console) for finding in found} == {(Kind.TA_ABORT, "secure")}
    assert len(found) > 10
    for finding in found:
        assert "User mode" in finding.lines[0]
        assert any(line.startswith("E/LD:  Status of TA 5b9e0e40-") for line in finding.lines)
        assert any("__utee_entry+0x" in line for line in finding.lines)
