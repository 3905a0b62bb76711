"""The root of the REE files' directory in the RPMB: an older copy of the whole store is not taken for the store.

Source: optee_os 4.5 core/tee/tee_ree_fs.c with CFG_REE_FS_INTEGRITY_RPMB (`open_dirh`, `commit_dirh_writes`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from tee.abi import results
from tee.abi.ree_fs import HASH_SIZE
from tee.errors import TeeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tee.storage.rpmb_fs import RpmbFs

NAME = b"/dirfile.db.hash"
_NEW = b"/.dirfile.db.hash"
_OWNER = UUID(int=0)


class RpmbAnchor:
    """`tee.storage.dirfile.Anchor`. files: asked for when first needed. TeeError as of `RpmbFs`."""

    def __init__(self, files: Callable[[], RpmbFs]) -> None:
        self._files = files

    def load(self) -> bytes | None:
        try:
            root = self._files().read(_OWNER, NAME, 0, HASH_SIZE)
        except TeeError as error:
            if error.result == results.ITEM_NOT_FOUND:
                return None
            raise
        if len(root) != HASH_SIZE:
            raise TeeError(results.SECURITY, "the RPMB holds no root of the directory")
        return root

    def save(self, root_hash: bytes) -> None:
        """One block is written, so it is the old root or the new one, whatever happens."""
        files = self._files()
        try:
            files.write(_OWNER, NAME, 0, root_hash)
        except TeeError as error:
            if error.result != results.ITEM_NOT_FOUND:
                raise
            files.create(_OWNER, NAME, _NEW, root_hash, overwrite=False)
