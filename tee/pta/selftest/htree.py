"""Self test of a hash tree: uncommitted changes vanish, committed ones stay, and no corruption is read as data.

Trusted storage brings the tree (`tee.storage.trees`).
Source: optee_os core/pta/tests/fs_htree.c; xtest regression_1015.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from tee.errors import TeeError
from tee.pta.selftest.kit import SelfTestFailure, check

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

REWRITTEN = 10
"""Blocks that the rewriting test goes up to, in steps of `STEP`; both numbers are OP-TEE's."""
STEP = 3
CORRUPTED = 5
"""Blocks of the tree that the corruption test takes apart."""


class Medium:
    """A file of the normal world's, in memory."""

    def __init__(self, data: bytes | bytearray = b"") -> None:
        self.data = bytearray(data)

    def read(self, offset: int, size: int) -> bytes:
        return bytes(self.data[offset : offset + size])

    def write(self, offset: int, data: bytes) -> None:
        missing = offset + len(data) - len(self.data)
        if missing > 0:
            self.data += bytes(missing)
        self.data[offset : offset + len(data)] = data

    def sync(self) -> None:
        pass


class Tree(Protocol):
    @property
    def root_hash(self) -> bytes:
        """Of what was committed last."""

    def read_block(self, block: int) -> bytes:
        """TeeError if it is not authentic."""

    def write_block(self, block: int, data: bytes) -> None: ...

    def commit(self) -> None: ...


class Structure(NamedTuple):
    """A piece of the file. versions: offset of each that there may be; size: bytes of one."""

    name: str
    versions: Sequence[int]
    size: int


class Trees(Protocol):
    """Makes and opens hash trees of one owner."""

    @property
    def block_size(self) -> int: ...

    def create(self, medium: Medium) -> Tree:
        """An empty tree, committed."""

    def open(self, medium: Medium, root_hash: bytes | None) -> Tree:
        """The version with that root; None: the newest one. TeeError if there is none that is authentic."""

    def structures(self, blocks: int) -> Iterable[Structure]:
        """Header, nodes and blocks of a file of so many blocks."""


def run(trees: Trees) -> None:
    """SelfTestFailure, or whatever a tree raises that should not."""
    for blocks in range(0, REWRITTEN, STEP):
        for first in range(0, blocks, STEP):
            for count in range(0, blocks - first, STEP):
                rewrite(trees, blocks, first, count)
    corrupt(trees, CORRUPTED)


def rewrite(trees: Trees, blocks: int, first: int, count: int) -> None:
    """Write `blocks` twice, committing each time; then `count` of them from `first` on, and do not."""
    medium = Medium()
    tree = trees.open(medium, trees.create(medium).root_hash)
    for salt in (1, 2):
        _write(trees, tree, range(blocks), salt)
        _expect(trees, tree, range(blocks), salt, "what was written is read before the commit")
        tree.commit()
        tree = trees.open(medium, tree.root_hash)
        _expect(trees, tree, range(blocks), salt, "what was committed is read after opening")
    root = tree.root_hash
    part = range(first, first + count)
    _write(trees, tree, part, 3)
    _expect(trees, tree, part, 3, "new blocks are read before the commit")
    rest = [block for block in range(blocks) if block not in part]
    _expect(trees, tree, rest, 2, "blocks beside the new ones are what they were")
    for which in (root, None):
        _expect(trees, trees.open(medium, which), range(blocks), 2, "what was not committed is gone")


def corrupt(trees: Trees, blocks: int) -> None:
    """Change single bytes of every structure, in all versions of it at once, so that none is left to fall back on."""
    medium = Medium()
    tree = trees.create(medium)
    _write(trees, tree, range(blocks), 1)
    tree.commit()
    root = tree.root_hash
    _expect(trees, trees.open(medium, root), range(blocks), 1, "the tree is intact before it is corrupted")
    for structure in trees.structures(blocks):
        for place in _places(structure.size):
            changed = Medium(medium.data)
            for offset in structure.versions:
                if offset + place < len(changed.data):
                    changed.data[offset + place] = changed.data[offset + place] + 1 & 0xFF
            check(changed.data != medium.data, f"{structure.name} is in the file")
            what = f"byte {place} of {structure.name}"
            try:
                opened = trees.open(changed, root)
                _expect(trees, opened, range(blocks), 1, f"a change of {what} is not read as data")
            except TeeError:
                continue
            raise SelfTestFailure(f"a change of {what} is noticed")


def _places(size: int) -> Iterator[int]:
    """0, 1, 2, 4, 8 and so on, and the last."""
    yield 0
    place = 1
    while place < size - 1:
        yield place
        place *= 2
    if size > 1:
        yield size - 1


def _content(trees: Trees, block: int, salt: int) -> bytes:
    word = (salt << 16 | block).to_bytes(4, "little")
    return word * (trees.block_size // len(word))


def _write(trees: Trees, tree: Tree, blocks: Iterable[int], salt: int) -> None:
    for block in blocks:
        tree.write_block(block, _content(trees, block, salt))


def _expect(trees: Trees, tree: Tree, blocks: Iterable[int], salt: int, expected: str) -> None:
    for block in blocks:
        check(tree.read_block(block) == _content(trees, block, salt), f"{expected} (block {block})")
