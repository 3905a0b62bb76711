"""Client UUIDs as Linux's TEE driver derives them.

Source: tee_session_calc_client_uuid() of Linux's drivers/tee/tee_core.c.
"""

from __future__ import annotations

from uuid import UUID

NAMESPACE = UUID("58ac9ca0-2086-4683-a1b8-ec4bc08e01b6")  # tee_client_uuid_ns


def user_uuid(uid: int) -> UUID:
    return derived(f"uid={uid:x}")


def group_uuid(gid: int) -> UUID:
    return derived(f"gid={gid:x}")


def derived(name: str) -> UUID:
    """UUIDv5 of `name` in the driver's namespace."""
    import uuid

    return uuid.uuid5(NAMESPACE, name)
