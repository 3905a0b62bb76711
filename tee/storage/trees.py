"""The hash tree as its self test takes it apart (`tee.pta.selftest.htree`)."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from tee.abi.ree_fs import BLOCK_SIZE, HEAD, NODE, block_offset, head_offset, node_offset
from tee.pta.selftest.htree import Medium, Structure, run
from tee.storage.htree import HashTree
from tee.storage.keys import StorageKeys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from south.platform import Platform

_OWNER = UUID(int=0)
_VERSIONS = (0, 1)


class StorageTrees:
    """`tee.pta.selftest.htree.Trees`: trees of this platform's keys."""

    block_size = BLOCK_SIZE

    def __init__(self, platform: Platform) -> None:
        self._entropy = platform.entropy
        self._keys = StorageKeys(platform.root_of_trust)

    def create(self, medium: Medium) -> HashTree:
        return HashTree.create(medium, self._entropy, self._keys, _OWNER)

    def open(self, medium: Medium, root_hash: bytes | None) -> HashTree:
        return HashTree.open(medium, self._entropy, self._keys, _OWNER, root_hash)

    def structures(self, blocks: int) -> Iterator[Structure]:
        yield Structure("the header", [head_offset(version) for version in _VERSIONS], HEAD.size)
        for node in range(1, blocks + 1):
            yield Structure(f"node {node}", [node_offset(node, version) for version in _VERSIONS], NODE.size)
        for block in range(blocks):
            yield Structure(f"block {block}", [block_offset(block, version) for version in _VERSIONS], BLOCK_SIZE)

    def self_test(self) -> None:
        """Raises something if the tree is broken."""
        run(self)
