"""UUIDs below a subkey."""

from __future__ import annotations

from uuid import UUID

from tee.crypto import oneshot


def next_uuid(uuid: UUID, name: bytes) -> UUID:
    """UUID of what follows a subkey: version 5 of RFC 4122, but of SHA-512(uuid, name up to its first NUL).

    A name field of no bytes makes an identity subkey: what follows has the subkey's own UUID.
    Source: calc_next_uuid(), optee_os core/crypto/signed_hdr.c.
    """
    if not name:
        return uuid
    digest = oneshot.digest("sha512", uuid.bytes, name.partition(b"\0")[0])
    return UUID(bytes=digest[:16], version=5)
