"""Ciphers through a TA, both ways: NIST CAVP, Wycheproof, RFC 3686 and 3962, SP 800-17's tables, GM/T 0002."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from tee.abi.algorithms import Algorithm, MainAlgorithm, Mode, OperationClass, main_algorithm, operation_class
from tee.services.crypto_supported import supported
from tests.vectors import composed
from tests.vectors.catalogue import AUTHENTICATED, CIPHERS, DIGESTS, MACS, Source
from tests.vectors.driver import Refused, Setup
from tests.vectors.pieces import Phase, exercise
from tests.vectors.published import SM4_MILLION

if TYPE_CHECKING:
    from tests.vectors.driver import Ta
    from tests.vectors.kinds import Crypt


@pytest.mark.parametrize("source", CIPHERS, ids=repr)
def test_ciphers(ta: Ta, source: Source[Crypt], everything: bool) -> None:
    rng = Random(source.name)
    for vector in source.take(everything):
        run(ta, rng, vector, Mode.ENCRYPT)
        run(ta, rng, vector, Mode.DECRYPT)


def run(ta: Ta, rng: Random, vector: Crypt, mode: Mode) -> None:
    source, expected = (vector.plain, vector.cipher) if mode == Mode.ENCRYPT else (vector.cipher, vector.plain)
    operation = ta.start(Setup(vector.algorithm, mode, vector.key1, vector.key2, vector.iv or None))
    granule, hold = ta.granule(vector.algorithm), ta.hold(vector.algorithm)
    phases = [Phase(lambda o, piece, in_place: o.update(piece, in_place), source, granule, hold)]
    for out, last in exercise(rng, operation, phases, lambda o, data, in_place: o.finish(data, in_place)):
        assert out + last == expected


def test_the_composed_xts_is_ieee_1619() -> None:
    vectors = [v for s in CIPHERS if "XTSGen" in s.name or "aes_xts" in s.name for v in s.take(False)]
    assert vectors
    composed.self_check(vectors)


def test_sm4_a_million_times(ta: Ta) -> None:
    """CBC of zeros with the text as IV encrypts it over and over."""
    key, text, expected = SM4_MILLION
    operation = ta.start(Setup(Algorithm.SM4_CBC_NOPAD, Mode.ENCRYPT, key, iv=text))
    piece = bytes(16 * 2000)
    for _ in range(1_000_000 // 2000):
        out = operation.update(piece)
    operation.free()
    assert out[-16:] == expected


@pytest.mark.parametrize("algorithm", [Algorithm.AES_CTS, Algorithm.AES_XTS, Algorithm.SM4_XTS])
def test_less_than_can_be_stolen_from_is_refused(ta: Ta, algorithm: Algorithm) -> None:
    key2 = bytes(range(16)) if algorithm != Algorithm.AES_CTS else b""
    for size in (1, 15):
        with pytest.raises(Refused):
            ta.start(Setup(algorithm, Mode.ENCRYPT, bytes(16), key2, bytes(16))).finish(bytes(size))


def test_every_symmetric_algorithm_served_has_vectors() -> None:
    """And every size of its keys."""
    symmetric = (OperationClass.CIPHER, OperationClass.MAC, OperationClass.AE, OperationClass.DIGEST)
    served = {s.algorithm for s in supported() if s.served and operation_class(s.algorithm) in symmetric}
    seen: dict[int, set[int]] = {}
    for digests in DIGESTS:
        for digest in digests.take(False):
            seen.setdefault(digest.algorithm, set())
    for macs in MACS:
        for mac in macs.take(False):
            seen.setdefault(mac.algorithm, set()).add(len(mac.key))
    for ciphers in CIPHERS:
        for cipher in ciphers.take(False):
            seen.setdefault(cipher.algorithm, set()).add(len(cipher.key1))
    for authenticated in AUTHENTICATED:
        for ae in authenticated.take(False):
            seen.setdefault(ae.algorithm, set()).add(len(ae.key))
    assert {Algorithm(a).name for a in seen} == {Algorithm(a).name for a in served}
    for algorithm, sizes in seen.items():
        if operation_class(algorithm) != OperationClass.DIGEST and algorithm not in composed.HMACS:
            assert set(composed.KEY_SIZES[MainAlgorithm(main_algorithm(algorithm))]) <= sizes, Algorithm(algorithm).name
