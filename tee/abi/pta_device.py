"""Device enumeration PTA. Source: optee_os lib/libutee/include/pta_device.h."""

from __future__ import annotations

import enum

from tee.abi.pta_uuids import PTA_DEVICE_UUID as PTA_DEVICE_UUID


class DeviceCommand(enum.IntEnum):
    """PTA_CMD_*: which stage of the normal world's start asks."""

    GET_DEVICES = 0
    GET_DEVICES_SUPP = 1
    GET_DEVICES_RPMB = 2
