"""checks: a TA with a stack protector and UBSan. Commands: README.md here."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from south.platform import Arch

HERE = Path(__file__).parent

UUIDS = {
    Arch.AARCH64: UUID("63f1d6b2-2d0a-4c57-9a0f-07c1b8e4a5d3"),
    Arch.ARM: UUID("b0e8a7c4-5f39-4e12-8d66-3c9f2a71e0b8"),
}
ADD, SHIFT, INDEX, SMASH, GUARD, ALIGN = range(6)
"""Commands."""
PANIC_STACK, PANIC_UNDEFINED = 0x57AC, 0xDEF
