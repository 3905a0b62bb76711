"""What one client may use of the daemon."""

from __future__ import annotations

from typing import NamedTuple

from tee.abi import results
from tee.abi.results import Origin
from tee.errors import TeeError


class ClientLimits(NamedTuple):
    """Per context: sessions, memory (bytes of shared memory), objects of shared memory, connections (so also calls
    in flight). Per user: connections of all contexts together.
    """

    sessions: int = 64
    memory: int = 256 << 20
    objects: int = 1024
    connections: int = 64
    user_connections: int = 512


def over(what: str) -> TeeError:
    """A client asks for more than its limit: TEE_ERROR_OUT_OF_MEMORY of the daemon's own."""
    return TeeError(results.OUT_OF_MEMORY, f"the client's limit of {what} is reached", Origin.COMMS)
