"""A plain mutational driver: no coverage, no dependencies, repeatable by its seed."""

from __future__ import annotations

import random
import re
import time
from typing import TYPE_CHECKING

from tests.hostile.mutate import mutated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.fuzz.targets import Target

SLOW = 2.0
"""Seconds that one input may take; twice the promise, for a machine that is busy."""
MAX_SIZE = 1 << 16
NUMBER = re.compile(rb"0x[0-9a-f]+|[0-9]+")
NUMBERS = (b"0", b"-1", b"4294967296", b"0xffffffffffffffff", b"99999999999999999999", b"1e9", b"")


class Failure(Exception):
    """data: the input that showed a defect."""

    def __init__(self, data: bytes, why: str) -> None:
        super().__init__(why)
        self.data = data


def mutate(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """One input: a seed with bits, bytes, words, numbers, lines or halves changed."""
    data = rng.choice(seeds)
    for _ in range(rng.choice((1, 1, 2, 4))):
        dice = rng.randrange(8)
        if dice < 4 or not data:
            data = mutated(data or b"\0", rng, 512)
        elif dice == 4:  # a piece again, or gone
            a, b = sorted(rng.randrange(len(data) + 1) for _ in range(2))
            piece = data[a : min(b, a + 256)]
            data = data[:a] + piece * rng.choice((0, 2, 2, 40)) + data[a + len(piece) :]
        elif dice == 5:  # half of this, half of another
            other = rng.choice(seeds)
            data = data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]
        elif dice == 6:  # numbers in text
            found = list(NUMBER.finditer(data[:4096]))
            if found:
                hit = rng.choice(found)
                data = data[: hit.start()] + rng.choice(NUMBERS) + data[hit.end() :]
        else:
            at = rng.randrange(len(data) + 1)
            data = data[:at] + rng.randbytes(rng.randrange(1, 16)) + data[at:]
    return data[:MAX_SIZE]


def check(target: Target, data: bytes) -> None:
    """Failure if the target raises or takes long."""
    # Of this process alone: the machine may be busy with others.
    start = time.process_time()
    try:
        target.fuzz_one(data)
    except Exception as error:
        raise Failure(data, f"{type(error).__name__}: {error}") from error
    took = time.process_time() - start
    if took > SLOW:
        raise Failure(data, f"it took {took:.1f} s")


def fuzz(target: Target, seconds: float, seed: int) -> int:
    """Inputs tried within `seconds`. Failure at the first defect."""
    rng = random.Random(seed)
    seeds = list(target.seeds())
    end = time.monotonic() + seconds
    for data in seeds:
        check(target, data)
    count = len(seeds)
    while time.monotonic() < end:
        check(target, mutate(rng, seeds))
        count += 1
    return count
