"""A UUID's two layouts, TEE_UUID as it lies in a TA's memory and octets as the wire has it; and its text.

Source: optee_os lib/libutee/include/tee_api_types.h (`TEE_UUID`: u32, u16, u16, u8[8], little-endian
on every target) and core/tee/uuid.c (`tee_uuid_to_octets`: big-endian fields, RFC 4122 §4.1.2).
"""

from __future__ import annotations

from uuid import UUID

TEE_UUID_SIZE = 16
"""sizeof(TEE_UUID), bytes."""


def tee_uuid_bytes(uuid: UUID) -> bytes:
    """`uuid` as a TEE_UUID in memory."""
    return uuid.bytes_le


def uuid_from_tee(data: bytes) -> UUID:
    """The UUID of a TEE_UUID in memory. ValueError unless there are 16 bytes."""
    return UUID(bytes_le=data)


def uuid_octets(uuid: UUID) -> bytes:
    """`uuid` as `tee_uuid_to_octets` writes it, in the order of its text."""
    return uuid.bytes


def uuid_from_octets(data: bytes) -> UUID:
    """Inverse of `uuid_octets`. ValueError unless there are 16 bytes."""
    return UUID(bytes=data)


def parse_uuid(text: str) -> UUID | None:
    """A UUID in its usual form, with or without hyphens; None if it is none."""
    digits = text.replace("-", "")
    if len(digits) != 32 or len(text) not in (32, 36):
        return None
    try:
        return UUID(digits)
    except ValueError:
        return None
