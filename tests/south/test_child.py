"""A child that goes with us: what it says, how it ends, and that it goes when we are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from south.linux_host.child import Child
from tests.threads import PATIENCE


def descriptors() -> set[str]:
    folder = "/proc/self/fd"
    return {f"{fd} {os.readlink(f'{folder}/{fd}')}" for fd in os.listdir(folder) if os.path.lexists(f"{folder}/{fd}")}


def gone(pid: int) -> bool:
    """A zombie, which nobody may have waited for, counts as gone."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                return True
        except OSError:
            return True
        time.sleep(0.01)
    return False


def test_what_a_process_says_is_kept_in_bounds() -> None:
    before = descriptors()
    script = "import sys\nfor n in range(300_000): print(n, 'of many', file=sys.stderr)\nsys.exit(3)"
    for words, status in (([sys.executable, "-c", script], 3), (["/bin/sh", "-c", "echo few >&2"], 0)):
        made = Child(words)
        assert made.wait(60) == status
        said = made.said()
        made.close()
        if status:
            assert said.startswith("0 of many\n1 of many\n")
            assert said.endswith("299999 of many")
            assert "bytes more]" in said
            assert len(said) < 3100
        else:
            assert said == "few"
    assert descriptors() == before


def test_a_log_takes_both_outputs(tmp_path: Path) -> None:
    before, threads = descriptors(), set(threading.enumerate())
    with (tmp_path / "log").open("ab") as log:
        made = Child(["/bin/sh", "-c", "pwd; echo err >&2; exec sleep 1000"], folder=str(tmp_path), log=log)
    assert made.wait(0) is None
    end = time.monotonic() + PATIENCE
    while (tmp_path / "log").read_text() != f"{tmp_path}\nerr\n":
        assert time.monotonic() < end
        time.sleep(0.01)
    made.close()
    assert made.wait() == -signal.SIGTERM
    assert descriptors() == before
    assert set(threading.enumerate()) == threads


def test_what_cannot_be_started(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        Child(["/bin/true"], folder=str(tmp_path / "file"))
    made = Child(["/nowhere/program"])
    assert made.wait(PATIENCE) == 1
    assert made.said() == "/nowhere/program: No such file or directory"
    made.close()


PARENT = """
import sys, threading
from south.linux_host.child import Child
made = []
thread = threading.Thread(target=lambda: made.append(Child(["/bin/sleep", "1000"])))
thread.start()
thread.join()
print(made[0].pid, made[0].wait(0.2), flush=True)
threading.Event().wait()
"""


def test_it_goes_when_we_are_killed_and_not_with_the_thread_that_asked() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid, status = parent.stdout.readline().split()
        assert status == "None"
        parent.kill()
        assert gone(int(pid))
