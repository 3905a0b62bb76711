"""Device PTA: tells the normal world's TEE bus which TAs it should find drivers for.

Source: optee_os core/pta/device.c with CFG_REE_FS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee.abi import results
from tee.abi.pta_device import PTA_DEVICE_UUID, DeviceCommand
from tee.abi.ta_head import (
    TA_FLAG_DEVICE_ENUM,
    TA_FLAG_DEVICE_ENUM_SUPP,
    TA_FLAG_DEVICE_ENUM_TEE_STORAGE_PRIVATE,
)
from tee.abi.uuids import uuid_octets
from tee.errors import TeeError
from tee.params import Kind
from tee.pta.base import Sessionless
from tee.pta.kinds import expect, memref, served
from tee.pta.registry import PTA_DEFAULT_FLAGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from uuid import UUID

    from tee.pta.base import Caller, Params

_STAGES = (TA_FLAG_DEVICE_ENUM, TA_FLAG_DEVICE_ENUM_SUPP, TA_FLAG_DEVICE_ENUM_TEE_STORAGE_PRIVATE)

_ANSWERED: dict[int, int] = {
    DeviceCommand.GET_DEVICES: TA_FLAG_DEVICE_ENUM,
    DeviceCommand.GET_DEVICES_SUPP: TA_FLAG_DEVICE_ENUM_SUPP | TA_FLAG_DEVICE_ENUM_TEE_STORAGE_PRIVATE,
    # Private storage is files of the normal world, so what waits for it is no matter of RPMB.
    DeviceCommand.GET_DEVICES_RPMB: 0,
}


class DevicePta(Sessionless):
    """devices: gives (UUID, TA_FLAG_* bits) of PTAs and built-in TAs, in the order to list them."""

    uuid = PTA_DEVICE_UUID
    name = "device.pta"
    flags = PTA_DEFAULT_FLAGS

    def __init__(self, devices: Callable[[], Iterable[tuple[UUID, int]]]) -> None:
        self._devices = devices

    def invoke(self, session: object, command: int, params: Params, caller: Caller | None) -> None:
        wanted = served(_ANSWERED, command, "the device PTA", results.NOT_IMPLEMENTED)
        expect(params, Kind.MEMREF_OUTPUT)
        out = memref(params, 0)
        if out.null and out.size:
            raise TeeError(results.BAD_PARAMETERS, "NULL with a size")
        listed = b"".join(uuid_octets(uuid) for uuid, flags in self._devices() if _stage(flags) & wanted)
        if listed:
            out.put(listed)
        else:
            out.size = 0  # success even for NULL, which `put` would call short


def _stage(flags: int) -> int:
    """The one stage a TA asks to be listed at; 0: none, or several, which is inconsistent."""
    flags &= sum(_STAGES)
    return flags if flags in _STAGES else 0
