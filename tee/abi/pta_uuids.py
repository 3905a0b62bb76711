"""UUIDs of pseudo TAs. Source: optee_os lib/libutee/include/pta_*.h."""

from __future__ import annotations

from uuid import UUID

PTA_SYSTEM_UUID = UUID("3a2f8978-5dc0-11e8-9c2d-fa7ae01bbebc")
PTA_DEVICE_UUID = UUID("7011a688-ddde-4053-a5a9-7b3c4ddf13b8")
PTA_SOCKET_UUID = UUID("3b996a7d-2c2b-4a49-a896-e1fb5766d2f4")
PTA_INVOKE_TESTS_UUID = UUID("d96a5b40-c3e5-21e3-8794-1002a5d5c61b")
PTA_STATS_UUID = UUID("d96a5b40-e2c7-b1af-8794-1002a5d5c61b")
PTA_ATTESTATION_UUID = UUID("39800861-182a-4720-9b67-2bcd622bc0b5")
PTA_RTC_UUID = UUID("f389f8c8-845f-496c-8bbe-d64bd24c92fd")
PTA_RNG_UUID = UUID("ab7a617c-b8e7-4d8f-8301-d09b61036b64")
PTA_GPROF_UUID = UUID("2f6e0d48-c574-426d-824e-40198cde5cac")
PTA_SECSTOR_TA_MGMT_UUID = UUID("6e256cba-fc4d-4941-ad09-2ca1860342dd")

STANDARD = frozenset(
    (
        PTA_INVOKE_TESTS_UUID,
        PTA_SYSTEM_UUID,
        PTA_DEVICE_UUID,
        PTA_SOCKET_UUID,
        PTA_STATS_UUID,
        PTA_ATTESTATION_UUID,
        PTA_RTC_UUID,
        PTA_RNG_UUID,
        PTA_GPROF_UUID,
        PTA_SECSTOR_TA_MGMT_UUID,
    )
)
"""Those of tee.pta.standard; some only where what they need is there."""
