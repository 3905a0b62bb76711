"""Keys that stay with their operations: what C signs after Python's first call is right, and follows the key."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from south.platform import Arch
from ta_loader.machines import TA_ARCHES
from tee.abi import results
from tee.abi.algorithms import Algorithm, Mode
from tee.abi.attributes import UTEE_ATTRIBUTE, Attr, Curve
from tee.abi.objects import ObjectType
from tee.params import Kind, Value
from tests.tas import cryptdrv
from tests.tee.raw_ta import AttrValue, N, RawTa, octets

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DIGEST, ROOM, PARAMS, SIGNATURES, SLOT = 0, 0x40, 0x80, 0x200, 0x100  # in the scratch memory
SHA256 = utils.Prehashed(hashes.SHA256())


class Ta(RawTa):
    def __init__(self, state: Path, arch: Arch) -> None:
        super().__init__(state, arch)
        self.scratch[DIGEST : DIGEST + 32] = bytes(range(32))

    def signatures(self, state: int, size: int, count: int, params: int = 0) -> list[bytes]:
        self.scratch[ROOM : ROOM + 8] = SLOT.to_bytes(8, "little")
        base = 1 << 1 | 1 << 3 | 1 << 5 | 1 << 6
        records = [
            cryptdrv.raw(
                N["asymm_operate"], state, PARAMS, params, DIGEST, 32, SIGNATURES + SLOT * i, ROOM, relocate=base
            )
            for i in range(count)
        ]
        assert self.raw(*records) == [results.SUCCESS] * count
        assert int.from_bytes(self.scratch[ROOM : ROOM + 8], "little") == size
        return [bytes(self.scratch[SIGNATURES + SLOT * i :][:size]) for i in range(count)]

    def verdicts(self, state: int, *signatures: bytes, params: int = 0) -> list[int]:
        records = []
        for i, signature in enumerate(signatures):
            at = SIGNATURES + SLOT * i
            self.scratch[at : at + len(signature)] = signature
            words = (state, PARAMS, params, DIGEST, 32, at, len(signature))
            records.append(cryptdrv.raw(N["asymm_verify"], *words, relocate=1 << 1 | 1 << 3 | 1 << 5))
        return self.raw(*records)


@pytest.fixture(params=TA_ARCHES, ids=lambda a: a.value)
def ta(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ta]:
    made = Ta(tmp_path, request.param)
    yield made
    made.world.close()


def ec_attributes(key: ec.EllipticCurvePrivateKey) -> list[AttrValue]:
    numbers = key.private_numbers()
    public = numbers.public_numbers
    return [
        (Attr.ECC_CURVE, Curve.NIST_P256, 0),
        (Attr.ECC_PRIVATE_VALUE, octets(numbers.private_value)),
        (Attr.ECC_PUBLIC_VALUE_X, octets(public.x)),
        (Attr.ECC_PUBLIC_VALUE_Y, octets(public.y)),
    ]


def check_ec(key: ec.EllipticCurvePrivateKey, signature: bytes) -> None:
    r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    key.public_key().verify(utils.encode_dss_signature(r, s), bytes(range(32)), ec.ECDSA(SHA256))


def test_a_curve_s_signatures_follow_the_key(ta: Ta) -> None:
    first, second = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    algo = Algorithm.ECDSA_SHA256
    state, key = ta.operation(algo, Mode.SIGN, ObjectType.ECDSA_KEYPAIR, 256, *ec_attributes(first))
    signatures = ta.signatures(state, 64, 4)
    for signature in signatures:
        check_ec(first, signature)
    assert len(set(signatures)) == 4
    ta.call("cryp_obj_reset", Value(Kind.VALUE_INPUT, key))
    ta.populate(key, *ec_attributes(second))
    for signature in ta.signatures(state, 64, 3):
        check_ec(second, signature)
        with pytest.raises(InvalidSignature):
            check_ec(first, signature)


def test_a_curve_s_verdicts_follow_the_key(ta: Ta) -> None:
    first, second = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    der = first.sign(bytes(range(32)), ec.ECDSA(SHA256))
    good = b"".join(octets(number, 32) for number in utils.decode_dss_signature(der))
    bad = good[:40] + bytes([good[40] ^ 1]) + good[41:]
    algo, invalid = Algorithm.ECDSA_SHA256, results.SIGNATURE_INVALID
    state, key = ta.operation(algo, Mode.VERIFY, ObjectType.ECDSA_KEYPAIR, 256, *ec_attributes(first))
    assert ta.verdicts(state, good, bad, good, bytes(64)) == [results.SUCCESS, invalid, results.SUCCESS, invalid]
    assert ta.verdicts(state, good[:63]) == [results.BAD_PARAMETERS]
    ta.call("cryp_obj_reset", Value(Kind.VALUE_INPUT, key))
    ta.populate(key, *ec_attributes(second))
    assert ta.verdicts(state, good, good) == [invalid, invalid]


@pytest.mark.parametrize("salt", [None, 32, 20, 0])
def test_rsa(ta: Ta, salt: int | None) -> None:
    private = rsa.generate_private_key(65537, 1024)
    numbers = private.private_numbers()
    attrs: list[AttrValue] = [
        (Attr.RSA_MODULUS, octets(numbers.public_numbers.n)), (Attr.RSA_PUBLIC_EXPONENT, octets(65537)),
        (Attr.RSA_PRIVATE_EXPONENT, octets(numbers.d)), (Attr.RSA_PRIME1, octets(numbers.p)),
        (Attr.RSA_PRIME2, octets(numbers.q)), (Attr.RSA_EXPONENT1, octets(numbers.dmp1)),
        (Attr.RSA_EXPONENT2, octets(numbers.dmq1)), (Attr.RSA_COEFFICIENT, octets(numbers.iqmp)),
    ]  # fmt: skip
    scheme: padding.AsymmetricPadding = padding.PKCS1v15()
    algo = Algorithm.RSASSA_PKCS1_V1_5_SHA256
    if salt is not None:
        ta.scratch[PARAMS : PARAMS + 24] = UTEE_ATTRIBUTE.pack(salt, 0, Attr.RSA_PSS_SALT_LENGTH)
        scheme, algo = padding.PSS(padding.MGF1(hashes.SHA256()), salt), Algorithm.RSASSA_PKCS1_PSS_MGF1_SHA256
    params = int(salt is not None)
    state, _ = ta.operation(algo, Mode.SIGN, ObjectType.RSA_KEYPAIR, 1024, *attrs)
    signatures = ta.signatures(state, 128, 3, params)
    for signature in signatures:
        private.public_key().verify(signature, bytes(range(32)), scheme, SHA256)
    if salt is not None:  # another length in the same operation, then none, which stands for the digest's
        ta.scratch[PARAMS : PARAMS + 8] = (11).to_bytes(8, "little")
        (signature,) = ta.signatures(state, 128, 1, 1)
        other = padding.PSS(padding.MGF1(hashes.SHA256()), 11)
        private.public_key().verify(signature, bytes(range(32)), other, SHA256)
        (signature,) = ta.signatures(state, 128, 1)
        usual = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
        private.public_key().verify(signature, bytes(range(32)), usual, SHA256)
        ta.scratch[PARAMS : PARAMS + 8] = salt.to_bytes(8, "little")
    state, _ = ta.operation(algo, Mode.VERIFY, ObjectType.RSA_PUBLIC_KEY, 1024, *attrs[:2])
    wrong = bytes([signatures[0][0] ^ 1]) + signatures[0][1:]
    found = ta.verdicts(state, *signatures, wrong, params=params)
    assert found == [results.SUCCESS] * 3 + [results.SIGNATURE_INVALID]
