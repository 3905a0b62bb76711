"""The pseudo TAs every secure world has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee.pta.device import DevicePta
from tee.pta.invoke_tests import InvokeTestsPta
from tee.pta.registry import Registry
from tee.pta.system import SystemPta

if TYPE_CHECKING:
    from collections.abc import Callable

    from south.platform import Platform
    from tee.normal import NormalWorld
    from tee.ports import Installer
    from tee.storage.store import TrustedStorage


def standard(
    platform: Platform,
    normal: NormalWorld | None = None,
    installer: Installer | None = None,
    storage: Callable[[], TrustedStorage] | None = None,
) -> Registry:
    """installer, storage: for TAs to be installed in trusted storage; None: they cannot be."""
    registry = Registry()
    registry.add(SystemPta(platform.root_of_trust, normal=normal))
    registry.add(DevicePta(registry.devices))
    registry.add(InvokeTestsPta(platform.console))
    if normal is not None and normal.sockets is not None:
        from tee.pta.socket import SocketPta

        registry.add(SocketPta(normal.sockets))
    if installer is not None and storage is not None:
        from tee.pta.secstor_ta_mgmt import SecstorTaMgmtPta

        registry.add(SecstorTaMgmtPta(installer, storage))
    return registry
