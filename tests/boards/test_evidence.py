"""What is left of a run that went wrong: every line, with its time, in a folder of its own; and nothing secret."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

from boards.board import Board
from boards.catalogue import USUAL_ALARMS, read_board
from boards.console import HIDDEN, Console
from boards.console_link import link_maker
from boards.console_log import Direction, Log
from boards.errors import TargetError
from boards.report import merged
from south.errors import UsageError
from tests.threads import eventually

DESCRIPTION = """\
schema = 1
summary = "s"
[consoles.normal]
link = '''process:sh -c "{script}"'''
[power]
kind = "command"
on = ["true"]
off = ["sh", "-c", "echo off >>{folder}/power"]
settle = 0.0
[stages.kernel]
pattern = "Booting Linux"
timeout = 60
[shell]
prompt = '[#$] $'
timeout = 60
"""


def board_that_says(folder: Path, script: str) -> Path:
    """script: of sh, without double quotes; what it prints comes on the board's only console."""
    script = f"sleep 1; {script}"  # what comes before the power is forgotten
    path = folder / "said.toml"
    path.write_text(DESCRIPTION.format(script=script, folder=folder))
    return path


def test_a_trace_is_awaited_before_the_power_goes_off(tmp_path: Path) -> None:
    script = (
        "echo Booting Linux; sleep 0.3; echo Kernel panic - not syncing: no init;"
        "for i in 1 2 3 4 5 6 7 8; do sleep 0.1; echo frame $i; done; exec sleep 100"
    )
    with Board(read_board(board_that_says(tmp_path, script)), tmp_path / "run") as board:
        with pytest.raises(TargetError, match="the kernel panicked"):
            board.advance_to("shell")
    log = (tmp_path / "run/console.log").read_text()
    assert log.index("frame 8") < log.index("power off")


def test_a_report_awaits_the_trace_too(tmp_path: Path) -> None:
    script = "echo Kernel panic - not syncing: x; sleep 0.4; echo the last frame; exec sleep 100"
    with Board(read_board(board_that_says(tmp_path, script)), tmp_path / "run") as board:
        with pytest.raises(TargetError):
            board.advance_to("kernel")
        assert "the last frame" in [entry.text for entry in merged(board)]


def test_a_line_without_an_end_is_in_every_report(tmp_path: Path) -> None:
    script = "echo Booting Linux; printf 'Starting kernel ... '; exec sleep 100"
    with Board(read_board(board_that_says(tmp_path, script)), tmp_path / "run") as board:
        board.advance_to("kernel")
        assert eventually(lambda: [e for e in board.log.entries() if e.text == "Starting kernel ... "])
        assert "Starting kernel ... " in [entry.text for entry in merged(board)]
        assert len([e for e in board.log.entries("normal") if "Starting" in e.text]) == 1
    assert (tmp_path / "run/console.log").read_text().count("Starting kernel ... ") == 1


def test_a_line_that_ends_is_one_entry() -> None:
    log = Log()
    with Console(
        "c", link_maker("process:sh -c 'printf begun; sleep 0.3; echo .ended; exec sleep 100'"), log
    ) as console:
        console.expect("begun", 20)
        assert eventually(lambda: "begun" in [entry.text for entry in log.entries()])
        console.expect("ended\n", 20)
        assert [e.text for e in log.entries() if e.direction is Direction.IN] == ["begun.ended"]


def test_a_line_without_an_end_raises_an_alarm(tmp_path: Path) -> None:
    script = "echo Booting Linux; printf %s 'E/TC:0 0 Panic at core/mm.c:12 <boot>'; exec sleep 100"
    with Board(read_board(board_that_says(tmp_path, script)), tmp_path / "run") as board:
        began = time.monotonic()
        with pytest.raises(TargetError, match=r"OP-TEE panicked: E/TC:0 0 Panic at core/mm\.c:12 <boot>"):
            board.advance_to("shell")
        assert time.monotonic() - began < 50


def test_a_folder_has_one_run_at_a_time(tmp_path: Path) -> None:
    entry = read_board(board_that_says(tmp_path, "echo Booting Linux; exec sleep 100"))
    with Board(entry, tmp_path / "run"):
        with pytest.raises(UsageError, match=r"console\.log: another run writes here"):
            Board(entry, tmp_path / "run")
    with Board(entry, tmp_path / "run"):
        pass


def test_nothing_of_an_earlier_run_is_left(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for name in ("console.log", "report.html", "junit.xml", "merged.log", "power.log"):
        (run / name).write_text("an earlier run")
    (run / "notes").write_text("a person's")
    with Board(read_board(board_that_says(tmp_path, "echo Booting Linux; exec sleep 100")), run) as board:
        board.advance_to("kernel")
    assert "an earlier run" not in "".join(path.read_text() for path in run.iterdir())
    assert (run / "notes").read_text() == "a person's"


def test_a_folder_that_cannot_be_made_is_a_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    entry = read_board(board_that_says(tmp_path, "true"))
    with pytest.raises(UsageError, match="Not a directory"):
        Board(entry, tmp_path / "file/run")
    (tmp_path / "run/console.log").mkdir(parents=True)
    with pytest.raises(UsageError, match="Is a directory"):
        Board(entry, tmp_path / "run")


def test_no_room_for_a_folder_is_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(UsageError, match="none: No such file or directory"):
        Board(read_board(board_that_says(tmp_path, "true")))


def test_each_line_of_the_log_has_its_date(tmp_path: Path) -> None:
    moment = datetime(2026, 3, 4, 5, 6, 7, 250_000).timestamp()
    log = Log(tmp_path / "log", clock=iter([100.0, 102.5]).__next__, wall=lambda: moment)
    log.add("uart", Direction.IN, b"said")
    log.close()
    line = (tmp_path / "log").read_text()
    assert re.fullmatch(r"2026-03-04 05:06:09\.750[+-]\d\d:\d\d \[    2\.500000\] uart     < said\n", line)


@pytest.mark.parametrize("password", ["sEcr3t!", "abc", "pw"])
def test_an_echoed_password_is_hidden(tmp_path: Path, password: str) -> None:
    log = Log(tmp_path / "log")
    with Console(
        "c", link_maker("process:sh -c 'echo abc is fine; printf Password:; read x; echo hello abc x; cat'"), log
    ) as c:
        c.expect("Password:", 20)
        c.write(password.encode() + b"\n", secret=True)
        c.expect("hello", 20)
        c.write(b"the end\n")
        c.expect("the end\n", 20)
        assert password not in c.tail.replace("abc is", "").replace("hello abc", "")
    text = (tmp_path / "log").read_text()
    assert f"Password:{HIDDEN}\n" in text
    assert f"Password:{password}" not in text
    assert "hello abc x" in text


def test_an_echo_without_an_end_is_hidden() -> None:
    log = Log()
    with Console("c", link_maker("process:sh -c 'stty -icanon; printf Password:; exec sleep 100'"), log) as console:
        console.expect("Password:", 20)
        console.write(b"sEcr3t!", secret=True)
        console.expect("sEcr3t!", 20)
        assert [e.text for e in log.entries() if "Password" in e.text] == [f"Password:{HIDDEN}"]


def test_a_full_disk_ends_nothing() -> None:
    log = Log(Path("/dev/full"))
    with Console("c", link_maker("process:/bin/cat"), log) as console:
        for number in range(3):
            console.write(b"line %d\n" % number)
            console.expect(f"line {number}\n", 20)
        assert re.search(r"/dev/full: \d+ lines are missing: No space left on device", log.trouble)
        assert len(log.entries("c")) >= 7


FILE_LIMIT = """
import resource, sys
from pathlib import Path
from boards.console_log import Direction, Log
resource.setrlimit(resource.RLIMIT_FSIZE, (300, 1000))
log = Log(Path(sys.argv[1]))
for number in range(6):
    log.add("uart", Direction.IN, b"x" * 60)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
log.add("uart", Direction.IN, b"room again")
log.close()
"""


def test_a_disk_that_has_room_again(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", FILE_LIMIT, str(tmp_path / "log")], check=True, timeout=60)
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines[-2].endswith("< room again")
    assert re.fullmatch(r".*: [0-9] lines are missing: .*", lines[-1])


def test_a_listener_that_fails_is_not_called_again() -> None:
    log = Log()
    calls = []

    def listener(entry: object) -> None:
        calls.append(entry)
        raise BrokenPipeError

    log.listener = listener
    with Console("c", link_maker("process:/bin/cat"), log) as console:
        console.write(b"one\ntwo\n")
        console.expect("two\n", 20)
    assert len(calls) == 1


def test_what_looks_at_the_output_cannot_end_the_reader() -> None:
    log = Log()
    with Console("c", link_maker("process:/bin/cat"), log, alarms=USUAL_ALARMS) as console:

        def gone(_: bytes) -> None:
            raise BrokenPipeError

        def fail(_: bytes) -> bool:
            raise RuntimeError("a taker's fault")

        console.tap = gone
        console.take_lines(fail)
        console.write(b"one\n")
        assert eventually(lambda: [e for e in log.entries() if "a taker's fault" in e.text])
        console.take_lines(None)
        console.write(b"two\n")
        console.expect("two\n", 20)
