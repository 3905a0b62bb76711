"""Digests through a TA: NIST CAVP, RFC 1321, GM/T 0004; extendable outputs in pieces; Monte Carlo chains."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from tee.abi.algorithms import XOF, Mode
from tests.vectors.catalogue import DIGESTS, MONTE, Source
from tests.vectors.driver import Setup
from tests.vectors.files import nist, octets
from tests.vectors.pieces import Phase, cut, exercise

if TYPE_CHECKING:
    from tests.vectors.driver import Operation, Ta
    from tests.vectors.kinds import Digest

CHAIN = 1000
"""Digests from one checkpoint of a Monte Carlo test to the next (SHAVS §6.4, SHA3VS §6.2.3 and §6.3.3)."""
CHECKPOINTS = 2
"""Of a Monte Carlo test, when not everything is run."""


def squeezed(rng: Random, operation: Operation, size: int) -> bytes:
    """All of a digest in pieces, the last one by a copy; the original must give the same."""
    out = b""
    pieces = [len(piece) for piece in cut(rng, bytes(size), 1, 1) if piece]
    for n in pieces[:-1]:
        out += operation.squeeze(n)
    twin = operation.copy()
    last = twin.squeeze(pieces[-1])
    twin.free()
    assert operation.squeeze(pieces[-1]) == last
    return out + last


@pytest.mark.parametrize("source", DIGESTS, ids=repr)
def test_digests(ta: Ta, source: Source[Digest], everything: bool) -> None:
    rng = Random(source.name)
    for vector in source.take(everything):
        in_pieces = vector.algorithm in XOF or (ta.libutee and rng.random() < 0.3)

        def end(
            operation: Operation, data: bytes, _: bool, vector: Digest = vector, in_pieces: bool = in_pieces
        ) -> bytes:
            if in_pieces and rng.random() < 0.7:
                operation.absorb(data)
                return squeezed(rng, operation, len(vector.digest))
            return operation.digest(data, len(vector.digest))

        operation = ta.start(Setup(vector.algorithm, Mode.DIGEST))
        phases = [Phase(lambda o, piece, _: o.absorb(piece), vector.message)]
        for _, digest in exercise(rng, operation, phases, end):
            assert digest == vector.digest


def once(ta: Ta, algorithm: int, message: bytes, size: int) -> bytes:
    operation = ta.start(Setup(algorithm, Mode.DIGEST))
    digest = operation.digest(message, size)
    operation.free()
    return digest


def sha2_chain(ta: Ta, algorithm: int, seed: bytes) -> bytes:
    last = [seed] * 3
    for _ in range(CHAIN):
        last = [*last[1:], once(ta, algorithm, b"".join(last), len(seed))]
    return last[-1]


def sha3_chain(ta: Ta, algorithm: int, seed: bytes) -> bytes:
    for _ in range(CHAIN):
        seed = once(ta, algorithm, seed, len(seed))
    return seed


@pytest.mark.parametrize("name", [name for name, algorithm in MONTE.items() if algorithm not in XOF])
def test_monte_carlo(ta: Ta, name: str, everything: bool) -> None:
    records = nist(name)
    chain = sha3_chain if "/SHA3/" in name else sha2_chain
    value = octets(records[0], "seed")
    for record in records[: 10 if everything else CHECKPOINTS]:
        value = chain(ta, MONTE[name], value)
        assert value == octets(record, "md")


@pytest.mark.parametrize("name", [name for name, algorithm in MONTE.items() if algorithm in XOF])
def test_monte_carlo_of_changing_sizes(ta: Ta, name: str, everything: bool) -> None:
    records = nist(name)
    smallest = -(-int(records[0]["minimum output length (bits)"]) // 8)
    largest = int(records[0]["maximum output length (bits)"]) // 8
    value = octets(records[0], "msg")
    size = largest
    for record in records[: 10 if everything else CHECKPOINTS]:
        for _ in range(CHAIN):
            value = once(ta, MONTE[name], value[:16].ljust(16, b"\0"), size)
            size = smallest + int.from_bytes(value[-2:], "big") % (largest - smallest + 1)
        assert value == octets(record, "output")
