"""The pseudo TAs every secure world has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee.pta.device import DevicePta
from tee.pta.registry import Registry
from tee.pta.system import SystemPta

if TYPE_CHECKING:
    from south.platform import Platform


def standard(platform: Platform) -> Registry:
    registry = Registry()
    registry.add(SystemPta(platform.root_of_trust))
    registry.add(DevicePta(registry.devices))
    return registry
