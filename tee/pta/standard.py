"""The pseudo TAs every secure world has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee.pta.device import DevicePta
from tee.pta.invoke_tests import InvokeTestsPta
from tee.pta.registry import Registry
from tee.pta.system import SystemPta

if TYPE_CHECKING:
    from south.platform import Platform
    from tee.normal import NormalWorld


def standard(platform: Platform, normal: NormalWorld | None = None) -> Registry:
    registry = Registry()
    registry.add(SystemPta(platform.root_of_trust, normal=normal))
    registry.add(DevicePta(registry.devices))
    registry.add(InvokeTestsPta(platform.console))
    if normal is not None and normal.sockets is not None:
        from tee.pta.socket import SocketPta

        registry.add(SocketPta(normal.sockets))
    return registry
