"""Objects parked in C: what a TA sees of a derivation's target is what it sees when Python alone serves it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from south.platform import Arch
from ta_loader.machines import TA_ARCHES
from tee.abi import results
from tee.abi.algorithms import Algorithm, Mode
from tee.abi.attributes import UTEE_ATTRIBUTE, Attr, Curve
from tee.abi.objects import UTEE_OBJECT_INFO, ObjectType
from tee.crypto.ready import Ready
from tee.params import Kind, Value
from tee.services import crypto_derive
from tests.tas import cryptdrv
from tests.tee.raw_ta import AttrValue, N, RawTa, octets

if TYPE_CHECKING:
    from pathlib import Path

INFO, ROOM, OUT, PEERS, LIST = 0, 0x40, 0x80, 0x200, 0x800  # in the scratch memory
TARGETS = 6  # more than can be parked
CURVES = {Curve.NIST_P256: ec.SECP256R1(), Curve.NIST_P521: ec.SECP521R1()}
Key = ec.EllipticCurvePrivateKey


class Deriver(RawTa):
    """Derives into some objects; three peers, of which the last one is not on the curve."""

    def __init__(self, state: Path, arch: Arch, curve: Curve, own: Key, peers: list[Key]) -> None:
        super().__init__(state, arch)
        self.size = (own.key_size + 7) // 8
        numbers = own.private_numbers()
        attrs: list[AttrValue] = [
            (Attr.ECC_CURVE, curve, 0),
            (Attr.ECC_PRIVATE_VALUE, octets(numbers.private_value)),
            (Attr.ECC_PUBLIC_VALUE_X, octets(numbers.public_numbers.x)),
            (Attr.ECC_PUBLIC_VALUE_Y, octets(numbers.public_numbers.y)),
        ]
        algo = Algorithm.ECDH_DERIVE_SHARED_SECRET
        self.state, self.key = self.operation(algo, Mode.DERIVE, ObjectType.ECDH_KEYPAIR, own.key_size, *attrs)
        self.targets = [self._target(ObjectType.GENERIC_SECRET, 528) for _ in range(TARGETS - 1)]
        self.targets.append(self._target(ObjectType.AES, 256))
        for i, peer in enumerate(peers):
            point = peer.public_key().public_numbers()
            self._lay(i, octets(point.x, self.size), octets(point.y, self.size))
        self._lay(len(peers), bytes(self.size), octets(1, self.size))

    def _target(self, type_: ObjectType, bits: int) -> int:
        made = Value(Kind.VALUE_OUTPUT)
        self.call("cryp_obj_alloc", Value(Kind.VALUE_INPUT, type_, bits), made)
        return made.a

    def _lay(self, peer: int, *coordinates: bytes) -> None:
        records = []
        for i, (attr, number) in enumerate(
            zip((Attr.ECC_PUBLIC_VALUE_X, Attr.ECC_PUBLIC_VALUE_Y), coordinates, strict=True)
        ):
            at, value = LIST + 0x40 * peer + 24 * i, PEERS + 0x100 * peer + 0x80 * i
            self.scratch[value : value + len(number)] = number
            self.scratch[at : at + 24] = UTEE_ATTRIBUTE.pack(0, len(number), attr)
            records.append(cryptdrv.raw(cryptdrv.RAW_POKE, at, value, relocate=1 << 0 | 1 << 1))
        self.raw(*records)

    def derive(self, target: int, peer: int, count: int = 2) -> bytes:
        return cryptdrv.raw(N["cryp_derive_key"], self.state, LIST + 0x40 * peer, count, target, relocate=1 << 1)

    def info(self, target: int) -> bytes:
        return cryptdrv.raw(N["cryp_obj_get_info"], target, INFO, relocate=1 << 1)

    def read(self, target: int, attr: int = Attr.SECRET_VALUE) -> bytes:
        return cryptdrv.raw(N["cryp_obj_get_attr"], target, attr, OUT, ROOM, relocate=1 << 2 | 1 << 3)

    def set_room(self, room: int) -> None:
        self.scratch[ROOM : ROOM + 8] = room.to_bytes(8, "little")
        self.scratch[OUT : OUT + 0x80] = bytes(0x80)

    def seen(self) -> bytes:
        return bytes(self.scratch[INFO:PEERS])


@pytest.mark.parametrize("arch", TA_ARCHES, ids=lambda a: a.value)
@pytest.mark.parametrize("curve", list(CURVES), ids=lambda c: c.name)
def test_what_c_derives(tmp_path: Path, arch: Arch, curve: Curve, monkeypatch: pytest.MonkeyPatch) -> None:
    own, *peers = (ec.generate_private_key(CURVES[curve]) for _ in range(3))
    in_python: list[bytes] = []
    agree = Ready.agree

    def count(ready: Ready, x: bytes, y: bytes) -> bytes:
        in_python.append(agree(ready, x, y))
        return in_python[-1]

    monkeypatch.setattr(Ready, "agree", count)
    ta = Deriver(tmp_path, arch, curve, own, peers)
    target = ta.targets[0]
    for i in (0, 1, 0, 1):
        ta.set_room(66)
        done = ta.raw(ta.derive(target, i), ta.read(target), ta.info(target))
        assert done == [results.SUCCESS] * 3
        assert bytes(ta.scratch[OUT : OUT + ta.size]) == own.exchange(ec.ECDH(), peers[i].public_key())
        assert UTEE_OBJECT_INFO.unpack_from(ta.scratch, INFO)[6] == 0x20000
    assert len(in_python) == 1
    assert ta.raw(ta.derive(target, 2)) == [results.BAD_PARAMETERS]
    ta.call("cryp_obj_reset", Value(Kind.VALUE_INPUT, target))
    assert ta.raw(ta.read(target), ta.derive(target, 0)) == [results.BAD_PARAMETERS, results.SUCCESS]
    ta.world.close()


def _play(ta: Deriver, seed: int) -> list[object]:
    """What the TA sees of the same random calls; some of them make Python take an object back."""
    dice = random.Random(seed)
    seen: list[object] = []
    for _ in range(250):
        target = dice.choice(ta.targets)
        ta.set_room(dice.choice((66, 66, 66, 32, 8)))
        call = dice.choice(("derive", "derive", "read", "info", "reset", "restrict", "copy", "populate", "public"))
        if call == "derive":
            record = ta.derive(target, dice.choice((0, 0, 1, 2)), dice.choice((2, 2, 2, 1)))
        elif call == "read":
            record = ta.read(target)
        elif call == "public":
            record = ta.read(target, Attr.ECC_PUBLIC_VALUE_X)
        elif call == "info":
            record = ta.info(dice.choice((target, ta.key)))
        elif call == "reset":
            record = cryptdrv.raw(N["cryp_obj_reset"], target)
        elif call == "restrict":
            record = cryptdrv.raw(N["cryp_obj_restrict_usage"], target, dice.choice((0xFFFFFFFE, 0xFF, 0xFFFFFFFF)))
        elif call == "copy":
            record = cryptdrv.raw(N["cryp_obj_copy"], target, dice.choice(ta.targets))
        else:
            record = cryptdrv.raw(N["cryp_obj_populate"], target, 0, 0)
        seen.append((call, ta.targets.index(target), ta.raw(record), ta.seen()))
    for i, target in enumerate(ta.targets):
        ta.set_room(66)
        seen.append((i, ta.raw(ta.info(target), ta.read(target)), ta.seen()))
        if i % 2:
            ta.call("cryp_obj_close", Value(Kind.VALUE_INPUT, target))
            seen.append(ta.raw(ta.info(target)))
    return seen


@pytest.mark.parametrize("curve", list(CURVES), ids=lambda c: c.name)
@pytest.mark.parametrize("seed", range(6))
def test_a_ta_sees_no_difference(tmp_path: Path, curve: Curve, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    own, *peers = (ec.generate_private_key(CURVES[curve]) for _ in range(3))
    with_c = Deriver(tmp_path / "c", Arch.AARCH64, curve, own, peers)
    parked = _play(with_c, seed)
    with_c.world.close()
    monkeypatch.setattr(crypto_derive, "park", lambda *args: None)
    without = Deriver(tmp_path / "python", Arch.AARCH64, curve, own, peers)
    assert parked == _play(without, seed)
    without.world.close()
