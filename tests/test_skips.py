"""Where CI=true a skip whose reason is not listed fails the run, in one process and in several."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.threads import PATIENCE

ROOT = Path(__file__).parents[1]
WAYS = {
    "inside": "import pytest\ndef test_it(): pytest.skip({reason!r})\n",
    "marked": "import pytest\n@pytest.mark.skip(reason={reason!r})\ndef test_it(): pass\n",
    "module": "import pytest\npytest.skip({reason!r}, allow_module_level=True)\n",
}
LISTED = "no TF-A for QEMU's board"
UNLISTED = "this machine is too tired"


def run(folder: Path, processes: int, ci: str) -> tuple[str, int]:
    """What pytest prints, and its exit code, for one test that passes and for each way to skip with each reason."""
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_fine.py").write_text("def test_fine(): pass\n")
    for way, code in WAYS.items():
        for name, reason in (("listed", LISTED), ("unlisted", UNLISTED)):
            (folder / f"test_{way}_{name}.py").write_text(code.format(reason=reason))
    environment = {**os.environ, "CI": ci, "PYTHONPATH": str(ROOT)}
    plugins = ["-p", "tests.conftest", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *plugins, "-n", str(processes), "--continue-on-collection-errors"]
    done = subprocess.run(
        [*command, "-rfE", str(folder)], cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    return done.stdout, done.returncode


@pytest.mark.parametrize("processes", [0, 2])
def test_an_unlisted_skip_fails(tmp_path: Path, processes: int) -> None:
    out, code = run(tmp_path, processes, "true")
    assert code not in (0, 5), out
    for way in WAYS:
        assert re.search(rf"^(FAILED|ERROR) \S*test_{way}_unlisted", out, re.M), out
    assert "_listed" not in out.partition("short test summary")[2]
    assert "does not list: " in out
    assert "1 passed" in out


@pytest.mark.parametrize("processes", [0, 2])
def test_it_does_not_where_nobody_says_ci(tmp_path: Path, processes: int) -> None:
    out, code = run(tmp_path, processes, "")
    assert code == 0, out
    assert "1 passed, 6 skipped" in out
