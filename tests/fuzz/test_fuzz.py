"""Every fuzz target for a moment; with `-m fuzz` (`make fuzz`) for ten seconds, or $LITEBOX_FUZZ_SECONDS."""

from __future__ import annotations

import os
import random

import pytest

from tests.fuzz.driver import Failure, check, fuzz
from tests.fuzz.targets import TARGETS, Target, save

SECONDS = float(os.environ.get("LITEBOX_FUZZ_SECONDS", "10"))
MOMENT = 0.4


@pytest.mark.parametrize("seconds", [MOMENT, pytest.param(SECONDS, marks=pytest.mark.fuzz)])
@pytest.mark.parametrize("name", TARGETS)
def test_target(name: str, seconds: float) -> None:
    seed = 1 if seconds == MOMENT else random.randrange(1 << 32)
    try:
        assert fuzz(TARGETS[name], seconds, seed) > 5
    except Failure as failure:
        if seconds != MOMENT:
            save(name, failure.data)
        raise


def test_the_driver_finds_defects() -> None:
    def broken(data: bytes) -> None:
        if b"\xff" in data:
            raise IndexError

    with pytest.raises(Failure, match="IndexError") as found:
        fuzz(Target(broken, lambda: [b"abcd" * 10]), 5, 1)
    with pytest.raises(Failure):
        check(Target(broken, lambda: []), found.value.data)
