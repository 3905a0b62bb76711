"""The guest's kernel, and its image in the cache: made when it is first asked for, whole or not at all."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from boards.cache import cache_dir, locked
from boards.debian import BOOT, KIT, OPTEE, roots
from boards.guest.contents import SETS, guest_tree, kernel_image
from boards.guest.cpio import write
from boards.progress import told
from south.errors import UsageError
from south.replacing import beside

if TYPE_CHECKING:
    from collections.abc import Sequence

    from boards.guest.tree import Tree

PART = "guest"
"""Of the cache."""
UNUSED_DAYS = 14
"""After which another image's making deletes an image."""


def kernel() -> Path:
    """Debian's kernel, an arm64 Image. UsageError if it is not to be had."""
    return kernel_image(roots(*SETS)[SETS.index(BOOT)])


def trust_key() -> Path:
    """The public key that Debian's TAs are signed with, as its development kit has it."""
    return roots(*SETS)[SETS.index(OPTEE)] / KIT / "keys" / "default_ta.pem"


def initrd(files: Sequence[Path] = (), ta_dirs: Sequence[Path] = ()) -> Path:
    """The image with what `guest_tree` adds. UsageError if it cannot be made."""
    tree = guest_tree(files, ta_dirs)
    # Not compressed: the guest would unpack it on an emulated processor.
    image = cache_dir(PART) / f"{tree.key()}.cpio"
    if not _used(image):
        with locked(PART) as folder, told("making the guest's image"):
            if not _used(image):
                _sweep(folder)
                _make(tree, image)
    return image


def _used(image: Path) -> bool:
    """Mark it as used now, for `_sweep`. False if it is not there."""
    try:
        os.utime(image)
    except FileNotFoundError:
        return False
    except OSError:
        pass  # another user's cache, to be read only
    return True


def _make(tree: Tree, image: Path) -> None:
    try:
        place = os.open(image.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # One name for the parts of all images: the next one is of something else.
            with beside(place, "image") as (fd, temporary), os.fdopen(fd, "wb", closefd=False) as file:
                write(tree.entries(), file)
                file.flush()
                os.fchmod(fd, 0o644)
                os.rename(temporary, image, src_dir_fd=place)
        finally:
            os.close(place)
    except OSError as problem:
        raise UsageError(f"{image}: {problem.strerror}") from None


def _sweep(folder: Path) -> None:
    """Delete images that nobody has used for long."""
    before = time.time() - UNUSED_DAYS * 86400
    for path in folder.glob("*.cpio"):
        if path.stat().st_mtime < before:
            path.unlink()
