"""Agreements and SM2's encryption by system call: NIST, RFC 5114 and 7748, Wycheproof, GM/T 0003.5."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tee.abi import results
from tee.abi.algorithms import Algorithm, Mode
from tee.abi.attributes import SM2_KEP_EPHEMERAL_X_OPTEE, SM2_KEP_EPHEMERAL_Y_OPTEE, Attr, Curve
from tee.abi.objects import ObjectType
from tests.tee.key_kit import AttrValue, derive, key_ta, operate, populated
from tests.vectors import published_keys as published
from tests.vectors.files import records, wycheproof_groups
from tests.vectors.test_signatures import CURVES, SM2_POINT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.tee.fake_ta import FakeTask

_A = Algorithm
_T = ObjectType
_h = bytes.fromhex


@pytest.fixture
def ta() -> Iterator[FakeTask]:
    yield from key_ta()


def hexadecimal(text: str, size: int = 0) -> bytes:
    return _h(text.rjust(max(2 * size, len(text) + 1 & -2), "0"))


def ecdh_pair(ta: FakeTask, curve: str, private: bytes) -> int:
    """The public half of a pair is not looked at."""
    number, bits, _ = CURVES[curve]
    public = ((Attr.ECC_PUBLIC_VALUE_X, b"\1"), (Attr.ECC_PUBLIC_VALUE_Y, b"\1"), (Attr.ECC_CURVE, int(number)))
    return populated(ta, _T.ECDH_KEYPAIR, bits, (Attr.ECC_PRIVATE_VALUE, private), *public)


def test_ecdh_nist(ta: FakeTask) -> None:
    """Of the flawed ones those whose peer is wrong: others have a wrong key of ours, or another Z."""
    sections = {"EA": "P-192", "EB": "P-224", "EC": "P-256", "ED": "P-384", "EE": "P-521"}
    ran = refused = 0
    for record in records("asymmetric/ECDH/KASValidityTest_ECCStaticUnified_NOKC_ZZOnly_init.fax", "result"):
        curve = sections[record["section"][:2]]
        size = (CURVES[curve][1] + 7) // 8
        key = ecdh_pair(ta, curve, hexadecimal(record["dsiut"]))
        peer = ((Attr.ECC_PUBLIC_VALUE_X, hexadecimal(record["qscavsx"])),
                (Attr.ECC_PUBLIC_VALUE_Y, hexadecimal(record["qscavsy"])))  # fmt: skip
        result, secret = derive(ta, _A.ECDH_DERIVE_SHARED_SECRET, key, *peer)
        if record["result"].startswith("P"):
            assert (result, secret) == (results.SUCCESS, hexadecimal(record["z"], size))
            ran += 1
        elif record["result"].startswith(("F (1", "F (2")):  # the peer's key is no point of the curve
            assert result == results.BAD_PARAMETERS
            refused += 1
        assert ta.call("cryp_obj_close", key) == results.SUCCESS
    assert refused
    assert ran > 20


@pytest.mark.parametrize("curve", ["secp224r1", "secp256r1", "secp384r1", "secp521r1"])
def test_ecdh_wycheproof(ta: FakeTask, curve: str) -> None:
    name = f"P-{curve[4:7]}"
    size = (CURVES[name][1] + 7) // 8
    for group in wycheproof_groups(f"Protocol/wycheproof/ecdh_{curve}_ecpoint_test.json"):
        for test in group["tests"]:
            point = _h(test["public"])
            if len(point) != 1 + 2 * size:
                continue  # GP gives coordinates: a point is uncompressed, or none
            key = ecdh_pair(ta, name, _h(test["private"]))
            peer = ((Attr.ECC_PUBLIC_VALUE_X, point[1 : 1 + size]), (Attr.ECC_PUBLIC_VALUE_Y, point[1 + size :]))
            result, secret = derive(ta, _A.ECDH_DERIVE_SHARED_SECRET, key, *peer)
            if test["result"] == "invalid":
                assert result == results.BAD_PARAMETERS, test["tcId"]
            else:
                assert (result, secret) == (results.SUCCESS, _h(test["shared"])), test["tcId"]
            assert ta.call("cryp_obj_close", key) == results.SUCCESS


def test_ecdh_refusals(ta: FakeTask) -> None:
    key = ecdh_pair(ta, "P-256", b"\7" * 32)
    algo = _A.ECDH_DERIVE_SHARED_SECRET
    x, y = (Attr.ECC_PUBLIC_VALUE_X, b"\1"), (Attr.ECC_PUBLIC_VALUE_Y, b"\1")
    for attrs in ((), (x,), (y, x), (x, y, y)):
        assert derive(ta, algo, key, *attrs)[0] == results.BAD_PARAMETERS
    for zero in (b"", b"\0", b"\xff" * 32, b"\xff" * 100):
        assert derive(ta, algo, key, (x[0], zero), (y[0], zero))[0] == results.BAD_PARAMETERS
    sm2 = ((Attr.ECC_PRIVATE_VALUE, b"\1"), x, y, (Attr.ECC_CURVE, int(Curve.SM2)))
    assert derive(ta, algo, populated(ta, _T.ECDH_KEYPAIR, 256, *sm2), x, y)[0] == results.NOT_IMPLEMENTED


def dh_pair(ta: FakeTask, record: dict[str, str]) -> int:
    p, g, x, y = (hexadecimal(record[name]) for name in ("p", "g", "xstatiut", "ystatiut"))
    attrs = ((Attr.DH_PRIME, p), (Attr.DH_BASE, g), (Attr.DH_PRIVATE_VALUE, x), (Attr.DH_PUBLIC_VALUE, y))
    subprime = (Attr.DH_SUBPRIME, hexadecimal(record["q"]))
    return populated(ta, _T.DH_KEYPAIR, 2048, *attrs, subprime)


@pytest.mark.parametrize("name", ["RFC5114.txt", "KASValidityTest_FFCStatic_NOKC_ZZOnly_init.fax"])
def test_dh(ta: FakeTask, name: str) -> None:
    """Of NIST's vectors those that are sound; OP-TEE looks at no peer's value, so the others prove nothing."""
    ran = 0
    for record in records(f"asymmetric/DH/{name}", "result"):
        if not record["result"].startswith("P"):
            continue
        key = dh_pair(ta, record)
        peer = (Attr.DH_PUBLIC_VALUE, hexadecimal(record["ystatcavs"]))
        result, secret = derive(ta, _A.DH_DERIVE_SHARED_SECRET, key, peer)
        assert (result, secret) == (results.SUCCESS, hexadecimal(record["z"]).lstrip(b"\0"))
        small = (_T.AES, 128)
        assert derive(ta, _A.DH_DERIVE_SHARED_SECRET, key, peer, into=small)[0] == results.BAD_PARAMETERS
        assert derive(ta, _A.DH_DERIVE_SHARED_SECRET, key, peer, peer)[0] == results.BAD_PARAMETERS
        assert ta.call("cryp_obj_close", key) == results.SUCCESS
        ran += 1
    assert ran >= 3


_MONTGOMERY = {
    "x25519": (_A.X25519, _T.X25519_KEYPAIR, 256, Attr.X25519_PRIVATE_VALUE, Attr.X25519_PUBLIC_VALUE),
    "x448": (_A.X448, _T.X448_KEYPAIR, 448, Attr.X448_PRIVATE_VALUE, Attr.X448_PUBLIC_VALUE),
}


@pytest.mark.parametrize("name", sorted(_MONTGOMERY))
def test_montgomery(ta: FakeTask, name: str) -> None:
    algo, type_, bits, private, public = _MONTGOMERY[name]
    size = bits // 8
    vectors = [
        (_h(record["input_scalar"]), _h(record["input_u"]), _h(record["output_u"]))
        for record in records(f"asymmetric/{name.upper()}/rfc7748.txt", "output_u")
    ]
    vectors += [
        (_h(test["private"]), _h(test["public"]), _h(test["shared"]))
        for group in wycheproof_groups(f"Protocol/wycheproof/{name}_test.json")
        for test in group["tests"]
        if len(_h(test["public"])) == size == len(_h(test["private"]))
    ]
    small_order = 0
    for own, peer, shared in vectors:
        key = populated(ta, type_, bits, (private, own), (public, bytes(size)))
        result, secret = derive(ta, algo, key, (public, peer))
        if any(shared):
            assert (result, secret) == (results.SUCCESS, shared)
        else:
            assert result == results.SECURITY
            small_order += 1
        assert ta.call("cryp_obj_close", key) == results.SUCCESS
    assert small_order
    key = populated(ta, type_, bits, (private, b"\1" * size), (public, bytes(size)))
    attrs: tuple[tuple[AttrValue, ...], ...] = ((), ((public, b"\1" * (size - 1)),), ((private, b"\1" * size),))
    for each in attrs:
        assert derive(ta, algo, key, *each)[0] == results.BAD_PARAMETERS
    assert derive(ta, algo, key, (public, b"\t" + bytes(size - 1)), into=(_T.AES, 128))[0] == (
        results.SUCCESS if size == 32 else results.BAD_PARAMETERS
    )


def sm2_side(ta: FakeTask, side: published.Sm2Side) -> tuple[int, int]:
    """(key pair, ephemeral key pair)."""
    halves = (side.private, side.x, side.y), (side.ephemeral, side.ephemeral_x, side.ephemeral_y)
    attrs = (Attr.ECC_PRIVATE_VALUE, Attr.ECC_PUBLIC_VALUE_X, Attr.ECC_PUBLIC_VALUE_Y)
    own, ephemeral = (
        populated(ta, _T.SM2_KEP_KEYPAIR, 256, *zip(map(int, attrs), half, strict=True)) for half in halves
    )
    return own, ephemeral


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("initiator", [True, False])
def test_sm2_exchange(ta: FakeTask, initiator: bool, old: bool) -> None:
    mine, theirs = (published.SM2_A, published.SM2_B) if initiator else (published.SM2_B, published.SM2_A)
    own, ephemeral = sm2_side(ta, mine)
    x_attr = SM2_KEP_EPHEMERAL_X_OPTEE if old else int(Attr.ECC_EPHEMERAL_PUBLIC_VALUE_X)
    y_attr = SM2_KEP_EPHEMERAL_Y_OPTEE if old else int(Attr.ECC_EPHEMERAL_PUBLIC_VALUE_Y)
    attrs: list[AttrValue] = [
        (Attr.SM2_KEP_USER, 0 if initiator else 1),
        (Attr.ECC_PUBLIC_VALUE_X, theirs.x),
        (Attr.ECC_PUBLIC_VALUE_Y, theirs.y),
        (x_attr, theirs.ephemeral_x),
        (y_attr, theirs.ephemeral_y),
        (Attr.SM2_ID_INITIATOR, published.SM2_IDENTITY),
        (Attr.SM2_ID_RESPONDER, published.SM2_IDENTITY),
    ]
    room = (_T.GENERIC_SECRET, 16)  # octets: OP-TEE's reading of an object's size here
    good = (results.SUCCESS, published.SM2_SHARED)
    assert derive(ta, _A.SM2_KEP, own, *attrs, key2=ephemeral, into=room) == good
    confirmed = [*attrs, (Attr.SM2_KEP_CONFIRMATION_IN, theirs.confirmation)]
    assert derive(ta, _A.SM2_KEP, own, *confirmed, key2=ephemeral, into=room) == good
    for number in range(len(attrs)):
        fewer = attrs[:number] + attrs[number + 1 :]
        assert derive(ta, _A.SM2_KEP, own, *fewer, key2=ephemeral, into=room)[0] == results.BAD_PARAMETERS
    wrong: list[tuple[AttrValue, results.Result]] = [
        ((Attr.SM2_KEP_CONFIRMATION_IN, mine.confirmation), results.BAD_STATE),
        ((Attr.SM2_KEP_CONFIRMATION_IN, theirs.confirmation[:31]), results.BAD_PARAMETERS),
        ((Attr.SM2_KEP_CONFIRMATION_OUT, bytes(31)), results.BAD_PARAMETERS),
        ((Attr.RSA_OAEP_LABEL, b""), results.BAD_PARAMETERS),
        ((y_attr, theirs.ephemeral_x), results.BAD_STATE),  # the last of two counts; not on the curve
    ]
    for extra, result in wrong:
        assert derive(ta, _A.SM2_KEP, own, *attrs, extra, key2=ephemeral, into=room)[0] == result
    for big in ((_T.GENERIC_SECRET, 4096), (_T.AES, 256)):
        assert derive(ta, _A.SM2_KEP, own, *attrs, key2=ephemeral, into=big)[0] == results.BAD_PARAMETERS


def test_sm2_confirmation_is_given(ta: FakeTask) -> None:
    own, ephemeral = sm2_side(ta, published.SM2_A)
    b = published.SM2_B
    attrs: list[AttrValue] = [
        (Attr.SM2_KEP_USER, 0), (Attr.ECC_PUBLIC_VALUE_X, b.x), (Attr.ECC_PUBLIC_VALUE_Y, b.y),
        (Attr.ECC_EPHEMERAL_PUBLIC_VALUE_X, b.ephemeral_x), (Attr.ECC_EPHEMERAL_PUBLIC_VALUE_Y, b.ephemeral_y),
        (Attr.SM2_ID_INITIATOR, published.SM2_IDENTITY), (Attr.SM2_ID_RESPONDER, published.SM2_IDENTITY),
        (Attr.SM2_KEP_CONFIRMATION_OUT, bytes(32)),
    ]  # fmt: skip
    va, count = ta.attributes(*attrs)
    state = ta.state(_A.SM2_KEP, Mode.DERIVE, own, ephemeral)[1]
    assert ta.call("cryp_derive_key", state, va, count, ta.alloc(_T.GENERIC_SECRET, 16)) == results.SUCCESS
    assert published.SM2_A.confirmation in bytes(ta.memory.bytes)


def test_sm2_decryption(ta: FakeTask) -> None:
    key = populated(ta, _T.SM2_PKE_KEYPAIR, 256, (Attr.ECC_PRIVATE_VALUE, published.SM2_PRIVATE), *SM2_POINT)
    data = published.SM2_CIPHERTEXT

    def opened(cipher: bytes, room: int = 512) -> tuple[results.Result, bytes]:
        return operate(ta, _A.SM2_PKE, Mode.DECRYPT, key, cipher, room=room)[:2]

    assert opened(data) == (results.SUCCESS, published.SM2_PLAIN)
    assert opened(data, 10) == (results.SUCCESS, published.SM2_PLAIN[:10])
    for at in (70, len(data) - 1):
        assert opened(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])[0] == results.CIPHERTEXT_INVALID
    for at in (5, 40):
        assert opened(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])[0] == results.BAD_PARAMETERS
    for form, result in ((0, results.BAD_PARAMETERS), (2, results.NOT_SUPPORTED), (7, results.NOT_SUPPORTED)):
        assert opened(bytes([form]) + data[1:])[0] == result
    for short in (b"", data[:1], data[:65], data[:97]):
        assert opened(short)[0] == results.BAD_PARAMETERS
