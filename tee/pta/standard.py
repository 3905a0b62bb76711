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
        from tee.storage.trees import StorageTrees

        return InvokeTestsPta(world.platform, StorageTrees(world.platform).self_test)

    def stats() -> PseudoTa:
        from tee.pta.stats import StatsPta

        return StatsPta(world)

    def attestation() -> PseudoTa:
        from tee.pta.attestation import AttestationPta

        return AttestationPta(world.images.digest, ports.attestation_key)

    def rtc() -> PseudoTa:
        from tee.pta.rtc import RtcPta

        return RtcPta(world.platform.clock)

    def rng() -> PseudoTa:
        from tee.pta.rng import RngPta

        return RngPta(world.platform.entropy)

    def gprof() -> PseudoTa:
        from tee.pta.gprof import GprofPta

        return GprofPta(world.profiles)

    registry.declare(uuids.PTA_SYSTEM_UUID, _CONCURRENT, system)
    registry.declare(uuids.PTA_DEVICE_UUID, PTA_DEFAULT_FLAGS, device)
    registry.declare(uuids.PTA_INVOKE_TESTS_UUID, _DEVICE | TA_FLAG_SECURE_DATA_PATH, invoke_tests)
    registry.declare(uuids.PTA_STATS_UUID, PTA_DEFAULT_FLAGS, stats)
    registry.declare(uuids.PTA_ATTESTATION_UUID, PTA_DEFAULT_FLAGS, attestation)
    registry.declare(uuids.PTA_RTC_UUID, _DEVICE, rtc)
    registry.declare(uuids.PTA_RNG_UUID, _DEVICE, rng)
    registry.declare(uuids.PTA_GPROF_UUID, PTA_DEFAULT_FLAGS, gprof)
    sockets = world.normal.sockets if world.normal is not None else None
    if sockets is not None:

        def socket() -> PseudoTa:
            from tee.pta.socket import SocketPta

            return SocketPta(sockets)

        registry.declare(uuids.PTA_SOCKET_UUID, _CONCURRENT, socket)
    verify = ports.verify
    if verify is not None:

        def secstor_ta_mgmt() -> PseudoTa:
            from tee.pta.secstor_ta_mgmt import SecstorTaMgmtPta

            return SecstorTaMgmtPta(verify, ports.database)

        registry.declare(uuids.PTA_SECSTOR_TA_MGMT_UUID, PTA_DEFAULT_FLAGS, secstor_ta_mgmt)
    return registry
