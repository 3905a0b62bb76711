"""asan: a TA that the compiler's AddressSanitizer checks, as OP-TEE builds them. Commands: README.md here."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from south.platform import Arch

HERE = Path(__file__).parent

UUIDS = {
    Arch.AARCH64: UUID("1f6b9c80-4d5e-4b0a-9a55-6a1f0f4f3c21"),
    Arch.ARM: UUID("7c2d41a9-0b83-4a37-8f6e-90b2d5c7e684"),
}
GLOBAL, STACK, POOL, SHADOW, TABLE, FORGE, BOUNDS = range(7)
"""Commands."""
