"""What one TA instance may use."""

from __future__ import annotations

from typing import NamedTuple

from north.memory import Layout


class Limits(NamedTuple):
    """Per instance. memory: bytes of private memory; call_seconds: guest time of one call, None: unlimited;
    handles: objects, operations and enumerators open at once; sessions: of one instance;
    log_rate: log messages a second, with a burst of twice that; depth: nested TA-to-TA calls; nested: instances alive
    that its sessions, and those of its callees, have to themselves; layout: which addresses it gets.
    storage: bytes of trusted storage of a TA, in whichever instance; None: unlimited.

    What the host holds for the instance (objects, operations, sessions) counts as its memory, too."""

    memory: int = 64 << 20
    call_seconds: float | None = None
    handles: int = 1024
    sessions: int = 256
    log_rate: int = 2000
    depth: int = 16
    nested: int = 16
    layout: Layout = Layout.BOARD
    storage: int | None = None
