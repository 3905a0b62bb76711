"""The hash tree of one file: its blocks confidential and authentic, and its updates all or nothing.

Every block has a node, node n's children are 2n and 2n+1, and block b belongs to node b+1. A node holds what opens its
block (IV and tag) and a hash over that and its children's hashes, so that the root's hash stands for the whole file.
Header, nodes and blocks are each there in two versions. An update writes the version that is not in force, and a flag
in the parent says which one is; who points at the root decides when the update takes force: the counter in the header
for the directory file, the root's hash in the directory for all others.

Source: optee_os 4.5 core/tee/fs_htree.c. One difference: a node that loses a child is written again, for its hash
covers the child; OP-TEE leaves it, and calls a file corrupt that lost more than a last layer's leaf.
"""

from __future__ import annotations

from hashlib import sha256
from hmac import compare_digest
from typing import TYPE_CHECKING, Protocol

from tee.abi import results
from tee.abi.ree_fs import (
    BLOCK_SIZE,
    COMMITTED_BLOCK,
    COMMITTED_CHILD,
    COUNTER,
    FEK_SIZE,
    GROUP,
    HEAD,
    IMETA,
    IV_SIZE,
    META,
    NODE,
    ROOT_HASH_IN_AAD,
    TAG_SIZE,
    block_offset,
    head_offset,
    node_offset,
)
from tee.crypto import oneshot
from tee.errors import TeeError

if TYPE_CHECKING:
    from uuid import UUID

    from south.platform import Entropy
    from tee.storage.keys import StorageKeys

MAX_BLOCKS = (256 << 20) // BLOCK_SIZE
"""Of one file: a position is free to choose, and everything before it has to be written."""
COUNTER_MAX = 0xFFFFFFFF
UNORDERED = b"\0ANY"
"""How the IV of a header begins whose nodes and blocks may reach the medium after it. OP-TEE's IVs are random
throughout: under a header of OP-TEE's, nodes that do not fit are damage."""
_RETIRED = bytes(IV_SIZE + TAG_SIZE)
"""IV and tag of a header that nothing falls back on any more, or of none."""


class Medium(Protocol):
    """One open file of the normal world's."""

    def read(self, offset: int, size: int) -> bytes:
        """Shorter at the end of the file."""

    def write(self, offset: int, data: bytes) -> None: ...

    def sync(self) -> None: ...


class HashTree:
    """length: bytes of data, as the header says; whoever sets it calls `touch`.

    After an error of a method that writes, the tree in memory is worth nothing: open it anew.
    """

    def __init__(self, medium: Medium, entropy: Entropy, fek: bytes, sealed_fek: bytes) -> None:
        self._medium = medium
        self._entropy = entropy
        self._fek = fek
        self._sealed_fek = sealed_fek
        self.counter = 0
        self.length = 0
        self._highest = 0
        # By node, 0 is unused.
        self._hashes = [b"", b""]
        self._seals = [b"", bytes(IV_SIZE + TAG_SIZE)]
        self._flags = [0, 0]
        self.settled = True
        """Whether the version in force is known to be on the medium: the one before it is out of the way."""
        self.unordered = True
        """Whether the newest header is one of `UNORDERED`."""
        self._dirty: set[int] = set()
        self._new_blocks: set[int] = set()
        """Nodes whose block was written since the last commit: once more goes to the same version."""

    # --- making and opening

    @classmethod
    def create(cls, medium: Medium, entropy: Entropy, keys: StorageKeys, owner: UUID | None) -> HashTree:
        """An empty file, committed; `sync` is left to who needs it."""
        fek = entropy.fill(FEK_SIZE)
        tree = cls(medium, entropy, fek, keys.seal(owner, fek))
        tree._dirty.add(1)
        tree.commit()
        medium.write(head_offset(0), bytes(HEAD.size))
        return tree

    @classmethod
    def open(
        cls,
        medium: Medium,
        entropy: Entropy,
        keys: StorageKeys,
        owner: UUID | None,
        root_hash: bytes | None = None,
        *,
        before: bool = False,
    ) -> HashTree:
        """The version of the file with that root, or, without one, the newest. CORRUPT_OBJECT; SECURITY: the counters
        of both headers are impossible.

        before: the version before the newest, unless that one is known to have been whole (`retire`).
        """
        heads = medium.read(0, 2 * HEAD.size)
        version = _newest(heads) if root_hash is None else _with_root(medium, root_hash)
        unordered = heads.startswith(UNORDERED, head_offset(version))
        if before:
            if not unordered:
                raise TeeError(results.CORRUPT_OBJECT, "the newest version was not cut off, but damaged")
            version = 1 - version
        if len(heads) < head_offset(version) + HEAD.size:
            raise TeeError(results.CORRUPT_OBJECT, "the header is cut off")
        iv, tag, sealed_fek, sealed_meta, counter = HEAD.unpack_from(heads, head_offset(version))
        tree = cls(medium, entropy, keys.unseal(owner, sealed_fek), sealed_fek)
        tree.counter = counter
        tree.unordered = unordered
        tree.settled = heads.startswith(_RETIRED, head_offset(1 - version))
        tree._read_node(1, version, {})
        meta = oneshot.gcm_decrypt(tree._fek, iv, tree._head_aad(iv), sealed_meta, tag)
        if meta is None:
            raise TeeError(results.CORRUPT_OBJECT, "the header is not authentic")
        tree.length, tree._highest = IMETA.unpack(meta)
        if max(1, tree._highest) > MAX_BLOCKS or tree.length > max(1, tree._highest) * BLOCK_SIZE:
            raise TeeError(results.CORRUPT_OBJECT, "the header holds impossible sizes")
        tree._load()
        return tree

    def _load(self) -> None:
        """Every other node, in the version that its parent names; then all hashes."""
        groups: dict[int, bytes] = {}
        for node in range(2, self._highest + 1):
            flags = self._flags[node >> 1]
            self._read_node(node, int(bool(flags & COMMITTED_CHILD[node & 1])), groups)
        for node in range(len(self._flags) - 1, 0, -1):
            if not compare_digest(self._hash(node), self._hashes[node]):
                raise TeeError(results.CORRUPT_OBJECT, f"node {node} is not authentic")

    def _read_node(self, node: int, version: int, groups: dict[int, bytes]) -> None:
        group = (node - 1) // GROUP
        start = node_offset(group * GROUP + 1, 0)
        whole = groups.get(group)
        if whole is None:
            whole = groups[group] = self._medium.read(start, 2 * GROUP * NODE.size)
        at = node_offset(node, version) - start
        if len(whole) < at + NODE.size:
            raise TeeError(results.CORRUPT_OBJECT, f"node {node} is cut off")
        digest, iv, tag, flags = NODE.unpack_from(whole, at)
        if node == len(self._flags):
            self._append()
        self._hashes[node], self._seals[node], self._flags[node] = digest, iv + tag, flags

    def _append(self) -> None:
        self._hashes.append(b"")
        self._seals.append(bytes(IV_SIZE + TAG_SIZE))
        self._flags.append(0)

    # --- hashes and headers

    @property
    def root_hash(self) -> bytes:
        return self._hashes[1]

    def _hash(self, node: int) -> bytes:
        digest = sha256(self._seals[node] + self._flags[node].to_bytes(2, "little"))
        if node == 1:
            digest.update(META.pack(self.length))
        for child in (2 * node, 2 * node + 1):
            if child < len(self._hashes):
                digest.update(self._hashes[child])
        return digest.digest()

    def _head_aad(self, iv: bytes) -> bytes:
        return self.root_hash[:ROOT_HASH_IN_AAD] + COUNTER.pack(self.counter) + self._sealed_fek + iv

    # --- blocks

    def read_block(self, block: int) -> bytes:
        """BLOCK_SIZE bytes of a block inside `length`."""
        node = block + 1
        if node >= len(self._flags):
            raise TeeError(results.CORRUPT_OBJECT, f"there is no block {block}")
        offset = block_offset(block, self._flags[node] & COMMITTED_BLOCK)
        raw = self._medium.read(offset, BLOCK_SIZE)
        seal = self._seals[node]
        iv = seal[:IV_SIZE]
        plain = None
        if len(raw) == BLOCK_SIZE:
            plain = oneshot.gcm_decrypt(self._fek, iv, self._sealed_fek + iv, raw, seal[IV_SIZE:])
        if plain is None:
            raise TeeError(results.CORRUPT_OBJECT, f"block {block} is not authentic")
        return plain

    def write_block(self, block: int, data: bytes | bytearray) -> None:
        """BLOCK_SIZE bytes; makes the block, and all before it that have no node yet. STORAGE_NO_SPACE: too many."""
        node = block + 1
        if node > MAX_BLOCKS:
            raise TeeError(results.STORAGE_NO_SPACE, f"more than {MAX_BLOCKS} blocks in one object")
        while node >= len(self._flags):
            self._append()
            self._highest = len(self._flags) - 1
            self._dirty.add(self._highest)
        if node not in self._new_blocks:
            self._flags[node] ^= COMMITTED_BLOCK
        iv = self._entropy.fill(IV_SIZE)
        raw, tag = oneshot.gcm_encrypt(self._fek, iv, self._sealed_fek + iv, data)
        self._medium.write(block_offset(block, self._flags[node] & COMMITTED_BLOCK), raw)
        self._seals[node] = iv + tag
        self._new_blocks.add(node)
        self._dirty.add(node)

    def truncate(self, block: int) -> None:
        """Forget every block after `block`."""
        while block + 1 < self._highest:
            for column in (self._hashes, self._seals, self._flags):
                column.pop()
            self._dirty.discard(self._highest)
            self._new_blocks.discard(self._highest)
            self._dirty.add(self._highest >> 1)
            self._highest -= 1

    def touch(self) -> None:
        """The length changed."""
        self._dirty.add(1)

    # --- committing

    def commit(self) -> None:
        """Write nodes and header, for one sync of the medium: whichever of them a cut loses, the version before is
        left, and this one is either whole or not authentic.
        """
        if self.counter >= COUNTER_MAX:
            raise TeeError(results.STORAGE_NO_SPACE, "the file's counter has run out")
        for node in sorted(self._with_ancestors(), reverse=True):
            if node == 1:
                version = ~self.counter & 1
            else:
                flag = COMMITTED_CHILD[node & 1]
                self._flags[node >> 1] ^= flag
                version = int(bool(self._flags[node >> 1] & flag))
            self._hashes[node] = self._hash(node)
            image = self._hashes[node] + self._seals[node] + self._flags[node].to_bytes(2, "little")
            self._medium.write(node_offset(node, version), image)
        self.counter += 1
        iv = UNORDERED + self._entropy.fill(IV_SIZE - len(UNORDERED))
        meta, tag = oneshot.gcm_encrypt(self._fek, iv, self._head_aad(iv), IMETA.pack(self.length, self._highest))
        self._medium.write(head_offset(self.counter & 1), HEAD.pack(iv, tag, self._sealed_fek, meta, self.counter))
        self._dirty.clear()
        self._new_blocks.clear()

    def retire(self) -> None:
        """What was committed is on the medium: the version before can no longer be opened in its place.

        This write needs no sync. Once it is on the medium, damage to the version in force is damage, and no reason to
        fall back; until then a cut may have come before it, and both versions are whole.
        """
        old = self.counter - 1
        gone = HEAD.pack(bytes(IV_SIZE), bytes(TAG_SIZE), self._sealed_fek, bytes(IMETA.size), old)
        self._medium.write(head_offset(old & 1), gone)
        self.settled = True

    def abandon(self) -> None:
        """What was committed may not all be on the medium: the version before counts, to whoever reads the file now.

        This write has no sync: a cut leaves one or the other. So the header is none of a retired version, and whoever
        opens the file syncs it (`settled`) before a change, which the abandoned version could not stand.
        """
        old = self.counter - 2
        iv, tag = self._entropy.fill(IV_SIZE), self._entropy.fill(TAG_SIZE)
        gone = HEAD.pack(iv, tag, self._sealed_fek, bytes(IMETA.size), old)
        self._medium.write(head_offset(old & 1), gone)

    def _with_ancestors(self) -> set[int]:
        found: set[int] = set()
        for node in self._dirty:
            while node and node not in found:
                found.add(node)
                node >>= 1
        return found


def _newest(heads: bytes) -> int:
    """Which header counts. SECURITY: their counters do not follow each other, so one of them is not what was written.

    OP-TEE looks at the lowest bits alone (get_idx_from_counter), and a flipped bit can take it back by one version.
    """
    if len(heads) < 2 * HEAD.size:
        raise TeeError(results.CORRUPT_OBJECT, "the headers are cut off")
    first, second = (HEAD.unpack_from(heads, head_offset(version))[4] for version in (0, 1))
    if first & 1 or abs(first - second) != 1:
        raise TeeError(results.SECURITY, "the headers' counters are impossible")
    return int(second > first)


def _with_root(medium: Medium, root_hash: bytes) -> int:
    roots = medium.read(node_offset(1, 0), 2 * NODE.size)
    for version in (0, 1):
        if compare_digest(roots[version * NODE.size :][: len(root_hash)], root_hash):
            return version
    raise TeeError(results.CORRUPT_OBJECT, "no version of the file is the one that the directory names")


def never_committed(medium: Medium) -> bool:
    """Whether the file's making was cut off before its first header: it never held anything."""
    return not any(medium.read(0, 2 * HEAD.size))
