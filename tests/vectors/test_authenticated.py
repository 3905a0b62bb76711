"""AES-GCM and AES-CCM through a TA: NIST CAVP and Wycheproof, both ways, forged ones too."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from tee.abi.algorithms import Algorithm, Mode
from tee.abi.results import MAC_INVALID, NOT_SUPPORTED
from tests.vectors.catalogue import AUTHENTICATED, Source
from tests.vectors.driver import AeInit, Refused, Setup
from tests.vectors.pieces import Phase, exercise

if TYPE_CHECKING:
    from tests.vectors.driver import Operation, Ta
    from tests.vectors.kinds import Ae

LARGE = 2000
"""Vectors; a file with more is shared out among the TAs."""
FORGED_ONE_IN = 3
GCM_TAG_MIN = 12
"""Bytes; GP's smallest for GCM, which libutee insists on, and the system call does not."""


@pytest.mark.parametrize("source", AUTHENTICATED, ids=repr)
def test_authenticated_encryption(ta: Ta, source: Source[Ae], everything: bool) -> None:
    rng = Random(source.name)
    ran = 0
    vectors = source.take(everything)
    for vector in vectors[ta.share] if len(vectors) > LARGE else vectors:
        if not vector.parameters:
            for mode in (Mode.ENCRYPT, Mode.DECRYPT):
                with pytest.raises(Refused):
                    ta.start(setup(vector, mode))
            continue
        if unsupported(ta, vector):
            with pytest.raises(Refused) as refusal:
                ta.start(setup(vector, Mode.ENCRYPT))
            assert refusal.value.result == NOT_SUPPORTED
            continue
        if vector.valid:
            encrypt(ta, rng, vector)
            decrypt(ta, rng, vector)
        if not vector.valid or rng.randrange(FORGED_ONE_IN) == 0:
            decrypt_forged(ta, rng, forged(rng, vector) if vector.valid else vector)
        ran += 1
    assert ran


def setup(vector: Ae, mode: Mode) -> Setup:
    ae = AeInit(vector.nonce, len(vector.tag), len(vector.aad), len(vector.cipher))
    return Setup(vector.algorithm, mode, vector.key, ae=ae)


def unsupported(ta: Ta, vector: Ae) -> bool:
    return vector.algorithm == Algorithm.AES_GCM and ta.libutee and len(vector.tag) < GCM_TAG_MIN


def phases(aad: bytes, payload: bytes) -> list[Phase]:
    return [
        Phase(lambda o, piece, _: o.aad(piece), aad),
        Phase(lambda o, piece, in_place: o.ae_update(piece, in_place), payload),
    ]


def encrypt(ta: Ta, rng: Random, vector: Ae) -> None:
    operation = ta.start(setup(vector, Mode.ENCRYPT))
    steps = phases(vector.aad, vector.plain)
    for out, (last, tag) in exercise(rng, operation, steps, lambda o, data, _: o.seal(data, len(vector.tag))):
        assert out + last == vector.cipher
        assert tag == vector.tag


def decrypt(ta: Ta, rng: Random, vector: Ae) -> None:
    operation = ta.start(setup(vector, Mode.DECRYPT))
    steps = phases(vector.aad, vector.cipher)
    for out, last in exercise(rng, operation, steps, lambda o, data, _: o.open(data, vector.tag)):
        assert out + last == vector.plain


def forged(rng: Random, vector: Ae) -> Ae:
    """One bit of tag, cipher text, AAD or nonce is wrong."""
    name = rng.choice([n for n in ("tag", "cipher", "aad", "nonce") if getattr(vector, n)])
    wrong = bytearray(getattr(vector, name))
    wrong[rng.randrange(len(wrong))] ^= 1 << rng.randrange(8)
    fields: dict[str, bytes] = {name: bytes(wrong)}
    return vector._replace(valid=False, **fields)  # type: ignore[arg-type]


def decrypt_forged(ta: Ta, rng: Random, vector: Ae) -> None:
    """The copy and the original both say so, and hand out nothing in the final call (`Operation.open` sees to it)."""

    def end(operation: Operation, data: bytes, _: bool) -> Refused | None:
        try:
            operation.open(data, vector.tag)
        except Refused as refusal:
            return refusal
        return None

    operation = ta.start(setup(vector, Mode.DECRYPT))
    for _, refusal in exercise(rng, operation, phases(vector.aad, vector.cipher), end):
        assert refusal is not None
        assert refusal.result == MAC_INVALID
