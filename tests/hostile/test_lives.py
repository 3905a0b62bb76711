"""What an instance holds of the host is given back when it dies, not when Python collects."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MIB = 1 << 20
SLACK = 24 * MIB
"""Addresses: of allocators, and of what the world keeps by design. An instance has 64 MiB."""


@pytest.mark.parametrize("count", [100, pytest.param(2000, marks=pytest.mark.fuzz)])
def test_nothing_stays_of_instances_that_died(count: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.hostile.lives", str(count)], capture_output=True, text=True, cwd=ROOT
    )
    assert not done.returncode, done.stderr
    (addresses, descriptors, threads), after, dead = json.loads(done.stdout)
    assert after[0] - addresses < SLACK
    assert after[1] <= descriptors
    assert after[2] <= threads
    assert dead[0] - addresses < 2 * SLACK  # twenty dead instances whose sessions are still open
