"""What a TA makes the host hold or copy counts as its memory: the process grows by no more than that."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tee.abi.results import OUT_OF_MEMORY, SUCCESS

ROOT = Path(__file__).resolve().parents[2]
MIB = 1 << 20
ENGINE = 8 * MIB
"""A CPU of Unicorn's with what it translates, and the allocators' rounding: per instance."""
WORKING = 32 * MIB
"""What calls copy, and libraries that are loaded on the way: of the process."""
SMALL = 3 * MIB
"""Memory of a TA; kernel objects of 1,024 handles take more."""
NESTED = 17
"""Instances that live at once when TAs open others: `Limits.nested` and the first."""

HELD = ("objects", "operations", "extraction", "keys", "persistent", "mappings", "log", "churn")
"""Bombs of things that stay."""


def grown(name: str, memory: int) -> tuple[int, dict[int, int]]:
    """(bytes, answers by result)."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.hostile.bombs", name, str(memory)], capture_output=True, text=True, cwd=ROOT
    )
    assert not done.returncode, done.stderr
    growth, _, answers = json.loads(done.stdout)
    return growth, {int(result): count for result, count in answers.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", HELD)
def test_what_is_held_counts_as_the_ta_s_memory(name: str) -> None:
    growth, answers = grown(name, SMALL)
    assert growth <= SMALL + ENGINE
    assert answers[SUCCESS] > 100
    if name in ("objects", "operations", "extraction", "keys"):
        assert answers[OUT_OF_MEMORY]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["transfers", "pieces"])
def test_large_transfers_are_not_copied_as_a_whole(name: str) -> None:
    """48 MiB in each call."""
    growth, answers = grown(name, 64 * MIB)
    assert growth <= ENGINE + WORKING + (64 * MIB if name == "pieces" else 0)
    assert answers[SUCCESS] >= 10


@pytest.mark.slow
def test_sessions_of_a_ta_are_as_many_instances_as_allowed() -> None:
    growth, answers = grown("sessions", SMALL)
    assert growth <= NESTED * (SMALL + ENGINE)
    assert answers[OUT_OF_MEMORY] == 3
