"""The same tests of a TA, on this machine and on a board behind a shell on a pty, whose agent we bring there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from boards.agent_upload import NAME
from boards.board import Board
from boards.catalogue import read_board
from boards.errors import TargetError
from normal_world import TeeError, Value
from normal_world.agent.build import ensure, place
from normal_world.libteec import BuildError
from normal_world.libteec import ensure as ensure_libteec
from south.errors import UsageError
from south.platform import Arch
from ta_loader import samples
from tee.abi import results
from tests.normal_world.kit import LITEBOX_TA, in_process
from tests.threads import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator

HELLO = samples.HELLO[Arch.AARCH64]
TESTS = """\
import hashlib
import pytest
from normal_world import Memref, TeeError, Value

def test_increment(session):
    value = Value.inout(41)
    session.invoke(0, value)
    assert value.a == 42

def test_hash(tee, ta):
    with tee.open_session(ta) as session, tee.allocate(32) as digest:
        session.invoke(1, b"abc", Memref.output(digest))
        assert bytes(digest) == hashlib.sha256(b"abc").digest()

def test_a_megabyte(session):
    data = bytes(range(256)) * 4096
    _, digest = session.invoke(1, data, Memref.output(32))
    assert bytes(digest) == hashlib.sha256(data).digest()

def test_panic(session):
    with pytest.raises(TeeError) as error:
        session.invoke(2, 0xBAD)
    assert error.value.result.name == "TEE_ERROR_TARGET_DEAD"

def test_shell_and_tee_take_turns(request, tee, ta):
    with tee.open_session(ta) as session:
        session.invoke(0, Value.inout(1))
"""
BOARD = """\
schema = 1
summary = "a shell of this machine"
[consoles.normal]
link = "process:{shell}"
[power]
kind = "none"
[shell]
prompt = '[#$] ?$'
timeout = 10
"""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    key = str(samples.public_key_file())
    options = ("--ta-dir", samples.FOLDER, "--trust", key)
    with in_process(tmp_path_factory.mktemp("daemon"), *options) as started:
        yield started.path


@pytest.fixture
def environment(daemon: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The board's: its libteec, and no agent on its PATH."""
    try:
        ensure()
        library = ensure_libteec()
    except BuildError as problem:
        pytest.skip(str(problem))
    given = {"LITEBOX_SOCKET": daemon, "LITEBOX_LIBTEEC": str(library), "ENV": "", "PATH": "/usr/bin:/bin"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    return {**os.environ, **given}


@pytest.fixture
def description(tmp_path: Path) -> Path:
    path = tmp_path / "pty.toml"
    path.write_text(BOARD.format(shell="/bin/sh -i"))
    return path


def test_the_same_tests_on_two_boards(environment: dict[str, str], description: Path, tmp_path: Path) -> None:
    (tmp_path / "test_ta.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nlitebox_ta = hello\naddopts = -p no:cacheprovider -W error\n")
    command = [*LITEBOX_TA, "board", "test", str(description), "--html", "page/report.html", "--junit", "out.xml"]
    done = subprocess.run(
        [*command, "--", "-q", "--board", "host", "test_ta.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 passed" in done.stdout
    page = (tmp_path / "page/pty-report.html").read_text()
    assert "test_a_megabyte[pty]" in page
    assert "the TEE agent has the console" in page
    assert page.count("base64") < 50, "the agent's lines are in the log"
    names = {case.get("name") for case in ET.parse(tmp_path / "out.xml").getroot().iter("testcase")}
    assert {"test_panic[pty]", "test_panic[host]"} <= names


@pytest.mark.usefixtures("environment")
def test_shell_and_tee_take_turns(description: Path, tmp_path: Path) -> None:
    with Board(read_board(description), tmp_path / "run") as board:
        for _ in range(2):
            with board.tee() as tee, tee.open_session(HELLO) as session:
                assert session.invoke(0, Value.inout(41))
                with pytest.raises(UsageError, match="carries a connection to the board's TEE"):
                    board.run("true")
            assert board.run("echo $0; (exit 3)").exit_code == 3
        assert "has the console" in (tmp_path / "run/console.log").read_text()


@pytest.mark.usefixtures("environment")
def test_an_agent_that_is_killed(description: Path, tmp_path: Path) -> None:
    """A defined error, soon; the next connection has a new one."""
    with Board(read_board(description), tmp_path / "run") as board:
        with board.tee() as tee:
            session = tee.open_session(HELLO)
            children = subprocess.run(["pgrep", "-f", f"{NAME} [0-9a-f]{{16}}$"], capture_output=True, text=True)
            mine = [int(pid) for pid in children.stdout.split() if _started_by_us(int(pid))]
            assert mine
            for pid in mine:
                os.kill(pid, 9)
            began = time.monotonic()
            with pytest.raises(TeeError) as error:
                session.invoke(0, Value.inout(41))
            assert error.value.result == results.COMMUNICATION
            assert time.monotonic() - began < PATIENCE
            session.close()
        with board.tee() as tee, tee.open_session(HELLO) as session:
            session.invoke(0, Value.inout(41))


def _started_by_us(pid: int) -> bool:
    while pid > 1:
        if pid == os.getpid():
            return True
        try:
            with open(f"/proc/{pid}/stat") as file:
                pid = int(file.read().rpartition(")")[2].split()[1])
        except OSError:
            return False
    return False


@pytest.mark.usefixtures("environment")
def test_a_board_without_a_tee(description: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value, text in (
        ("LITEBOX_SOCKET", str(tmp_path / "none"), "no TEE on the board"),
        ("LITEBOX_LIBTEEC", str(tmp_path / "none.so"), "none.so"),
    ):
        monkeypatch.setenv(variable, value)
        with Board(read_board(description), tmp_path / "run") as board:
            with pytest.raises(TeeError, match=text) as error:
                board.tee()
            assert error.value.result == results.ITEM_NOT_FOUND
            assert board.run("echo on").output == "on\n"


@pytest.mark.usefixtures("environment")
def test_an_agent_of_the_board(description: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is sent; one that ends at once is told of with its words."""
    program = tmp_path / "bin" / NAME
    program.parent.mkdir()
    program.symlink_to(ensure())
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    with Board(read_board(description), tmp_path / "run") as board:
        with board.tee() as tee, tee.open_session(HELLO):
            pass
    assert "gzip" not in (tmp_path / "run/console.log").read_text()
    program.unlink()
    program.write_text("#!/bin/sh\necho cannot do that; exit 9\n")
    program.chmod(0o755)
    with Board(read_board(description), tmp_path / "run2") as board:
        board.run(f"cd {tmp_path}")
        with pytest.raises(TeeError, match="it ended: cannot do that"):
            board.tee()
        # What was said to it the shell got, and did nothing.
        assert {path.name for path in tmp_path.iterdir()} <= {"bin", "pty.toml", "run", "run2"}


@pytest.mark.usefixtures("environment")
def test_an_agent_of_an_image(description: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is used without being sent if it is of these sources, which its name tells."""
    image = tmp_path / "image"
    image.mkdir()
    ours = place().rpartition("/")[2]
    monkeypatch.setattr("boards.agent_upload.place", lambda: str(image / ours))
    for name, sent in ((f"{NAME}-0123456789abcdef", True), (ours, False)):
        (image / name).symlink_to(ensure())
        with Board(read_board(description), tmp_path / name) as board:
            with board.tee() as tee, tee.open_session(HELLO):
                pass
        log = (tmp_path / name / "console.log").read_text()
        assert ("gzip" in log) == sent
        folders = {Path(found) for found in re.findall(r"/tmp/litebox-(?!X)\w{6}\b", log)}
        assert len(folders) == sent
        assert not any(folder.exists() for folder in folders)


def test_no_agent_for_a_machine(
    environment: dict[str, str], tmp_path: Path, description: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("boards.agent_upload.NAME", "litebox-tee-agent-none")
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "uname").write_text("#!/bin/sh\necho riscv64\n")
    (folder / "uname").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    with Board(read_board(description), tmp_path / "run") as board:
        with pytest.raises(UsageError, match=r"(?s)riscv64-linux-gnu: .*put .* on the board's PATH"):
            board.tee()
        assert board.failure is None


def test_a_second_console(environment: dict[str, str], tmp_path: Path) -> None:
    """The shell goes on while a connection is open."""
    script = tmp_path / "second.py"
    script.write_text(
        "import os, sys, tty, select\n"
        "near, far = os.openpty()\n"
        "tty.setraw(far)\n"
        f"open({str(tmp_path / 'name')!r}, 'w').write(os.ttyname(far))\n"
        "tty.setraw(0)\n"
        "while True:\n"
        "    for ready in select.select([0, near], [], [])[0]:\n"
        "        os.write(near if ready == 0 else 1, os.read(ready, 4096))\n"
    )
    path = tmp_path / "two.toml"
    path.write_text(
        BOARD.format(shell="/bin/sh -i")
        + f'[consoles.second]\nlink = "process:{sys.executable} {script}"\n'
        + f'[tee]\nconsole = "second"\ndevice = "$(cat {tmp_path / "name"})"\n'
    )
    with Board(read_board(path), tmp_path / "run") as board:
        with board.tee() as tee, tee.open_session(HELLO) as session:
            assert board.run("echo both").output.endswith("both\n")
            value = Value.inout(41)
            session.invoke(0, value)
            assert value.a == 42


def test_power_off_under_a_call(environment: dict[str, str], description: Path, tmp_path: Path) -> None:
    with Board(read_board(description), tmp_path / "run") as board:
        tee = board.tee()
        board.power_off()
        with pytest.raises(TeeError, match="the power went off"):
            tee.open_session(HELLO)
        tee.close()


def test_target_errors_latch(tmp_path: Path) -> None:
    path = tmp_path / "cat.toml"
    path.write_text(BOARD.format(shell="/bin/cat").replace("timeout = 10", "timeout = 0.3"))
    with Board(read_board(path), tmp_path / "run") as board:
        with pytest.raises(TargetError):
            board.tee()
        with pytest.raises(TargetError, match="failed before"):
            board.tee()
