"""cxx: a TA in C++, for thread-local variables and exceptions in every entry. Commands: README.md here."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from south.platform import Arch

HERE = Path(__file__).parent

UUIDS = {
    Arch.AARCH64: UUID("2b5c1e0a-77d4-4c0e-9d3a-5a7b7d2f7f64"),
    Arch.ARM: UUID("d8c9f6f2-0c9b-4b6e-8f0d-3f1e6c1b3a32"),
}
COUNT, THROW, UNCAUGHT, CONDITIONAL, ZEROED, HALF = range(6)
"""Commands."""
PANIC_TERMINATE = 0x7E27
"""What an exception that nobody catches panics with."""
