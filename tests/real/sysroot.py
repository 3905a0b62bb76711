"""A root folder for the aarch64 xtest: Debian's files in the places where it looks, made of links."""

from __future__ import annotations

import os
from pathlib import Path

from tests.real import debian

MERGED = ("bin", "sbin", "lib")
"""Links into usr/ since merged-usr."""


def build(root: Path, *packages: Path) -> Path:
    """Lay `packages`, unpacked, over one another below `root`. The TAs are at lib/optee_armtz, for lib is usr/lib."""
    for package in packages:
        for folder, _, names in os.walk(package):
            inside = Path(folder).relative_to(package)
            if inside.parts[:1] and inside.parts[0] in MERGED:
                inside = Path("usr") / inside
            (root / inside).mkdir(parents=True, exist_ok=True)
            for name in names:
                link = root / inside / name
                if not link.is_symlink():
                    link.symlink_to(os.path.join(os.path.realpath(folder), name))
    for name in MERGED:
        if not (root / name).exists():
            (root / name).symlink_to(f"usr/{name}")
    return root


def of_debian(root: Path) -> Path:
    """`debian.FetchError` with the reason if the packages are not to be had."""
    base, client = debian.root(), debian.client_root()
    if base is None or client is None:
        raise debian.FetchError(debian.why_not() or debian.why_no_client())
    return build(root, base, client)
