"""MACs through a TA: NIST SP 800-38B, Wycheproof, RFC 2202 and 4231, NIST's HMAC-SHA3, GM/T 0042, FIPS 113."""

from __future__ import annotations

import hashlib
from random import Random
from typing import TYPE_CHECKING

import pytest

from tee.abi.algorithms import Mode
from tee.abi.objects import TYPES
from tests.vectors.catalogue import MACS, Source
from tests.vectors.composed import HMACS
from tests.vectors.driver import Refused, Setup, key_type
from tests.vectors.pieces import Phase, exercise

if TYPE_CHECKING:
    from tests.vectors.driver import Operation, Ta
    from tests.vectors.kinds import Mac


def fitting(algorithm: int, key: bytes) -> bytes | None:
    """The key in a form of a size that OP-TEE takes, if it has one.

    RFC 2104 §2 fills a short key up with zeros, and hashes one that is longer than the hash's block.
    """
    if algorithm not in HMACS:
        return key
    properties = TYPES[key_type(algorithm)]
    name = HMACS[algorithm]  # type: ignore[index]
    if len(key) > hashlib.new(name).block_size:
        key = hashlib.new(name, key).digest()
    key = key.ljust(properties.min_bits // 8, b"\0")
    return key if len(key) <= min(properties.max_bits // 8, properties.alloc) else None


def taken(algorithm: int, key: bytes) -> bool:
    """Whether OP-TEE takes a key of that size as it is."""
    properties = TYPES[key_type(algorithm)]
    bits = len(key) * 8
    in_range = properties.min_bits <= bits <= properties.max_bits and len(key) <= properties.alloc
    return in_range and bits % properties.quanta == 0


@pytest.mark.parametrize("source", MACS, ids=repr)
def test_macs(ta: Ta, source: Source[Mac], everything: bool) -> None:
    rng = Random(source.name)
    ran = 0
    for vector in source.take(everything):
        if vector.algorithm in HMACS and not taken(vector.algorithm, vector.key):
            with pytest.raises(Refused):
                ta.start(Setup(vector.algorithm, Mode.MAC, vector.key))
        key = fitting(vector.algorithm, vector.key)
        if key is None:
            continue
        if not taken(vector.algorithm, key) and not vector.valid:
            with pytest.raises(Refused):
                ta.start(Setup(vector.algorithm, Mode.MAC, key))
            continue
        check(ta, rng, vector._replace(key=key))
        ran += 1
    assert ran


def check(ta: Ta, rng: Random, vector: Mac) -> None:
    setup = Setup(vector.algorithm, Mode.MAC, vector.key)
    phases = [Phase(lambda o, piece, _: o.absorb(piece), vector.message)]
    for _, mac in exercise(rng, ta.start(setup), phases, lambda o, data, _: o.mac(data, len(vector.mac))):
        assert (mac == vector.mac) == vector.valid

    wrong = bytearray(vector.mac)
    wrong[rng.randrange(len(wrong))] ^= 1 << rng.randrange(8)
    others = [(vector.mac, vector.valid), (vector.mac[:-1], False)]
    if vector.valid:
        others.append((bytes(wrong), False))
    for candidate, right in others:

        def compare(operation: Operation, data: bytes, _: bool, candidate: bytes = candidate) -> bool:
            return operation.compare(data, candidate)

        for _, equal in exercise(rng, ta.start(setup), phases, compare):
            assert equal is right
