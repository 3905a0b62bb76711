"""Bytes in a hash-tree file: reads, writes and truncation at any position.

Source: optee_os 4.5 core/tee/tee_ree_fs.c (out_of_place_write, ree_fs_ftruncate_internal, ree_fs_read_primitive). One
difference: OP-TEE cuts the file when the tree is cut, and a crash right then takes the old version's blocks with it;
here the file is cut when the new version counts (`trim`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee.abi import results
from tee.abi.ree_fs import BLOCK_SIZE, block_offset
from tee.errors import TeeError
from tee.storage.htree import MAX_BLOCKS, HashTree

if TYPE_CHECKING:
    from uuid import UUID

    from south.platform import Entropy
    from tee.normal import Files
    from tee.storage.files import Octets
    from tee.storage.keys import StorageKeys


class FileMedium:
    """`tee.storage.htree.Medium`: one open file of the normal world's."""

    __slots__ = ("_files", "handle")

    def __init__(self, files: Files, handle: int) -> None:
        self._files = files
        self.handle = handle

    def read(self, offset: int, size: int) -> bytes:
        return self._files.read(self.handle, offset, size)

    def write(self, offset: int, data: bytes) -> None:
        self._files.write(self.handle, offset, data)

    def sync(self) -> None:
        self._files.sync(self.handle)


class ReeFile:
    """An open file. Nothing that was written counts before `commit`."""

    __slots__ = ("_cut", "_files", "_medium", "tree")

    def __init__(self, files: Files, medium: FileMedium, tree: HashTree) -> None:
        self._files = files
        self._medium = medium
        self.tree = tree
        self._cut = False

    @classmethod
    def create(cls, files: Files, name: str, entropy: Entropy, keys: StorageKeys, owner: UUID | None) -> ReeFile:
        medium = FileMedium(files, files.create(name))
        try:
            return cls(files, medium, HashTree.create(medium, entropy, keys, owner))
        except BaseException:
            files.close(medium.handle)
            raise

    @classmethod
    def open(
        cls,
        files: Files,
        name: str,
        entropy: Entropy,
        keys: StorageKeys,
        owner: UUID | None,
        root_hash: bytes | None = None,
        *,
        before: bool = False,
    ) -> ReeFile:
        """As `HashTree.open`; ITEM_NOT_FOUND."""
        medium = FileMedium(files, files.open(name))
        try:
            return cls(files, medium, HashTree.open(medium, entropy, keys, owner, root_hash, before=before))
        except BaseException:
            files.close(medium.handle)
            raise

    def close(self) -> None:
        self._files.close(self._medium.handle)

    @property
    def length(self) -> int:
        return self.tree.length

    def head(self, size: int) -> bytes:
        """The first bytes of the file as they lie there."""
        return self._medium.read(0, size)

    def read(self, position: int, size: int) -> bytes:
        """Shorter, or nothing, at the end."""
        end = min(position + size, self.tree.length)
        pieces = []
        while position < end:
            block, offset = divmod(position, BLOCK_SIZE)
            piece = self.tree.read_block(block)[offset : offset + end - position]
            pieces.append(piece)
            position += len(piece)
        return b"".join(pieces)

    def write(self, position: int, data: Octets) -> None:
        """Zeros fill what lies between the end and `position`. STORAGE_NO_SPACE."""
        if not data:
            return
        _require_room(position + len(data))
        if position > self.tree.length:
            self._put(self.tree.length, position - self.tree.length, None)
        self._put(position, len(data), data)

    def _put(self, position: int, size: int, data: Octets | None) -> None:
        tree = self.tree
        done = 0
        while done < size:
            block, offset = divmod(position, BLOCK_SIZE)
            count = min(size - done, BLOCK_SIZE - offset)
            piece = data[done : done + count] if data is not None else bytes(count)
            if count == BLOCK_SIZE:
                whole = bytearray(piece)
            else:
                # What lies beyond the end is whatever an earlier, longer version left there.
                inside = tree.length - block * BLOCK_SIZE
                old = tree.read_block(block) if inside > 0 else b""
                whole = bytearray(old or BLOCK_SIZE)
                whole[offset : offset + count] = piece
            tree.write_block(block, whole)
            done += count
            position += count
        if position > tree.length:
            tree.length = position
            tree.touch()

    def truncate(self, size: int) -> None:
        """Cut, or extend with zeros. STORAGE_NO_SPACE."""
        _require_room(size)
        tree = self.tree
        if size > tree.length:
            self._put(tree.length, size - tree.length, None)
        else:
            tree.truncate(size // BLOCK_SIZE)
            tree.length = size
            tree.touch()
            self._cut = True

    def commit(self) -> None:
        """On the medium on return."""
        self.tree.commit()
        self._medium.sync()

    def settle(self) -> None:
        """The version in force is on the medium on return."""
        if not self.tree.settled:
            self._medium.sync()
            self.tree.settled = True

    def mend(self) -> None:
        """After a cut: make the version in force the only one. A file as OP-TEE left it stays as it is."""
        if self.tree.unordered and not self.tree.settled:
            self.settle()
            self.tree.retire()

    def finish(self) -> None:
        """Put a new file on the medium, and close it."""
        try:
            self._medium.sync()
        finally:
            self.close()

    def trim(self) -> None:
        """Give back what a truncation freed; the version before it is lost then."""
        if self._cut:
            self._cut = False
            blocks = -(-self.tree.length // BLOCK_SIZE)
            self._files.truncate(self._medium.handle, block_offset(blocks, 1) + BLOCK_SIZE)


def _require_room(size: int) -> None:
    if size > MAX_BLOCKS * BLOCK_SIZE:
        raise TeeError(results.STORAGE_NO_SPACE, f"an object of {size} bytes")
