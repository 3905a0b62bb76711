"""Property sets of the implementation, the client and the TA, as far as the kernel side knows them.

libutee answers the rest inside the TA: `gpd.ta.*` but appID, and `gpd.tee.arith.maxBigIntSize`,
`gpd.tee.sockets.*` and `gpd.tee.internalCore.version`.

Source: optee_os 4.10 core/tee/tee_svc.c (tables, syscall_get_property*), otp_stubs.c and huk_subkey.c
(die id), core/arch/arm/plat-vexpress/vendor_props.c (the endorsement seed that fTPM asks for).
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from typing import TYPE_CHECKING, NamedTuple

from tee.abi import results
from tee.abi.properties import IDENTITY, PropSet, PropType, ProtectionLevel
from tee.abi.uuids import tee_uuid_bytes, uuid_from_tee
from tee.crypto.huk import die_id
from tee.errors import TeeError

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from north.syscalls.declare import OutCell
    from south.platform import RootOfTrust
    from tee.services.context import PropertyTask

DIE_ID_BYTES = 12
"""FVR_DIE_ID_NUM_REGS words: how much of the die id makes the device id."""
SEED_BYTES = 32
"""Of the endorsement seed, and of the die id that goes into it."""
_CLIENT_LITTLE_ENDIAN = 0
_CPU = "org.trustedfirmware.optee.cpu."
_MAX_NAME = 4096
"""Bytes of a property name; longer is OUT_OF_MEMORY."""


def _release() -> str:
    try:
        return importlib.metadata.version("litebox-ta")
    except importlib.metadata.PackageNotFoundError:
        return "Unknown"


class Implementation(NamedTuple):
    """What a secure world says of itself.

    system_time, persistent_time: `ProtectionLevel`; the normal world of a host could turn back its clock.
    anti_rollback: `ProtectionLevel` of trusted storage; REE unless an RPMB keeps the root of its files.
    ecc: elliptic curves are operated upon.
    bti, pauth: the CPU checks branch targets and authenticates pointers in TAs.
    memtag: the memory tagging in use, as in the field MTE of ID_AA64PFR1_EL1; 0: none.
    """

    api_version: str = "GPD-1.1-dev"
    description: str = "LiteBox"
    system_time: int = ProtectionLevel.REE
    persistent_time: int = ProtectionLevel.REE
    anti_rollback: int = ProtectionLevel.REE
    ecc: bool = True
    trusted_os_version: str = _release()
    trusted_os_binary_version: int = 0
    trusted_os_manufacturer: str = "LiteBox"
    firmware_version: str = "FW_IMPL_UNDEF"
    firmware_binary_version: int = 0
    firmware_manufacturer: str = "FW_MAN_UNDEF"
    bti: bool = False
    pauth: bool = False
    memtag: int = 0


class Property(NamedTuple):
    """value: what `get_property` copies out."""

    name: str
    type: PropType
    value: Callable[[PropertyTask], bytes]


def device_id(die: bytes) -> UUID:
    """The device's name-based UUID (get_prop_tee_dev_id): SHA-256, made to look like RFC 4122 version 5."""
    raw = bytearray(hashlib.sha256(b"OPTEE" + die[:DIE_ID_BYTES].ljust(DIE_ID_BYTES, b"\0")).digest()[:16])
    raw[7] = raw[7] & 0x0F | 0x50  # high byte of timeHiAndVersion in memory
    raw[8] = raw[8] & 0x3F | 0x80
    return uuid_from_tee(bytes(raw))


def endorsement_seed(root: RootOfTrust, ta: UUID) -> bytes:
    """The value of com.microsoft.ta.endorsementSeed: length, and a digest of the TA and the derived die id."""
    seed = hashlib.sha256(tee_uuid_bytes(ta) + die_id(root, SEED_BYTES)).digest()
    return SEED_BYTES.to_bytes(4, "little") + seed


def _word(value: int) -> bytes:
    return value.to_bytes(4, "little")


def _text(value: str) -> bytes:
    return value.encode() + b"\0"


_IMPLEMENTATION = (
    Property("gpd.tee.apiversion", PropType.STRING, lambda t: _text(t.implementation.api_version)),
    Property("gpd.tee.description", PropType.STRING, lambda t: _text(t.implementation.description)),
    Property(
        "gpd.tee.deviceID",
        PropType.UUID,
        lambda t: tee_uuid_bytes(device_id(t.platform.root_of_trust.device_id())),
    ),
    Property("gpd.tee.systemTime.protectionLevel", PropType.U32, lambda t: _word(t.implementation.system_time)),
    Property(
        "gpd.tee.TAPersistentTime.protectionLevel", PropType.U32, lambda t: _word(t.implementation.persistent_time)
    ),
    Property("gpd.tee.cryptography.ecc", PropType.BOOL, lambda t: bytes([t.implementation.ecc])),
    Property(
        "gpd.tee.trustedStorage.antiRollback.protectionLevel",
        PropType.U32,
        lambda t: _word(t.implementation.anti_rollback),
    ),
    Property(
        "gpd.tee.trustedos.implementation.version",
        PropType.STRING,
        lambda t: _text(t.implementation.trusted_os_version),
    ),
    Property(
        "gpd.tee.trustedos.implementation.binaryversion",
        PropType.U32,
        lambda t: _word(t.implementation.trusted_os_binary_version),
    ),
    Property(
        "gpd.tee.trustedos.manufacturer", PropType.STRING, lambda t: _text(t.implementation.trusted_os_manufacturer)
    ),
    Property(
        "gpd.tee.firmware.implementation.version",
        PropType.STRING,
        lambda t: _text(t.implementation.firmware_version),
    ),
    Property(
        "gpd.tee.firmware.implementation.binaryversion",
        PropType.U32,
        lambda t: _word(t.implementation.firmware_binary_version),
    ),
    Property("gpd.tee.firmware.manufacturer", PropType.STRING, lambda t: _text(t.implementation.firmware_manufacturer)),
    # OP-TEE has the next three where it is built with CFG_TA_BTI, CFG_TA_PAUTH and CFG_MEMTAG.
    Property(_CPU + "feat_bti_implemented", PropType.BOOL, lambda t: bytes([t.implementation.bti])),
    Property(_CPU + "feat_pauth_implemented", PropType.BOOL, lambda t: bytes([t.implementation.pauth])),
    Property(_CPU + "feat_memtag_implemented", PropType.U32, lambda t: _word(t.implementation.memtag)),
    Property(
        "com.microsoft.ta.endorsementSeed",
        PropType.BINARY_BLOCK,
        lambda t: endorsement_seed(t.platform.root_of_trust, t.uuid),
    ),
)
_CLIENT = (
    Property(
        "gpd.client.identity",
        PropType.IDENTITY,
        lambda t: IDENTITY.pack(t.client.login, tee_uuid_bytes(t.client.uuid)),
    ),
    Property("gpd.client.endian", PropType.U32, lambda t: _word(_CLIENT_LITTLE_ENDIAN)),
)
_TA = (Property("gpd.ta.appID", PropType.UUID, lambda t: tee_uuid_bytes(t.uuid)),)

SETS: dict[int, tuple[Property, ...]] = {
    PropSet.TEE_IMPLEMENTATION: _IMPLEMENTATION,
    PropSet.CURRENT_CLIENT: _CLIENT,
    PropSet.CURRENT_TA: _TA,
}


def get_property(
    task: PropertyTask, prop_set: int, index: int, name: int, name_len: int, buf: int, blen: int, prop_type: int
) -> None:
    """Whatever of type, value and name the TA has a place for; lengths are 32-bit words, in bytes."""
    rows = SETS.get(prop_set, ())
    if index >= len(rows):
        raise TeeError(results.ITEM_NOT_FOUND, f"no property {index} in set {prop_set:#x}")
    row = rows[index]
    if prop_type:
        task.memory.copy_out(prop_type, _word(row.type))
    if buf and blen:
        _deliver(task, buf, blen, row.value(task))
    if name and name_len:
        _deliver(task, name, name_len, _text(row.name))


def _deliver(task: PropertyTask, va: int, length_va: int, data: bytes) -> None:
    capacity = int.from_bytes(task.memory.copy_in(length_va, 4), "little")
    fits = capacity >= len(data)
    if fits:
        task.memory.copy_out(va, data)
    task.memory.copy_out(length_va, _word(len(data)))
    if not fits:
        raise TeeError(results.SHORT_BUFFER, f"{len(data)} bytes into {capacity}")


def get_property_name_to_index(task: PropertyTask, prop_set: int, name: int, name_len: int, index: OutCell) -> None:
    """name_len: bytes, the final NUL included, whatever byte is there."""
    rows = SETS.get(prop_set)
    if rows is None:
        raise TeeError(results.ITEM_NOT_FOUND, f"no property set {prop_set:#x}")
    if not name or not name_len:
        raise TeeError(results.BAD_PARAMETERS, "no name")
    if name_len > _MAX_NAME:
        raise TeeError(results.OUT_OF_MEMORY, f"a name of {name_len} bytes")
    wanted = task.memory.copy_in(name, name_len)[:-1].partition(b"\0")[0]
    for at, row in enumerate(rows):
        if row.name.encode() == wanted:
            index.put(at)
            return
    raise TeeError(results.ITEM_NOT_FOUND, f"no property {wanted!r} in set {prop_set:#x}")
