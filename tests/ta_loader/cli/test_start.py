"""The process around `litebox-ta`: closed or full standard streams, poor encodings, Ctrl-C at any moment."""

from __future__ import annotations

import collections
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.threads import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

TOOL = [sys.executable, "-m", "ta_loader.cli"]
UUID = "7371bc6b-0888-4252-9d3b-42ddcbca70fd"
COMMANDS = {
    "overview": ["--help"],
    "help": ["run", "--help"],
    "run": ["run", "hello", "--invoke", "0", "value:41"],
    "json": ["verify", "--json", "hello"],
    "mistake": ["run", "nothing.ta"],
}


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("name", COMMANDS)
def test_closed_streams(name: str, closed: str) -> None:
    expected = 2 if name == "mistake" else 0
    line = f'"$@" {closed}'
    done = subprocess.run(["sh", "-c", line, "sh", *TOOL, *COMMANDS[name]], capture_output=True, timeout=PATIENCE)
    assert done.returncode == expected, done.stderr
    assert b"Traceback" not in done.stderr
    if closed == "<&-" and name == "run":
        assert b"a=42" in done.stdout


@pytest.mark.parametrize(
    "words", [["run", "hello", "--invoke", "1", "in:@-", "out:32"], ["symbolize"], ["storage", "put", UUID, "a", "-"]]
)
def test_closed_standard_input_is_no_empty_file(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "litebox-ta" / "tee").mkdir(0o700, parents=True)
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    line = ["sh", "-c", '"$@" <&-', "sh", *TOOL, *words]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 2
    assert "standard input is closed" in done.stderr
    assert not done.stdout
    assert subprocess.run([*TOOL, *words], env=environment, stdin=subprocess.DEVNULL, timeout=PATIENCE).returncode == 0


def test_a_file_never_gets_what_is_printed(tmp_path: Path) -> None:
    """With standard output closed, the first file to be opened would have its number."""
    out = tmp_path / "out"
    words = ["run", "hello", "--invoke", "1", "in:str:hello", "out:32", "--out", str(out)]
    subprocess.run(["sh", "-c", '"$@" >&-', "sh", *TOOL, *words], check=True, timeout=PATIENCE)
    assert len(out.read_bytes()) == 32


def test_a_full_device_is_a_message() -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*TOOL, *COMMANDS["run"]], stdout=full, stderr=subprocess.PIPE, timeout=PATIENCE)
    assert done.returncode == 2
    assert done.stderr == b"litebox-ta: No space left on device\n"


def test_names_that_the_output_cannot_encode(tmp_path: Path) -> None:
    odd = [tmp_path / "caf\u00e9.ta", tmp_path / os.fsdecode(b"\xff.ta")]
    for path in odd:
        path.write_bytes(b"nothing")
        for encoding in ("ascii", "utf-8"):
            environment = {**os.environ, "PYTHONIOENCODING": encoding}
            command = [*TOOL, "info", str(path)]
            done = subprocess.run(command, env=environment, capture_output=True, timeout=PATIENCE)
            assert done.returncode == 4
            assert b"problem: " in done.stdout
            assert not done.stderr


WHERE_IT_IS_LOST = {
    "finaliser": "type('F', (), {'__del__': lambda self: os.kill(os.getpid(), signal.SIGINT)})()",
    "weak reference": "ref = weakref.ref(A(), lambda ref: os.kill(os.getpid(), signal.SIGINT))",
    "class": "type('C', (), {'d': type('D', (), {'__set_name__': lambda *_: os.kill(os.getpid(), signal.SIGINT)})()})",
    "collection": "gc.callbacks.append(lambda at, _: at == 'stop' or os.kill(os.getpid(), 2)); gc.collect()",
}
"""Places in which Python drops what is raised, or makes another error of it."""


@pytest.mark.parametrize("where", WHERE_IT_IS_LOST)
def test_ctrl_c_where_python_drops_it(where: str) -> None:
    code = (
        "import gc, os, signal, sys, time, weakref, ta_loader.cli.dispatch as d, ta_loader.cli.start as start\n"
        "class A: pass\n"
        f"def dispatch(words):\n    {WHERE_IT_IS_LOST[where]}\n    gc.callbacks.clear()\n"
        f"    time.sleep({2 * PATIENCE})\n"
        "d._dispatch = dispatch\n"
        "sys.exit(start.main())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (130, b"litebox-ta: interrupted\n")


@pytest.mark.parametrize("name", ["run", "overview"])
def test_ctrl_c_at_any_moment(name: str) -> None:
    """From our first line on: before it, the interpreter starts, which no program can change."""
    ours = (
        "import os, sys, ta_loader.cli.start as start; streams = start._standard_streams;"
        "start._standard_streams = lambda: (os.write(1, b'x'), streams()); sys.exit(start.main())"
    )
    words = ["run", "hello", "--invoke", "6"] if name == "run" else COMMANDS[name]
    ends: collections.Counter[int] = collections.Counter()
    for moment in range(30):
        process = subprocess.Popen([sys.executable, "-c", ours, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout
        assert process.stdout.read(1) == b"x"
        time.sleep(moment * 0.004)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
        assert b"Traceback" not in err, err
        ends[process.returncode] += 1
    assert set(ends) <= {-signal.SIGINT, 130, 0}, ends
    if name == "run":
        assert ends[130], "it never got as far as the command"
