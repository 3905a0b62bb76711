"""What one client and one user may use of the daemon."""

from __future__ import annotations

from typing import NamedTuple

from tee.abi import results
from tee.abi.results import Origin
from tee.errors import TeeError

OTHER_RESULTS = -1
"""In counts by result: those that are too many to be counted each for itself."""


class ClientLimits(NamedTuple):
    """Per context: sessions, memory (bytes of shared memory), objects of shared memory, connections (so also calls
    in flight). user_*: the same for all contexts of one user together; user_calls: those that compute at the same
    time, None: some for each processor (`gates.CALLS_PER_PROCESSOR`).
    """

    sessions: int = 64
    memory: int = 256 << 20
    objects: int = 1024
    connections: int = 64
    user_sessions: int = 512
    user_memory: int = 1 << 30
    user_objects: int = 4096
    user_connections: int = 512
    user_calls: int | None = None


def over(what: str) -> TeeError:
    """A client asks for more than its limit: TEE_ERROR_OUT_OF_MEMORY of the daemon's own."""
    return TeeError(results.OUT_OF_MEMORY, f"the client's limit of {what} is reached", Origin.COMMS)
