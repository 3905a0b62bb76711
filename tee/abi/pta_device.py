"""Device enumeration PTA. Source: optee_os lib/libutee/include/pta_device.h."""

from __future__ import annotations

import enum
from uuid import UUID

PTA_DEVICE_UUID = UUID("7011a688-ddde-4053-a5a9-7b3c4ddf13b8")


class DeviceCommand(enum.IntEnum):
    """PTA_CMD_*: which stage of the normal world's start asks."""

    GET_DEVICES = 0
    GET_DEVICES_SUPP = 1
    GET_DEVICES_RPMB = 2
