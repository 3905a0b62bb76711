"""A few random instructions; with `-m fuzz` (`make fuzz`) each for $LITEBOX_FUZZ_SECONDS or six seconds.

`python -m tests.fuzz.instructions` runs them for longer.
"""

from __future__ import annotations

import os
import random
import signal

import pytest

from south.engine.unicorn import models
from tests.fuzz.instructions import SETS, Outcome, block, known, run

SECONDS = float(os.environ.get("LITEBOX_FUZZ_SECONDS", "6"))
FEW = 1000
PROCESSORS = [(isa, model) for isa, arch in SETS.items() for model in models(arch)]
every_processor = pytest.mark.parametrize(
    ("isa", "model"), PROCESSORS, ids=[f"{isa}-{model}" for isa, model in PROCESSORS]
)


def _check(isa: str, model: str, outcome: Outcome) -> None:
    assert not outcome.dead, [(code.hex(), how) for code, how in outcome.dead]
    assert not [code.hex() for code in outcome.broken if not known(isa, model, code)]


@every_processor
def test_no_instruction_ends_the_process(isa: str, model: str) -> None:
    outcome = run(isa, model, 1, blocks=FEW)
    _check(isa, model, outcome)
    assert outcome.blocks == FEW


@pytest.mark.fuzz
@every_processor
def test_no_instruction_of_many_ends_the_process(isa: str, model: str) -> None:
    _check(isa, model, run(isa, model, random.randrange(1 << 32), seconds=SECONDS))


def test_blocks_end_with_a_call_and_fit_their_place() -> None:
    rng = random.Random(1)
    for isa in SETS:
        blocks = [block(isa, rng) for _ in range(200)]
        assert max(map(len, blocks)) <= 64
        assert len(set(blocks)) > 190


def test_a_dead_process_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runner's own eyes: a child that a block kills is reported with that block, and the run goes on."""
    from tests.fuzz import instructions

    parent, seen = os.getpid(), []

    def fatal(_cpu: object, _isa: str, _at: int, rng: random.Random) -> object:
        if rng.random() < 0.05:
            assert os.getpid() != parent
            os.kill(os.getpid(), signal.SIGKILL)
        return None

    monkeypatch.setattr(instructions, "_one", fatal)
    outcome = instructions.run("a64", "cortex-a72", 7, blocks=100)
    seen = [how for _, how in outcome.dead]
    assert seen
    assert set(seen) == {"SIGKILL"}
    assert outcome.blocks == 100
    assert all(code for code, _ in outcome.dead)
