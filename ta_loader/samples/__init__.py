"""Sample TAs, prebuilt for each architecture, with the key that signed them.

`hello` is a TA written for this project against a runtime of its own; sources are in `src/`,
commands and parameters in README.md, and `build.py` rebuilds the images bit for bit.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from uuid import UUID

from south.platform import Arch

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = os.path.dirname(__file__)

HELLO = {
    Arch.AARCH64: UUID("7371bc6b-0888-4252-9d3b-42ddcbca70fd"),
    Arch.ARM: UUID("3df06738-c272-4b3a-bc84-861332374c42"),
}
"""UUID of the hello TA of each architecture."""
NAMES = {"hello": Arch.AARCH64, "hello-arm": Arch.ARM}
"""What users call them. Write ./hello for a file of that name."""


def _path(*parts: str) -> Path:
    from pathlib import Path  # not while a TA is run: it takes longer than the TA

    return Path(FOLDER, *parts)


def hello_file(arch: Arch = Arch.AARCH64) -> str:
    """The signed hello TA, `<uuid>.ta`, as a plain name."""
    return os.path.join(FOLDER, f"{HELLO[arch]}.ta")


def file_of(text: str) -> str:
    """The path that a user means who names a `.ta` file: of a sample, where that is the name of one."""
    arch = NAMES.get(text)
    return text if arch is None else hello_file(arch)


def public_key_file() -> str:
    """PEM of the public key that verifies the samples. Development only: its private half is public too."""
    return os.path.join(FOLDER, "keys", "samples.pub.pem")


def hello(arch: Arch = Arch.AARCH64) -> Path:
    return _path(hello_file(arch))


def public_key() -> Path:
    return _path(public_key_file())


def private_key() -> Path:
    """PEM of the key that signs the samples. Never trust it outside tests and demonstrations."""
    return _path("keys", "samples.pem")
