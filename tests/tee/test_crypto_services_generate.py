"""Generated key pairs: pyca checks them, and works with them; what OP-TEE refuses is refused."""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dh, dsa, rsa, x448, x25519

from tee.abi import results
from tee.abi.algorithms import Algorithm
from tee.abi.attributes import Attr, Curve
from tee.abi.objects import ObjectType
from tee.crypto import keys
from tests.tee.key_kit import AttrValue, derive, key_ta, octets

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tee.abi.results import Result
    from tests.tee.fake_ta import FakeTask

_T = ObjectType


@pytest.fixture
def ta() -> Iterator[FakeTask]:
    yield from key_ta()


def generate(ta: FakeTask, type_: ObjectType, bits: int, *attrs: AttrValue, room: int = 0) -> tuple[Result, int]:
    key = ta.alloc(type_, room or bits)
    return ta.call("cryp_obj_generate_key", key, bits, *ta.attributes(*attrs)), key


def number(ta: FakeTask, key: int, attr: Attr) -> int:
    result, value = ta.get(key, attr)
    assert result == results.SUCCESS
    return int.from_bytes(value, "big")


def checked_rsa(ta: FakeTask, key: int, bits: int, e: int) -> None:
    n, d, p, q, dp, dq, qinv = (
        number(ta, key, attr)
        for attr in (Attr.RSA_MODULUS, Attr.RSA_PRIVATE_EXPONENT, Attr.RSA_PRIME1, Attr.RSA_PRIME2,
                     Attr.RSA_EXPONENT1, Attr.RSA_EXPONENT2, Attr.RSA_COEFFICIENT)
    )  # fmt: skip
    assert number(ta, key, Attr.RSA_PUBLIC_EXPONENT) == e
    assert ta.info(key)[1] == bits == n.bit_length()
    assert n == p * q
    assert e * d % math.lcm(p - 1, q - 1) == 1
    assert (dp, dq, qinv * q % p) == (d % (p - 1), d % (q - 1), 1)
    assert all(pow(base, prime - 1, prime) == 1 for prime in (p, q) for base in (2, 3, 5, 7, 11))
    if bits >= 1024 and e.bit_length() <= 33:
        numbers = rsa.RSAPrivateNumbers(p, q, d, dp, dq, qinv, rsa.RSAPublicNumbers(e, n))
        assert numbers.private_key().key_size == bits


@pytest.mark.parametrize("bits", [256, 272, 384, 496, 512, 768, 1024, 1040, 2048])
def test_rsa(ta: FakeTask, bits: int) -> None:
    result, key = generate(ta, _T.RSA_KEYPAIR, bits)
    assert result == results.SUCCESS
    checked_rsa(ta, key, bits, 65537)


@pytest.mark.parametrize("bits", [256, 1024])
@pytest.mark.parametrize("e", [65537, 65539, (1 << 33) + 1, (1 << 129) + 1])
def test_rsa_with_a_given_exponent(ta: FakeTask, bits: int, e: int) -> None:
    result, key = generate(ta, _T.RSA_KEYPAIR, bits, (Attr.RSA_PUBLIC_EXPONENT, octets(e)))
    assert result == results.SUCCESS
    checked_rsa(ta, key, bits, e)


def test_rsa_refusals(ta: FakeTask) -> None:
    for e in (0, 1, 3, 17, 65536, 65535, 1 << 20, (1 << 255) + 1, (1 << 300) + 1):
        exponent = (Attr.RSA_PUBLIC_EXPONENT, octets(e))
        assert generate(ta, _T.RSA_KEYPAIR, 512, exponent)[0] == results.BAD_PARAMETERS
    for bits in (257, 264, 1000, 2047):  # OP-TEE makes two primes of whole octets
        assert generate(ta, _T.RSA_KEYPAIR, bits)[0] == results.BAD_PARAMETERS
    assert generate(ta, _T.RSA_KEYPAIR, 240, room=512)[0] == results.NOT_SUPPORTED
    assert generate(ta, _T.RSA_KEYPAIR, 512, (Attr.RSA_MODULUS, b"\xff" * 64))[0] == results.ITEM_NOT_FOUND
    assert generate(ta, _T.RSA_PUBLIC_KEY, 512)[0] == results.BAD_FORMAT


@pytest.mark.slow
@pytest.mark.real
def test_rsa_4096(ta: FakeTask) -> None:
    result, key = generate(ta, _T.RSA_KEYPAIR, 4096)
    assert result == results.SUCCESS
    checked_rsa(ta, key, 4096, 65537)


def test_other_threads_go_on() -> None:
    """A long computation holds no lock of Python's: this thread wakes up many times while another makes primes."""
    made = 0
    done = threading.Event()

    def work() -> None:
        nonlocal made
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            keys.rsa_generate(3072, octets(65537))
            made += 1
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    wakes = 0
    while not done.is_set():
        time.sleep(0.001)
        wakes += 1
    thread.join()
    assert wakes > 5 * made


def test_dsa(ta: FakeTask) -> None:
    group = dsa.generate_parameters(1024).parameter_numbers()
    attrs = [(Attr.DSA_PRIME, group.p), (Attr.DSA_SUBPRIME, group.q), (Attr.DSA_BASE, group.g)]
    given = [(int(attr), octets(value)) for attr, value in attrs]
    result, key = generate(ta, _T.DSA_KEYPAIR, 1024, *given)
    assert result == results.SUCCESS
    x, y = number(ta, key, Attr.DSA_PRIVATE_VALUE), number(ta, key, Attr.DSA_PUBLIC_VALUE)
    assert 0 < x < group.q
    assert y == pow(group.g, x, group.p)
    assert ta.info(key)[1] == 1024
    assert generate(ta, _T.DSA_KEYPAIR, 960, *given, room=1024)[0] == results.BAD_PARAMETERS
    assert generate(ta, _T.DSA_KEYPAIR, 1024, *given[:2])[0] == results.ITEM_NOT_FOUND
    for q in (b"", b"\0", b"\1"):
        assert generate(ta, _T.DSA_KEYPAIR, 1024, given[0], (given[1][0], q), given[2])[0] == results.BAD_PARAMETERS
    even = octets(group.p + 1)
    assert generate(ta, _T.DSA_KEYPAIR, 1024, (given[0][0], even), *given[1:])[0] == results.BAD_PARAMETERS


@pytest.mark.filterwarnings("ignore:Diffie-Hellman over finite fields")
def test_dh(ta: FakeTask) -> None:
    parameters = dh.generate_parameters(2, 512)
    p = parameters.parameter_numbers().p
    group = [(int(Attr.DH_PRIME), octets(p)), (int(Attr.DH_BASE), b"\2")]
    for wanted in (0, 64, 512):
        attrs: list[AttrValue] = [*group, (Attr.DH_X_BITS, wanted)] if wanted else [*group]
        result, key = generate(ta, _T.DH_KEYPAIR, 512, *attrs)
        assert result == results.SUCCESS
        x, y = number(ta, key, Attr.DH_PRIVATE_VALUE), number(ta, key, Attr.DH_PUBLIC_VALUE)
        assert x.bit_length() <= (wanted or 512)
        assert y == pow(2, x, p)
        assert ta.get(key, Attr.DH_X_BITS, 8) == (results.SUCCESS, wanted.to_bytes(4, "little") + bytes(4))
        peer = parameters.generate_private_key()
        public = octets(peer.public_key().public_numbers().y)
        ours = derive(ta, Algorithm.DH_DERIVE_SHARED_SECRET, key, (Attr.DH_PUBLIC_VALUE, public))
        theirs = dh.DHPublicNumbers(y, parameters.parameter_numbers()).public_key()
        assert ours == (results.SUCCESS, peer.exchange(theirs).lstrip(b"\0"))
    q = (int(Attr.DH_SUBPRIME), octets((1 << 160) + 7))
    result, key = generate(ta, _T.DH_KEYPAIR, 512, *group, q)
    assert result == results.SUCCESS
    assert number(ta, key, Attr.DH_PRIVATE_VALUE) < (1 << 160) + 7
    assert generate(ta, _T.DH_KEYPAIR, 512, *group, (Attr.DH_X_BITS, 63))[0] == results.BAD_PARAMETERS
    assert generate(ta, _T.DH_KEYPAIR, 512, *group, (Attr.DH_X_BITS, 520))[0] == results.BAD_PARAMETERS
    assert generate(ta, _T.DH_KEYPAIR, 512, *group, q, (Attr.DH_X_BITS, 176))[0] == results.BAD_PARAMETERS
    assert generate(ta, _T.DH_KEYPAIR, 504, *group, room=512)[0] == results.BAD_PARAMETERS


def test_curves_that_do_not_fit(ta: FakeTask) -> None:
    curve = int(Attr.ECC_CURVE)
    assert generate(ta, _T.ECDSA_KEYPAIR, 256, (curve, int(Curve.NIST_P224)))[0] == results.BAD_PARAMETERS
    assert generate(ta, _T.ECDSA_KEYPAIR, 256, (curve, int(Curve.CURVE_25519)))[0] == results.NOT_SUPPORTED
    assert generate(ta, _T.ECDSA_KEYPAIR, 224, (curve, int(Curve.NIST_P256)))[0] == results.BAD_STATE
    assert generate(ta, _T.ECDSA_KEYPAIR, 256, (curve, int(Curve.SM2)))[0] == results.SUCCESS
    assert generate(ta, _T.ECDSA_KEYPAIR, 256)[0] == results.ITEM_NOT_FOUND
    assert generate(ta, _T.SM2_KEP_KEYPAIR, 256, (curve, int(Curve.SM2)))[0] == results.ITEM_NOT_FOUND


SM2_P = (1 << 256) - (1 << 224) - (1 << 96) + (1 << 64) - 1
SM2_B = 0x28E9FA9E9D9F5E344D5A9E4BCF6509A7F39789F515AB8F92DDBCBD414D940E93
"""GM/T 0003.5-2012: the curve y^2 = x^3 - 3x + b."""


@pytest.mark.parametrize("type_", [_T.SM2_DSA_KEYPAIR, _T.SM2_KEP_KEYPAIR, _T.SM2_PKE_KEYPAIR])
def test_sm2(ta: FakeTask, type_: ObjectType) -> None:
    result, key = generate(ta, type_, 256)
    assert result == results.SUCCESS
    x, y = number(ta, key, Attr.ECC_PUBLIC_VALUE_X), number(ta, key, Attr.ECC_PUBLIC_VALUE_Y)
    assert (y * y - x**3 + 3 * x - SM2_B) % SM2_P == 0
    assert number(ta, key, Attr.ECC_PRIVATE_VALUE) > 0


def test_montgomery(ta: FakeTask) -> None:
    result, key = generate(ta, _T.X25519_KEYPAIR, 256)
    assert result == results.SUCCESS
    short = x25519.X25519PrivateKey.from_private_bytes(ta.get(key, Attr.X25519_PRIVATE_VALUE)[1])
    raw = serialization.Encoding.Raw, serialization.PublicFormat.Raw
    assert short.public_key().public_bytes(*raw) == ta.get(key, Attr.X25519_PUBLIC_VALUE)[1]
    result, key = generate(ta, _T.X448_KEYPAIR, 448)
    assert result == results.SUCCESS
    long = x448.X448PrivateKey.from_private_bytes(ta.get(key, Attr.X448_PRIVATE_VALUE)[1])
    assert long.public_key().public_bytes(*raw) == ta.get(key, Attr.X448_PUBLIC_VALUE)[1]
