"""System calls on transient objects, branch by branch of core/tee/tee_svc_cryp.c."""

from __future__ import annotations

import pytest

from tee.abi import results
from tee.abi.attributes import Attr, Curve
from tee.abi.objects import TYPES, HandleFlag, ObjectType, Usage
from tee.objects import Object
from tests.tee.fake_ta import BASE, ROWS, SIZE, FakeTask, handler

_T = ObjectType
INITIALIZED = int(HandleFlag.INITIALIZED)
BAD_VA = BASE + SIZE


@pytest.fixture
def ta() -> FakeTask:
    return FakeTask()


def test_every_declared_row_has_a_handler() -> None:
    assert sorted(row.number for row in ROWS.values()) == [3, 4, *range(15, 55)]
    for row in ROWS.values():
        assert callable(handler(row))
        assert sum(arg.registers for arg in row.args) <= 8


def test_native_rows_are_those_the_extension_serves() -> None:
    from tee.crypto.task import Task

    served = Task.handlers().keys()
    assert {row.number for row in ROWS.values() if row.native} == {n for n in served if 15 <= n <= 40 or n == 54}


def test_alloc(ta: FakeTask) -> None:
    cell = ta.cell()
    assert ta.call("cryp_obj_alloc", _T.AES, 100, cell) == results.NOT_SUPPORTED
    assert ta.call("cryp_obj_alloc", 0x1234, 128, cell) == results.NOT_SUPPORTED
    assert ta.call("cryp_obj_alloc", _T.AES, 128, BAD_VA) == results.ACCESS_DENIED
    assert len(ta.objects) == 0
    handle = ta.alloc(_T.AES, 256)
    assert ta.info(handle) == (_T.AES, 0, 256, 0xFFFFFFFF, 0, 0, 0)
    assert ta.call("cryp_obj_get_info", handle, BAD_VA) == results.ACCESS_DENIED
    assert ta.call("cryp_obj_get_info", handle + 1, cell) == results.BAD_STATE


def test_alloc_until_the_limit() -> None:
    ta = FakeTask(limit=2)
    ta.alloc(_T.AES, 128)
    ta.alloc(_T.AES, 128)
    assert ta.call("cryp_obj_alloc", _T.AES, 128, ta.cell()) == results.OUT_OF_MEMORY


def test_close(ta: FakeTask) -> None:
    handle = ta.alloc(_T.AES, 128)
    ta.objects.get(handle).busy = True
    assert ta.call("cryp_obj_close", handle) == results.ITEM_NOT_FOUND
    ta.objects.get(handle).busy = False
    assert ta.call("cryp_obj_close", handle) == results.SUCCESS
    assert ta.call("cryp_obj_close", handle) == results.BAD_STATE


def test_populate_secret(ta: FakeTask) -> None:
    handle = ta.alloc(_T.AES, 192)
    secret = (Attr.SECRET_VALUE, bytes(range(16)))
    assert ta.populate(handle) == results.ITEM_NOT_FOUND
    assert ta.populate(handle, (Attr.RSA_MODULUS, b"1")) == results.ITEM_NOT_FOUND
    assert ta.populate(handle, secret, secret) == results.ITEM_NOT_FOUND
    assert ta.populate(handle, (Attr.SECRET_VALUE, bytes(33))) == results.SECURITY
    assert ta.populate(handle, (Attr.SECRET_VALUE, bytes(32))) == results.BAD_STATE
    assert ta.populate(handle, (Attr.SECRET_VALUE, bytes(9))) == results.BAD_PARAMETERS
    assert ta.populate(handle + 1, secret) == results.BAD_STATE
    assert ta.populate(handle, secret) == results.SUCCESS
    assert ta.populate(handle, secret) == results.BAD_PARAMETERS
    assert ta.info(handle) == (_T.AES, 128, 192, 0xFFFFFFFF, 0, 0, INITIALIZED)
    assert ta.get(handle, Attr.SECRET_VALUE) == (results.SUCCESS, bytes(range(16)))
    assert ta.call("cryp_obj_reset", handle) == results.SUCCESS
    assert ta.info(handle) == (_T.AES, 0, 192, 0xFFFFFFFF, 0, 0, 0)


def test_populate_of_other_kinds_of_object(ta: FakeTask) -> None:
    data = ta.objects.add(Object(_T.DATA, 0))
    assert ta.populate(data) == results.NOT_IMPLEMENTED
    kept = ta.alloc(_T.AES, 128)
    ta.objects.get(kept).flags |= HandleFlag.PERSISTENT
    assert ta.populate(kept, (Attr.SECRET_VALUE, bytes(16))) == results.BAD_PARAMETERS
    assert ta.call("cryp_obj_reset", kept) == results.BAD_PARAMETERS
    assert ta.call("cryp_obj_generate_key", kept, 128, 0, 0) == results.BAD_STATE


def test_attribute_arrays_are_checked(ta: FakeTask) -> None:
    handle = ta.alloc(_T.AES, 128)
    array = ta.memory.place((BASE + SIZE - 8).to_bytes(8, "little") + (16).to_bytes(8, "little") + bytes(8))
    assert ta.call("cryp_obj_populate", handle, BAD_VA, 1) == results.ACCESS_DENIED
    assert ta.call("cryp_obj_populate", handle, array, 1) == results.ACCESS_DENIED
    assert ta.call("cryp_obj_populate", handle, array, 1 << 62) == results.OUT_OF_MEMORY
    assert ta.call("cryp_obj_populate", handle, 0, 0) == results.ITEM_NOT_FOUND


def test_attributes_of_a_32_bit_ta() -> None:
    ta = FakeTask(word=4)
    handle = ta.alloc(_T.AES, 128)
    va, count = ta.attributes((Attr.SECRET_VALUE, bytes(16)))
    raw = ta.memory.copy_in(va, 24)
    ta.memory.copy_out(va, raw[:4] + b"\xff" * 4 + raw[8:12] + b"\xff" * 4 + raw[16:])
    assert ta.call("cryp_obj_populate", handle, va, count) == results.SUCCESS


@pytest.mark.parametrize(
    ("type_", "bits", "octets", "size"),
    # What OP-TEE reports: populate takes the parity of a GP 1.0 size off twice.
    [
        (_T.DES, 64, 8, 64),
        (_T.DES, 56, 8, 49),
        (_T.DES3, 192, 24, 192),
        (_T.DES3, 168, 24, 147),
        (_T.DES3, 112, 16, 98),
    ],
)
def test_des_parity(ta: FakeTask, type_: int, bits: int, octets: int, size: int) -> None:
    handle = ta.alloc(type_, bits)
    assert ta.populate(handle, (Attr.SECRET_VALUE, bytes(octets))) == results.SUCCESS
    assert ta.info(handle)[1] == size
    made = ta.alloc(type_, bits)
    assert ta.call("cryp_obj_generate_key", made, bits, 0, 0) == results.SUCCESS
    assert ta.info(made)[1] == bits
    assert len(ta.get(made, Attr.SECRET_VALUE)[1]) == octets


RSA_PUBLIC = ((Attr.RSA_MODULUS, b"\xc1" * 64), (Attr.RSA_PUBLIC_EXPONENT, b"\x01\0\x01"))
RSA_PAIR = (*RSA_PUBLIC, (Attr.RSA_PRIVATE_EXPONENT, b"\x99" * 64))
RSA_CRT = tuple(
    (attr, bytes([number]) * 32)
    for number, attr in enumerate(
        (
            Attr.RSA_PRIME1,
            Attr.RSA_PRIME2,
            Attr.RSA_EXPONENT1,
            Attr.RSA_EXPONENT2,
            Attr.RSA_COEFFICIENT,
        ),
        1,
    )
)


def test_rsa_keys_are_held(ta: FakeTask) -> None:
    pair = ta.alloc(_T.RSA_KEYPAIR, 512)
    assert ta.populate(pair, *RSA_PUBLIC) == results.ITEM_NOT_FOUND
    assert ta.populate(pair, *RSA_PAIR, RSA_CRT[0]) == results.ITEM_NOT_FOUND
    assert ta.populate(pair, *RSA_PAIR, *RSA_CRT) == results.SUCCESS
    assert ta.info(pair)[1] == 512
    for attr, value in (*RSA_PAIR, *RSA_CRT):
        assert ta.get(pair, attr) == (results.SUCCESS, value)

    public = ta.alloc(_T.RSA_PUBLIC_KEY, 512)
    assert ta.call("cryp_obj_copy", public, pair) == results.SUCCESS
    assert ta.info(public)[1] == 512
    assert ta.get(public, Attr.RSA_MODULUS) == (results.SUCCESS, b"\xc1" * 64)
    assert ta.get(public, Attr.RSA_PRIVATE_EXPONENT)[0] == results.ITEM_NOT_FOUND

    plain = ta.alloc(_T.RSA_KEYPAIR, 512)
    assert ta.populate(plain, *RSA_PAIR) == results.SUCCESS
    assert ta.get(plain, Attr.RSA_PRIME1)[0] == results.ITEM_NOT_FOUND


def test_number_as_large_as_the_object_allows(ta: FakeTask) -> None:
    dsa = ta.alloc(_T.DSA_PUBLIC_KEY, 512)
    attrs = [(attr.attr, b"\xff" * 64) for attr in TYPES[_T.DSA_PUBLIC_KEY].attrs]
    assert ta.populate(dsa, *attrs[:3], (Attr.DSA_PUBLIC_VALUE, b"\x01" + bytes(64))) == results.BAD_STATE
    assert ta.populate(dsa, *attrs[:3], (Attr.DSA_PUBLIC_VALUE, b"\0" + bytes(64))) == results.SUCCESS
    # A number that is zero has no octets: no buffer is needed for it.
    assert ta.get(dsa, Attr.DSA_PUBLIC_VALUE) == (results.SUCCESS, b"")
    assert ta.call("cryp_obj_get_attr", dsa, Attr.DSA_PUBLIC_VALUE, 0, ta.cell(0, 8)) == results.SUCCESS


def test_curves(ta: FakeTask) -> None:
    point = ((Attr.ECC_PUBLIC_VALUE_X, b"x" * 32), (Attr.ECC_PUBLIC_VALUE_Y, b"y" * 32))
    small = ta.alloc(_T.ECDSA_PUBLIC_KEY, 256)
    assert ta.populate(small, *point, (Attr.ECC_CURVE, Curve.NIST_P384)) == results.BAD_STATE
    assert ta.populate(small, *point, (Attr.ECC_CURVE, 77)) == results.NOT_SUPPORTED
    assert ta.populate(small, *point, (Attr.ECC_CURVE, Curve.NIST_P256)) == results.SUCCESS
    assert ta.info(small)[1] == 256
    assert ta.get(small, Attr.ECC_CURVE, 8) == (results.SUCCESS, bytes([3, 0, 0, 0, 0, 0, 0, 0]))
    assert ta.get(small, Attr.ECC_CURVE, 7)[0] == results.SHORT_BUFFER
    assert ta.call("cryp_obj_get_attr", small, Attr.ECC_CURVE, 0, ta.cell(8, 8)) == results.SHORT_BUFFER
    sm2 = ta.alloc(_T.SM2_DSA_PUBLIC_KEY, 256)
    assert ta.populate(sm2, *point) == results.SUCCESS
    assert ta.info(sm2)[1] == 0  # no attribute gives the size
    x25519 = ta.alloc(_T.X25519_KEYPAIR, 256)
    assert (
        ta.populate(x25519, (Attr.X25519_PRIVATE_VALUE, b"p" * 32), (Attr.X25519_PUBLIC_VALUE, b"q" * 32))
        == results.SUCCESS
    )
    assert ta.get(x25519, Attr.X25519_PRIVATE_VALUE) == (results.SUCCESS, b"p" * 32)


def test_get_attr(ta: FakeTask) -> None:
    handle = ta.alloc(_T.AES, 128)
    assert ta.get(handle + 1, Attr.SECRET_VALUE)[0] == results.ITEM_NOT_FOUND
    assert ta.get(handle, Attr.SECRET_VALUE)[0] == results.BAD_PARAMETERS
    ta.populate(handle, (Attr.SECRET_VALUE, b"k" * 16))
    length = ta.cell(15, 8)
    assert ta.call("cryp_obj_get_attr", handle, Attr.SECRET_VALUE, ta.cell(0, 16), length) == results.SHORT_BUFFER
    assert ta.memory.word_at(length, 8) == 16
    length = ta.cell(16, 8)
    assert ta.call("cryp_obj_get_attr", handle, Attr.SECRET_VALUE, 0, length) == results.SHORT_BUFFER
    assert ta.call("cryp_obj_get_attr", handle, Attr.SECRET_VALUE, ta.cell(), BAD_VA) == results.ACCESS_DENIED
    assert ta.get(handle, Attr.RSA_MODULUS)[0] == results.ITEM_NOT_FOUND
    assert ta.call("cryp_obj_restrict_usage", handle, 0xFFFFFFFF - Usage.EXTRACTABLE) == results.SUCCESS
    assert ta.info(handle)[3] == 0xFFFFFFFE
    assert ta.get(handle, Attr.SECRET_VALUE)[0] == results.BAD_PARAMETERS
    assert ta.call("cryp_obj_restrict_usage", handle, 0xFFFFFFFF) == results.SUCCESS
    assert ta.info(handle)[3] == 0xFFFFFFFE


def test_public_attribute_of_what_is_not_extractable(ta: FakeTask) -> None:
    public = ta.alloc(_T.RSA_PUBLIC_KEY, 512)
    ta.populate(public, *RSA_PUBLIC)
    ta.call("cryp_obj_restrict_usage", public, 0)
    assert ta.get(public, Attr.RSA_MODULUS)[0] == results.SUCCESS


def test_copy(ta: FakeTask) -> None:
    source = ta.key(_T.AES, 256, b"k" * 16)
    ta.call("cryp_obj_restrict_usage", source, Usage.ENCRYPT | Usage.EXTRACTABLE)
    target = ta.alloc(_T.AES, 128)
    assert ta.call("cryp_obj_copy", target, target) == results.BAD_PARAMETERS
    assert ta.call("cryp_obj_copy", ta.alloc(_T.GENERIC_SECRET, 128), source) == results.BAD_PARAMETERS
    assert ta.call("cryp_obj_copy", target + 99, source) == results.BAD_STATE
    assert ta.call("cryp_obj_copy", target, source) == results.SUCCESS
    assert ta.info(target) == (_T.AES, 128, 128, Usage.ENCRYPT | Usage.EXTRACTABLE, 0, 0, INITIALIZED)
    assert ta.get(target, Attr.SECRET_VALUE)[1] == b"k" * 16
    assert ta.call("cryp_obj_copy", target, source) == results.BAD_PARAMETERS


@pytest.mark.parametrize("type_", [row.type for row in TYPES.values()])
def test_generate(ta: FakeTask, type_: ObjectType) -> None:
    props = TYPES[type_]
    bits = 512 if type_ is _T.RSA_KEYPAIR else props.max_bits
    handle = ta.alloc(type_, bits)
    result = ta.call("cryp_obj_generate_key", handle, bits, 0, 0)
    if type_ is _T.HMAC_SM3:
        # Its limit of 1024 bits is more than the 64 octets OP-TEE allocates.
        assert result == results.EXCESS_DATA
    elif type_ in (_T.DSA_KEYPAIR, _T.DH_KEYPAIR, _T.ECDSA_KEYPAIR, _T.ECDH_KEYPAIR):
        assert result == results.ITEM_NOT_FOUND
    elif type_.name.endswith("_KEYPAIR"):
        assert result == results.SUCCESS
        assert ta.info(handle)[1] == bits
    elif props.alloc and props.attrs[0].attr == Attr.SECRET_VALUE:
        assert result == results.SUCCESS
        assert ta.get(handle, Attr.SECRET_VALUE)[1] == bytes(i % 251 for i in range(bits // 8))
        assert ta.info(handle)[1] == bits
        assert ta.call("cryp_obj_generate_key", handle, bits, 0, 0) == results.BAD_STATE
    else:
        assert result == results.BAD_FORMAT


def test_generate_checks(ta: FakeTask) -> None:
    handle = ta.alloc(_T.AES, 128)
    assert ta.call("cryp_obj_generate_key", handle, 100, 0, 0) == results.NOT_SUPPORTED
    assert ta.call("cryp_obj_generate_key", handle, 128, *ta.attributes((Attr.SECRET_VALUE, b"1"))) == (
        results.ITEM_NOT_FOUND
    )
    curve = ta.alloc(_T.ECDSA_KEYPAIR, 256)
    assert ta.call("cryp_obj_generate_key", curve, 256, *ta.attributes((Attr.ECC_CURVE, 3))) == results.SUCCESS
    curve = ta.alloc(_T.ECDSA_KEYPAIR, 256)
    assert ta.call("cryp_obj_generate_key", curve, 256, *ta.attributes((Attr.ECC_CURVE, 9))) == results.NOT_SUPPORTED
    data = ta.objects.add(Object(_T.DATA, 0))
    assert ta.call("cryp_obj_generate_key", data, 0, 0, 0) == results.NOT_SUPPORTED


def test_random(ta: FakeTask) -> None:
    size = 3 * (1 << 16) + 5
    va = BASE + 0x1000
    assert ta.call("cryp_random_number_generate", va, size) == results.SUCCESS
    assert ta.memory.copy_in(va, size) == bytes(i % 251 for i in range(size))
    assert ta.call("cryp_random_number_generate", va, 0) == results.SUCCESS
    assert ta.call("cryp_random_number_generate", BAD_VA, 1) == results.ACCESS_DENIED
    assert ta.call("cryp_random_number_generate", ta.memory.read_only, 1) == results.ACCESS_DENIED
