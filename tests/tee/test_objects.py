"""Objects and their handles: what attributes hold, and the form trusted storage keeps them in."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from north.errors import OutOfMemory
from tee.abi import results
from tee.abi.attributes import Attr
from tee.abi.objects import FIXED_BYTES, PUBLIC_PART, TYPES, AttrKind, HandleFlag, ObjectType, TypeProps
from tee.costs import BIGNUM_MAX_BYTES
from tee.errors import TeeError
from tee.objects import Object, ObjectTable, check_key_size

_T = ObjectType


def refused(result: int, type_: int, bits: int) -> None:
    with pytest.raises(TeeError) as caught:
        Object(type_, bits)
    assert caught.value.result == result


@pytest.mark.parametrize(
    ("type_", "good", "bad"),
    [
        (_T.AES, (128, 192, 256), (0, 64, 127, 129, 320)),
        (_T.DES, (56, 64), (55, 48, 128)),
        (_T.DES3, (112, 128, 168, 192), (56, 64, 160, 256)),
        (_T.SM4, (128,), (0, 64, 256)),
        (_T.HMAC_SHA1, (80, 88, 512), (72, 81, 520)),
        (_T.HMAC_SHA256, (192, 1024), (184, 1032)),
        (_T.GENERIC_SECRET, (0, 8, 4096), (7, 4104, 1 << 40)),
        (_T.RSA_KEYPAIR, (256, 2047, 4096), (255, 4097)),
        (_T.DSA_KEYPAIR, (512, 3072), (513, 3136)),
        (_T.ECDSA_KEYPAIR, (192, 521), (191, 522)),
        (_T.X448_KEYPAIR, (448,), (256,)),
        (_T.DATA, (0,), (8,)),
        (_T.X25519_PUBLIC_KEY, (), (256,)),
        (_T.HKDF, (), (0, 256)),
        (0, (), (0, 128)),
    ],
)
def test_key_sizes(type_: int, good: tuple[int, ...], bad: tuple[int, ...]) -> None:
    for bits in good:
        assert Object(type_, bits).max_bits == bits
    for bits in bad:
        refused(results.NOT_SUPPORTED, type_, bits)


def test_attribute_lengths() -> None:
    aes = Object(_T.AES, 128)
    for obj, attr, value, result in (
        (aes, Attr.SECRET_VALUE, bytes(33), results.SECURITY),
        (Object(_T.X25519_KEYPAIR, 256), Attr.X25519_PUBLIC_VALUE, bytes(31), results.SECURITY),
        (Object(_T.X448_KEYPAIR, 448), Attr.X448_PUBLIC_VALUE, bytes(57), results.SECURITY),
        (Object(_T.RSA_PUBLIC_KEY, 256), Attr.RSA_MODULUS, bytes(BIGNUM_MAX_BYTES + 1), results.BAD_PARAMETERS),
        (Object(_T.ECDSA_PUBLIC_KEY, 256), Attr.ECC_CURVE, b"12345678", results.GENERIC),
    ):
        with pytest.raises(TeeError) as caught:
            obj.set(attr, value)
        assert caught.value.result == result
        assert not obj.has(attr)
    aes.set(Attr.SECRET_VALUE, bytes(range(32)))
    assert aes.key == bytes(range(32))
    with pytest.raises(KeyError):
        aes.set(Attr.RSA_MODULUS, b"1")


def test_big_numbers_lose_leading_zeros_and_secrets_do_not() -> None:
    rsa = Object(_T.RSA_PUBLIC_KEY, 512)
    rsa.set(Attr.RSA_PUBLIC_EXPONENT, b"\0\0\x01\0\x01")
    assert rsa.value(Attr.RSA_PUBLIC_EXPONENT) == b"\x01\0\x01"
    assert rsa.key == b""
    secret = Object(_T.GENERIC_SECRET, 64)
    secret.set(Attr.SECRET_VALUE, b"\0\0a")
    assert secret.key == b"\0\0a"


def test_storage_form() -> None:
    """Octets by hand from tee_obj_attr_to_binary: big-endian lengths, values in four octets."""
    point = Object(_T.ECDSA_PUBLIC_KEY, 256)
    point.set(Attr.ECC_PUBLIC_VALUE_X, b"\0\x11\x22")
    point.set(Attr.ECC_CURVE, 3)
    assert point.to_binary() == bytes.fromhex("00000002 1122 00000000 00000003")
    assert Object(_T.DATA, 0).to_binary() == b""
    assert Object(_T.ED25519_PUBLIC_KEY, 256).to_binary() == bytes.fromhex("00000020") + bytes(32)


_PROPS = st.sampled_from(list(TYPES.values()))


def _value(attr_kind: AttrKind, alloc: int) -> st.SearchStrategy[bytes | int]:
    if attr_kind is AttrKind.VALUE:
        return st.integers(0, 0xFFFFFFFF)
    fixed = FIXED_BYTES.get(attr_kind)
    return st.binary(min_size=fixed or 0, max_size=fixed or (alloc or 64))


@given(props=_PROPS, data=st.data())
@settings(max_examples=60)
def test_storage_form_round_trip(props: TypeProps, data: st.DataObject) -> None:
    source = Object(props.type, props.max_bits)
    for attr in props.attrs:
        if data.draw(st.booleans()):
            source.set(attr.attr, data.draw(_value(attr.kind, props.alloc)))
    target = Object(props.type, props.max_bits)
    target.from_binary(source.to_binary() + data.draw(st.binary(max_size=4)))
    assert target.to_binary() == source.to_binary()
    copy = Object(props.type, props.max_bits)
    copy.copy_attributes(source)
    assert (copy.have, copy.to_binary()) == (source.have, source.to_binary())


@given(props=_PROPS, data=st.binary(max_size=80))
@settings(max_examples=200)
def test_storage_form_of_garbage(props: TypeProps, data: bytes) -> None:
    obj = Object(props.type, props.max_bits)
    before = obj.to_binary()
    result: int = results.SUCCESS
    try:
        obj.from_binary(data)
    except TeeError as error:
        result = error.result
    if result:
        assert (result, obj.to_binary()) == (results.CORRUPT_OBJECT, before)


def test_copy_to_the_public_part() -> None:
    for public, pair in PUBLIC_PART.items():
        if public not in TYPES:
            continue
        source = Object(pair, TYPES[pair].max_bits)
        for attr in TYPES[pair].attrs:
            source.set(attr.attr, 3 if attr.kind is AttrKind.VALUE else b"\x05" * FIXED_BYTES.get(attr.kind, 9))
        target = Object(public, TYPES[public].max_bits)
        target.copy_attributes(source)
        for attr in TYPES[public].attrs:
            assert target.has(attr.attr)
            assert target.value(attr.attr) == source.value(attr.attr)
        with pytest.raises(TeeError) as caught:
            source.copy_attributes(target)
        assert caught.value.result == results.BAD_PARAMETERS


def test_reset_and_clear_wipe() -> None:
    obj = Object(_T.AES, 128)
    obj.set_secret(b"k" * 16)
    kept = obj._octets(0)
    obj.bits = 128
    obj.restrict(1)
    obj.reset()
    assert kept == bytes(16)
    assert (obj.bits, obj.usage, obj.initialized, obj.key) == (0, 0xFFFFFFFF, False, b"")
    obj.flags |= HandleFlag.PERSISTENT
    with pytest.raises(TeeError) as caught:
        obj.reset()
    assert caught.value.result == results.BAD_PARAMETERS


def test_table() -> None:
    table = ObjectTable(limit=3)
    handles = [table.add(Object(_T.DATA, 0)) for _ in range(3)]
    assert len(set(handles)) == len(table) == 3
    assert all(0 < handle < 1 << 31 for handle in handles)
    with pytest.raises(OutOfMemory):
        table.add(Object(_T.DATA, 0))
    table.remove(handles[1])
    for gone in (handles[1], 0, -1, 1 << 40):
        with pytest.raises(TeeError) as caught:
            table.get(gone)
        assert caught.value.result == results.BAD_STATE
    assert table.add(Object(_T.DATA, 0)) not in handles
    secret = Object(_T.AES, 128)
    table.remove(handles[0])
    table.add(secret)
    secret.set_secret(b"k" * 16)
    table.close()
    assert (len(table), secret.key) == (0, b"")


def test_handles_wrap_around_live_ones() -> None:
    table = ObjectTable()
    first = table.add(Object(_T.DATA, 0))
    table._last = 0x7FFFFFFF
    assert table.add(Object(_T.DATA, 0)) == first + 1


def test_legacy_des_sizes_count_no_parity() -> None:
    check_key_size(TYPES[_T.DES3], 168)
    with pytest.raises(TeeError):
        check_key_size(TYPES[_T.AES], 168)
