"""Feeding an operation in random pieces, with a copy of its state at a random point."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from random import Random

    from tests.vectors.driver import Operation

T = TypeVar("T")

PIECES = 5
"""At most, of each phase."""
ONE_COPY_IN = 8
"""How often nothing is copied."""
IN_PLACE = 0.3


class Phase(NamedTuple):
    """feed: takes the operation, a piece and whether to work in place. granule, hold: see `driver.Ta`."""

    feed: Callable[[Operation, bytes, bool], bytes]
    data: bytes
    granule: int = 1
    hold: int = 0


def cut(rng: Random, data: bytes, granule: int, hold: int) -> list[bytes]:
    """At random multiples of granule; the last piece has at least `hold` bytes. Joined, they are `data`."""
    last = max(0, len(data) - hold) // granule
    points = sorted(rng.randint(0, last) * granule for _ in range(rng.randrange(PIECES)))
    edges = [0, *points, len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def _plan(rng: Random, phases: Sequence[Phase], resumed: bool = False) -> tuple[list[tuple[int, bytes]], bytes]:
    """(phase, piece) for the updates, and what the final call gets: the end of the last phase.

    resumed: phases without data may be over, and are left out.
    """
    plan: list[tuple[int, bytes]] = []
    for number, phase in enumerate(phases):
        if phase.data or not resumed or number == len(phases) - 1:
            plan += [(number, piece) for piece in cut(rng, phase.data, phase.granule, phase.hold)]
    return plan[:-1], plan[-1][1]


def _rest(phases: Sequence[Phase], done: Sequence[tuple[int, bytes]]) -> list[Phase]:
    """What is left of every phase after `done`."""
    fed = [sum(len(piece) for number, piece in done if number == at) for at in range(len(phases))]
    return [phase._replace(data=phase.data[n:]) for phase, n in zip(phases, fed, strict=True)]


def _run(
    rng: Random,
    operation: Operation,
    phases: Sequence[Phase],
    plan: Sequence[tuple[int, bytes]],
    last: bytes,
    finish: Callable[[Operation, bytes, bool], T],
    out: bytes,
) -> Iterator[tuple[bytes, T] | None]:
    """Yields None after each step, then what came out of the updates and of the final call."""
    for number, piece in plan:
        out += phases[number].feed(operation, piece, rng.random() < IN_PLACE)
        yield None
    yield out, finish(operation, last, rng.random() < IN_PLACE)


def exercise(
    rng: Random, operation: Operation, phases: Sequence[Phase], finish: Callable[[Operation, bytes, bool], T]
) -> list[tuple[bytes, T]]:
    """What came out of the updates and of the final call: of the operation and, mostly, of a copy of it.

    The copy is made at a random point and fed other pieces than the original, in turns with it. Both are freed.
    """
    plan, last = _plan(rng, phases)
    operations = [operation]
    if rng.randrange(ONE_COPY_IN):
        at = rng.randrange(len(plan) + 1)
        out = b"".join(phases[number].feed(operation, piece, False) for number, piece in plan[:at])
        operations.append(operation.copy())
        twin_plan, twin_last = _plan(rng, _rest(phases, plan[:at]), resumed=True)
        runs = [
            _run(rng, operation, phases, plan[at:], last, finish, out),
            _run(rng, operations[1], phases, twin_plan, twin_last, finish, out),
        ]
    else:
        runs = [_run(rng, operation, phases, plan, last, finish, b"")]
    results: dict[int, tuple[bytes, T]] = {}
    while pending := [n for n in range(len(runs)) if n not in results]:
        turn = rng.choice(pending)
        result = next(runs[turn])
        if result is not None:
            results[turn] = result
    for each in operations:
        each.free()
    return list(results.values())
