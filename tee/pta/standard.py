"""The pseudo TAs every secure world has.

Each is imported when it is first looked for; until then its row here says what a normal world may ask without opening
it. A test compares the rows with the PTAs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee.abi import pta_uuids as uuids
from tee.abi.ta_head import TA_FLAG_CONCURRENT, TA_FLAG_DEVICE_ENUM, TA_FLAG_SECURE_DATA_PATH
from tee.pta.registry import PTA_DEFAULT_FLAGS, Registry

if TYPE_CHECKING:
    from tee.pta.base import PseudoTa
    from tee.world import SecureWorld

_CONCURRENT = PTA_DEFAULT_FLAGS | TA_FLAG_CONCURRENT
_DEVICE = _CONCURRENT | TA_FLAG_DEVICE_ENUM


def standard(world: SecureWorld) -> Registry:
    """world: whose PTAs they are."""
    registry = Registry()
    ports = world.pta_ports()

    def system() -> PseudoTa:
        from tee.pta.system import SystemPta

        return SystemPta(world.platform.root_of_trust, normal=world.normal)

    def device() -> PseudoTa:
        from tee.pta.device import DevicePta

        return DevicePta(registry.devices)

    def invoke_tests() -> PseudoTa:
        from tee.pta.invoke_tests import InvokeTestsPta

        return InvokeTestsPta(world.platform, ports.htree_self_test)

    registry.declare(uuids.PTA_SYSTEM_UUID, _CONCURRENT, system)
    registry.declare(uuids.PTA_DEVICE_UUID, PTA_DEFAULT_FLAGS, device)
    registry.declare(uuids.PTA_INVOKE_TESTS_UUID, _DEVICE | TA_FLAG_SECURE_DATA_PATH, invoke_tests)
    sockets = world.normal.sockets if world.normal is not None else None
    if sockets is not None:

        def socket() -> PseudoTa:
            from tee.pta.socket import SocketPta

            return SocketPta(sockets)

        registry.declare(uuids.PTA_SOCKET_UUID, _CONCURRENT, socket)
    return registry
