"""One root folder of several unpacked packages, made of links: libraries and programs in the places where they look."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from boards.cache import cache_dir, locked
from boards.debian.packages import CLIENT, OPTEE, PKCS11, roots
from south.replacing import sweep_folder, temporary_folder

PART = "sysroot"
"""Of the cache."""
_MAKING = "making"
_MERGED = ("bin", "sbin", "lib")
"""Links into usr/ since Debian merged them."""


def build(root: Path, *packages: Path) -> Path:
    """Lay `packages`, unpacked, over one another below `root`. The TAs are at lib/optee_armtz, for lib is usr/lib."""
    for package in packages:
        for folder, _, names in os.walk(package):
            inside = Path(folder).relative_to(package)
            if inside.parts[:1] and inside.parts[0] in _MERGED:
                inside = Path("usr") / inside
            (root / inside).mkdir(parents=True, exist_ok=True)
            for name in names:
                link = root / inside / name
                if not link.is_symlink():
                    link.symlink_to(os.path.join(os.path.realpath(folder), name))
    for name in _MERGED:
        if not (root / name).exists():
            (root / name).symlink_to(f"usr/{name}")
    return root


def of_debian(root: Path) -> Path:
    """xtest, tee-supplicant, OP-TEE's client libraries and what they load, below `root`. FetchError."""
    return build(root, *roots(OPTEE, CLIENT))


def kept() -> Path:
    """The same and OpenSC in the cache: made once, again when the packages lie elsewhere, moved into place whole."""
    packages = roots(OPTEE, CLIENT, PKCS11)
    made_of = json.dumps([os.path.realpath(package) for package in packages])
    home = cache_dir(PART) / "optee"
    with locked(PART) as cache:
        sweep_folder(cache, _MAKING)
        note = home / "made-of.json"
        if not (note.is_file() and note.read_text() == made_of):
            with temporary_folder(_MAKING, cache) as work:
                fresh = work / "optee"
                build(fresh / "root", *packages)
                (fresh / "made-of.json").write_text(made_of)
                shutil.rmtree(home, ignore_errors=True)
                fresh.rename(home)
    return home / "root"
