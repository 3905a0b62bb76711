"""A digest of this core: the code that its packages consist of.

OP-TEE hashes its own read-only memory (core/pta/attestation.c, cmd_hash_tee_memory). Here the core is Python and its C
extensions, so what is hashed are their files, as they are when the digest is asked for: two installations of one
release agree, and a file that was changed shows. A process that was tampered with in memory does not.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from tee.abi import results
from tee.crypto import oneshot
from tee.errors import TeeError, reason

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGES = ("south", "north", "tee")
"""What the secure world consists of, lowest floor first; those that have not been imported are code of it as well."""
CODE = (".py", ".so")


def core_digest(packages: tuple[str, ...] = PACKAGES) -> bytes:
    """SHA-256 over every file's name in its package, its size and its content, in order of names.

    TeeError(GENERIC) if a file cannot be read: a digest of the rest would be none of the core.
    """
    try:
        return oneshot.digest("sha256", *(piece for package in packages for piece in _pieces(package)))
    except OSError as problem:
        raise TeeError(results.GENERIC, f"the core's code cannot be read: {reason(problem)}") from None


def _pieces(package: str) -> Iterator[bytes]:
    place = importlib.import_module(package).__file__
    if place is None:
        raise FileNotFoundError(f"{package} is not in files")
    root = Path(place).parent
    for path in sorted(file for file in root.rglob("*") if file.suffix in CODE):
        content = path.read_bytes()
        yield f"{package}/{path.relative_to(root).as_posix()}\0{len(content)}\0".encode()
        yield content
