"""On-disk layouts of OP-TEE's REE file system: hash-tree files and the directory file.

Source: optee_os 4.5 core/include/tee/fs_htree.h, core/tee/fs_htree.c, tee_ree_fs.c (`get_offs_size`),
fs_dirfile.c (`struct dirfile_entry`), core/include/tee/tee_fs_key_manager.h. All words are little-endian.
"""

from __future__ import annotations

import struct

BLOCK_SIZE = 4096
"""Bytes of a data block; also the unit in which a file is laid out."""
HASH_SIZE = 32
IV_SIZE = 16
TAG_SIZE = 16
FEK_SIZE = 16
"""File encryption key: AES-128."""

HEAD = struct.Struct("<16s16s16s16sI")
"""`struct tee_fs_htree_image`: IV, tag, sealed FEK, sealed `IMETA`, counter. Two follow each other at offset 0."""
IMETA = struct.Struct("<QI4x")
"""`struct tee_fs_htree_imeta`: bytes of data, highest node."""
META = struct.Struct("<Q")
"""`struct tee_fs_htree_meta`: the part of it that goes into the root's hash."""
COUNTER = struct.Struct("<I")
ROOT_HASH_IN_AAD = 16
"""Bytes of the root's hash that a header authenticates: TEE_FS_HTREE_FEK_SIZE of them, up to 4.6 and with
CFG_REE_FS_HTREE_HASH_SIZE_COMPAT."""

NODE = struct.Struct("<32s16s16sH")
"""`struct tee_fs_htree_node_image`: hash, IV and tag of the node's block, flags."""
COMMITTED_BLOCK = 1
"""Which version of its block a node means (HTREE_NODE_COMMITTED_BLOCK)."""
COMMITTED_CHILD = (2, 4)
"""Which version of its left and right child (HTREE_NODE_COMMITTED_CHILD)."""

GROUP = BLOCK_SIZE // (2 * NODE.size)
"""Nodes in one block of them."""
STRIDE = 2 * GROUP
"""Blocks from one block of nodes to the next; all between them hold data."""

DIRFILE = "dirf.db"
ENTRY = struct.Struct("<16s64sI32sI")
"""`struct dirfile_entry`: UUID of the TA (as in memory), object id, its length, root hash of the file, file number."""
EMPTY_ID = b"\1"
"""First byte of the id in the entry of an object whose id is empty (OID_EMPTY_NAME): all zeros is a free entry."""
CORE_TSK_MESSAGE = b"\0"
"""What the key of files that belong to no TA is derived from (tee_fs_fek_crypt)."""


def head_offset(version: int) -> int:
    return HEAD.size * version


def node_offset(node: int, version: int) -> int:
    """node: counts from 1."""
    group, index = divmod(node - 1, GROUP)
    return (1 + group * STRIDE) * BLOCK_SIZE + NODE.size * (2 * index + version)


def block_offset(block: int, version: int) -> int:
    """block: counts from 0."""
    index = 2 * block + version
    return (2 + index + index // (STRIDE - 1)) * BLOCK_SIZE
