"""Little address space ends no process: what does not fit is OUT_OF_MEMORY for the call that wanted it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tee.abi.results import OUT_OF_MEMORY, SUCCESS, TARGET_DEAD

ROOT = Path(__file__).resolve().parents[2]
LEFT = [2, 4, *range(8, 176, 12), 41, 42, 43, 54, 55, 400]
"""MiB; a CPU wants 40 of them, and keeps some 12."""
HARDLY_ANY = 8
"""MiB: what a guest's own translation may want. Where it finds no room, that TA alone dies."""


@pytest.mark.slow
@pytest.mark.parametrize("memory", [1 << 20, 64 << 20], ids=["1 MiB each", "64 MiB each"])
def test_opens_without_room_are_refused(memory: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.hostile.narrow", str(memory), *map(str, LEFT)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert not done.returncode, done.stderr
    children = json.loads(done.stdout)
    assert len(children) == len(LEFT)
    for left, answers in children.items():
        assert isinstance(answers, dict), (left, answers, done.stderr)
        ended = {TARGET_DEAD} if int(left) < HARDLY_ANY else set()
        assert {int(result) for result in answers} <= {SUCCESS, OUT_OF_MEMORY} | ended, left
    assert str(int(OUT_OF_MEMORY)) in children["2"]
    assert str(int(OUT_OF_MEMORY)) in children["55"]
    if memory == 1 << 20:
        assert str(int(OUT_OF_MEMORY)) not in children["400"]
