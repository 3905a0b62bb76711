"""prof: a TA that profiles itself through the gprof pseudo TA and a trace buffer. Commands: README.md here."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from south.platform import Arch

HERE = Path(__file__).parent

UUIDS = {
    Arch.AARCH64: UUID("4d1b6c52-6f0e-4c43-8a4e-b3a0f7c6c9d1"),
    Arch.ARM: UUID("9a6f0b1e-2f5d-4f0a-b7a5-51d34d0c8e27"),
}
WORK, PANIC, GPROF, START, STOP, SEND, CALLS, WILD, INDEX = range(9)
"""Commands."""
