"""Property system calls, by core/tee/tee_svc.c."""

from __future__ import annotations

import hashlib
import hmac
from uuid import UUID

import pytest

from tee.abi import results
from tee.abi.algorithms import Algorithm
from tee.abi.properties import PropSet, PropType
from tee.services.crypto_supported import supported
from tee.services.properties import SETS, Implementation, device_id
from tee.world import SecureWorld
from tests.tee.fake_ta import BASE, SIZE, FakeTask
from tests.tee.pta_kit import host_platform

BAD_VA = BASE + SIZE
CPU = "org.trustedfirmware.optee.cpu."
NAMES = {
    PropSet.TEE_IMPLEMENTATION: (
        "gpd.tee.apiversion",
        "gpd.tee.description",
        "gpd.tee.deviceID",
        "gpd.tee.systemTime.protectionLevel",
        "gpd.tee.TAPersistentTime.protectionLevel",
        "gpd.tee.cryptography.ecc",
        "gpd.tee.trustedStorage.antiRollback.protectionLevel",
        "gpd.tee.trustedos.implementation.version",
        "gpd.tee.trustedos.implementation.binaryversion",
        "gpd.tee.trustedos.manufacturer",
        "gpd.tee.firmware.implementation.version",
        "gpd.tee.firmware.implementation.binaryversion",
        "gpd.tee.firmware.manufacturer",
        "org.trustedfirmware.optee.cpu.feat_bti_implemented",
        "org.trustedfirmware.optee.cpu.feat_pauth_implemented",
        "org.trustedfirmware.optee.cpu.feat_memtag_implemented",
        "com.microsoft.ta.endorsementSeed",
    ),
    PropSet.CURRENT_CLIENT: ("gpd.client.identity", "gpd.client.endian"),
    PropSet.CURRENT_TA: ("gpd.ta.appID",),
}
"""In the order of tee_propset_tee, tee_propset_client, tee_propset_ta; vendor_props_tee after tee_propset_tee."""


@pytest.fixture
def ta() -> FakeTask:
    return FakeTask()


def index_of(ta: FakeTask, prop_set: int, name: str) -> tuple[int, int]:
    raw = name.encode() + b"\0"
    cell = ta.cell(0xFFFF)
    return ta.call("get_property_name_to_index", prop_set, ta.memory.place(raw), len(raw), cell), ta.memory.word_at(
        cell
    )


def read(ta: FakeTask, prop_set: int, name: str) -> tuple[int, bytes]:
    """(type, value)."""
    result, index = index_of(ta, prop_set, name)
    assert result == results.SUCCESS
    buf, blen, kind = ta.memory.place(bytes(256)), ta.cell(256), ta.cell()
    assert ta.call("get_property", prop_set, index, 0, 0, buf, blen, kind) == results.SUCCESS
    return ta.memory.word_at(kind), ta.memory.copy_in(buf, ta.memory.word_at(blen))


@pytest.mark.parametrize("prop_set", NAMES)
def test_names_in_order(ta: FakeTask, prop_set: PropSet) -> None:
    for index, name in enumerate(NAMES[prop_set]):
        text, length = ta.memory.place(bytes(80)), ta.cell(80)
        assert ta.call("get_property", prop_set, index, text, length, 0, 0, 0) == results.SUCCESS
        assert ta.memory.copy_in(text, ta.memory.word_at(length)) == name.encode() + b"\0"
        assert index_of(ta, prop_set, name) == (results.SUCCESS, index)
    assert ta.call("get_property", prop_set, len(NAMES[prop_set]), 0, 0, 0, 0, 0) == results.ITEM_NOT_FOUND
    assert index_of(ta, prop_set, "gpd.unheard.of")[0] == results.ITEM_NOT_FOUND
    assert NAMES.keys() == SETS.keys()


def test_values(ta: FakeTask) -> None:
    ta.implementation = Implementation(
        system_time=1000, ecc=False, trusted_os_version="1.2", firmware_binary_version=7, pauth=True, memtag=3
    )
    tee = PropSet.TEE_IMPLEMENTATION
    assert read(ta, tee, "gpd.tee.apiversion") == (PropType.STRING, b"GPD-1.1-dev\0")
    assert read(ta, tee, "gpd.tee.description") == (PropType.STRING, b"LiteBox\0")
    assert read(ta, tee, "gpd.tee.systemTime.protectionLevel") == (PropType.U32, (1000).to_bytes(4, "little"))
    assert read(ta, tee, "gpd.tee.TAPersistentTime.protectionLevel") == (PropType.U32, b"\x64\0\0\0")
    assert read(ta, tee, "gpd.tee.cryptography.ecc") == (PropType.BOOL, b"\0")
    assert read(ta, tee, "gpd.tee.trustedos.implementation.version") == (PropType.STRING, b"1.2\0")
    assert read(ta, tee, "gpd.tee.firmware.implementation.binaryversion") == (PropType.U32, b"\7\0\0\0")
    assert read(ta, tee, CPU + "feat_bti_implemented") == (PropType.BOOL, b"\0")
    assert read(ta, tee, CPU + "feat_pauth_implemented") == (PropType.BOOL, b"\1")
    assert read(ta, tee, CPU + "feat_memtag_implemented") == (PropType.U32, b"\3\0\0\0")
    client = PropSet.CURRENT_CLIENT
    identity = bytes.fromhex("04000000 33221100 5544 7766 8899aabbccddeeff")
    assert read(ta, client, "gpd.client.identity") == (PropType.IDENTITY, identity)
    assert read(ta, client, "gpd.client.endian") == (PropType.U32, bytes(4))
    app = bytes.fromhex("00f2aa8a 5024 e411 abe20002a5d5c51b")
    assert read(ta, PropSet.CURRENT_TA, "gpd.ta.appID") == (PropType.UUID, app)


def test_elliptic_curves_are_announced_as_they_are_served(ta: FakeTask) -> None:
    curves = (Algorithm.ECDSA_SHA256, Algorithm.ECDH_DERIVE_SHARED_SECRET, Algorithm.ED25519, Algorithm.X25519)
    served = sum(row.served for row in supported() if row.algorithm in curves) == len(curves)
    assert read(ta, PropSet.TEE_IMPLEMENTATION, "gpd.tee.cryptography.ecc") == (PropType.BOOL, bytes([served]))


def test_the_cpu_has_no_feature_that_a_ta_could_rely_on(ta: FakeTask) -> None:
    for name, size in (("bti", 1), ("pauth", 1), ("memtag", 4)):
        assert read(ta, PropSet.TEE_IMPLEMENTATION, f"{CPU}feat_{name}_implemented")[1] == bytes(size)


@pytest.mark.parametrize(("integrity", "level"), [(False, 100), (True, 1000)])
def test_rollback_protection_is_the_tees_with_a_root_in_the_rpmb(ta: FakeTask, *, integrity: bool, level: int) -> None:
    with SecureWorld(host_platform(), None, rpmb_integrity=integrity) as world:  # type: ignore[arg-type]
        ta.implementation = world.implementation
    name = "gpd.tee.trustedStorage.antiRollback.protectionLevel"
    assert read(ta, PropSet.TEE_IMPLEMENTATION, name) == (PropType.U32, level.to_bytes(4, "little"))


@pytest.mark.parametrize(("own", "level"), [(False, 100), (True, 1000)])
def test_a_clock_out_of_the_normal_worlds_reach_protects_system_time(ta: FakeTask, *, own: bool, level: int) -> None:
    with SecureWorld(host_platform(), None, own_clock=own) as world:  # type: ignore[arg-type]
        ta.implementation = world.implementation
    name = "gpd.tee.systemTime.protectionLevel"
    assert read(ta, PropSet.TEE_IMPLEMENTATION, name) == (PropType.U32, level.to_bytes(4, "little"))


def test_device_id(ta: FakeTask) -> None:
    kind, value = read(ta, PropSet.TEE_IMPLEMENTATION, "gpd.tee.deviceID")
    made = UUID(bytes_le=value)
    assert (kind, made.version, made.variant) == (PropType.UUID, 5, UUID(int=0x8 << 60).variant)
    digest = hashlib.sha256(b"OPTEE0123456789ab").digest()  # twelve bytes of the die id
    assert value[:7] + value[9:] == digest[:7] + digest[9:16]
    assert device_id(b"0123456789ab, and more") == made != device_id(b"another")


def test_endorsement_seed(ta: FakeTask) -> None:
    kind, value = read(ta, PropSet.TEE_IMPLEMENTATION, "com.microsoft.ta.endorsementSeed")
    secret = hmac.digest(bytes(range(16)), b"\2\0\0\0", "sha256")  # huk_subkey_derive(HUK_SUBKEY_DIE_ID)
    assert kind == PropType.BINARY_BLOCK
    assert value == b"\x20\0\0\0" + hashlib.sha256(ta.uuid.bytes_le + secret).digest()


def test_short_buffers_say_what_is_needed(ta: FakeTask) -> None:
    for prop_set, rows in SETS.items():
        for index, row in enumerate(rows):
            need = len(row.value(ta))
            buf, blen, kind = ta.memory.place(bytes(80)), ta.cell(need - 1), ta.cell(99)
            name, name_len = ta.memory.place(b"#" * 80), ta.cell(80)
            words = (prop_set, index, name, name_len, buf, blen, kind)
            assert ta.call("get_property", *words) == results.SHORT_BUFFER
            assert (ta.memory.word_at(blen), ta.memory.word_at(kind)) == (need, row.type)
            assert ta.memory.copy_in(name, 1) == b"#"  # the value comes first
            ta.memory.copy_out(name_len, len(row.name).to_bytes(4, "little"))
            assert ta.call("get_property", *words) == results.SHORT_BUFFER
            assert ta.memory.word_at(name_len) == len(row.name) + 1
            assert ta.call("get_property", *words) == results.SUCCESS


def test_bad_pointers_and_sets(ta: FakeTask) -> None:
    ta_set = PropSet.CURRENT_TA
    buf, length = ta.memory.place(bytes(80)), ta.cell(80)
    for words in (
        (0, 0, 0, 0, BAD_VA),
        (0, 0, BAD_VA, length, 0),
        (0, 0, buf, BAD_VA, 0),
        (BAD_VA, length, 0, 0, 0),
        (buf, BAD_VA, 0, 0, 0),
    ):
        assert ta.call("get_property", ta_set, 0, *words) == results.ACCESS_DENIED
    assert ta.call("get_property", ta_set, 0, buf, 0, buf, 0, 0) == results.SUCCESS  # nothing to deliver
    assert ta.call("get_property", 0, 0, 0, 0, 0, 0, 0) == results.ITEM_NOT_FOUND
    assert ta.call("get_property", ta_set, 1 << 63, 0, 0, 0, 0, 0) == results.ITEM_NOT_FOUND
    by_name = "get_property_name_to_index"
    name = ta.memory.place(b"gpd.ta.appID?")
    assert ta.call(by_name, 0, name, 13, length) == results.ITEM_NOT_FOUND
    assert ta.call(by_name, 0xFFFFFFFF00000000 | ta_set, name, 13, length) == results.ITEM_NOT_FOUND
    assert ta.call(by_name, ta_set, 0, 13, length) == results.BAD_PARAMETERS
    assert ta.call(by_name, ta_set, name, 0, length) == results.BAD_PARAMETERS
    assert ta.call(by_name, ta_set, BAD_VA, 13, length) == results.ACCESS_DENIED
    assert ta.call(by_name, ta_set, name, 1 << 40, length) == results.OUT_OF_MEMORY
    assert ta.call(by_name, ta_set, name, 13, BAD_VA) == results.ACCESS_DENIED
    assert ta.call(by_name, ta_set, name, 13, length) == results.SUCCESS  # the last byte counts as NUL
    assert ta.call(by_name, ta_set, name, 12, length) == results.ITEM_NOT_FOUND
