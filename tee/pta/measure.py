"""A digest of this core: the code that its packages consist of.

OP-TEE hashes its own read-only memory (core/pta/attestation.c, cmd_hash_tee_memory). Here the core is Python and its C
extensions, so what is hashed are their files, as they are when the digest is asked for: two installations of one
release agree, and a file that was changed shows. A process that was tampered with in memory does not.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path

from tee import native

PACKAGES = ("south", "north", "tee")
"""What the secure world consists of, lowest floor first; those that have not been imported are code of it as well."""
CODE = (".py", ".so")


def core_digest(packages: tuple[str, ...] = PACKAGES) -> bytes:
    """SHA-256 over every file's name in its package, its size and its content, in order of names."""
    pieces: list[bytes] = []
    for package in packages:
        root = Path(os.path.dirname(os.fspath(importlib.import_module(package).__file__ or "")))
        for path in sorted(file for file in root.rglob("*") if file.suffix in CODE):
            content = path.read_bytes()
            name = f"{package}/{path.relative_to(root).as_posix()}"
            pieces += (f"{name}\0{len(content)}\0".encode(), content)
    return native.digest("sha256", *pieces)
