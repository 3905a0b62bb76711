"""UUIDs of pseudo TAs. Source: optee_os lib/libutee/include/pta_*.h."""

from __future__ import annotations

from uuid import UUID

PTA_SYSTEM_UUID = UUID("3a2f8978-5dc0-11e8-9c2d-fa7ae01bbebc")
PTA_DEVICE_UUID = UUID("7011a688-ddde-4053-a5a9-7b3c4ddf13b8")
PTA_SOCKET_UUID = UUID("3b996a7d-2c2b-4a49-a896-e1fb5766d2f4")
PTA_INVOKE_TESTS_UUID = UUID("d96a5b40-c3e5-21e3-8794-1002a5d5c61b")
PTA_SECSTOR_TA_MGMT_UUID = UUID("6e256cba-fc4d-4941-ad09-2ca1860342dd")

STANDARD = frozenset(
    (PTA_INVOKE_TESTS_UUID, PTA_SYSTEM_UUID, PTA_DEVICE_UUID, PTA_SOCKET_UUID, PTA_SECSTOR_TA_MGMT_UUID)
)
"""Those of tee.pta.standard; the socket PTA only where the normal world has sockets, the one that installs TAs only
where somebody judges them."""
