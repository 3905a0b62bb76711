"""Sample TAs, prebuilt for each architecture, with the key that signed them.

`hello` is a TA written for this project against a runtime of its own; sources are in `src/`,
commands and parameters in README.md, and `build.py` rebuilds the images bit for bit.
"""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from south.platform import Arch

HERE = Path(__file__).parent

HELLO = {
    Arch.AARCH64: UUID("7371bc6b-0888-4252-9d3b-42ddcbca70fd"),
    Arch.ARM: UUID("3df06738-c272-4b3a-bc84-861332374c42"),
}
"""UUID of the hello TA of each architecture."""


def hello(arch: Arch = Arch.AARCH64) -> Path:
    """The signed hello TA, `<uuid>.ta`."""
    return HERE / f"{HELLO[arch]}.ta"


def public_key() -> Path:
    """PEM of the public key that verifies the samples. Development only: its private half is public too."""
    return HERE / "keys" / "samples.pub.pem"


def private_key() -> Path:
    """PEM of the key that signs the samples. Never trust it outside tests and demonstrations."""
    return HERE / "keys" / "samples.pem"
