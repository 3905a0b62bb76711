"""An independent reader of OP-TEE's REE-FS stores: straight from the format, on pyca/cryptography alone.

It shares nothing with the code under test. Source: optee_os 4.5 core/tee/fs_htree.c, fs_dirfile.c, tee_ree_fs.c.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

if TYPE_CHECKING:
    from collections.abc import Mapping

PHYSICAL = 4096


class Found(NamedTuple):
    owner: UUID
    oid: bytes
    file: str
    data: bytes


def read_store(files: Mapping[str, bytes], huk: bytes) -> list[Found]:
    """Every object of a store. AssertionError or InvalidTag if anything is not as the format has it."""
    ssk = hmac.digest(huk, b"BEEF" * 8 + b"ONLY_FOR_tee_fs_ssk\0", "sha256")
    directory = read_file(files["dirf.db"], hmac.digest(ssk, b"\0", "sha256"))
    found = []
    for at in range(0, len(directory) - 119, 120):
        uuid, oid, size, root, number = struct.unpack_from("<16s64sI32sI", directory, at)
        if not size and not oid[0]:
            continue
        assert size <= 64
        name = f"{number:x}"
        data = read_file(files[name], hmac.digest(ssk, uuid, "sha256"), root)
        found.append(Found(UUID(bytes_le=uuid), oid[:size], name, data))
    return found


def read_file(raw: bytes, tsk: bytes, root: bytes | None = None) -> bytes:
    """Contents of one hash-tree file; root: the hash that its first node must have."""
    if root is None:
        counters = [struct.unpack_from("<I", raw, 68 * v + 64)[0] for v in (0, 1)]
        version = max((v for v in (0, 1) if counters[v] % 2 == v), key=lambda v: int(counters[v]))
    else:
        version = next(v for v in (0, 1) if _node(raw, 1, v)[:32] == root)
    iv, tag, wrapped, sealed, counter = struct.unpack_from("<16s16s16s16sI", raw, 68 * version)
    unwrap = Cipher(algorithms.AES(tsk), modes.ECB()).decryptor()
    gcm = AESGCM(unwrap.update(wrapped) + unwrap.finalize())
    first = _node(raw, 1, version)
    aad = first[:16] + struct.pack("<I", counter) + wrapped + iv
    length, highest = struct.unpack("<QI4x", gcm.decrypt(iv, sealed + tag, aad))
    nodes = {1: first}
    for number in range(2, highest + 1):
        flags = struct.unpack("<H", nodes[number // 2][64:])[0]
        nodes[number] = _node(raw, number, flags >> 1 + number % 2 & 1)
    for number, node in nodes.items():
        covered = node[32:] + (struct.pack("<Q", length) if number == 1 else b"")
        covered += b"".join(nodes[c][:32] for c in (2 * number, 2 * number + 1) if c in nodes)
        assert hashlib.sha256(covered).digest() == node[:32], f"node {number}"
    data = b""
    for block in range((length + 4095) // 4096):
        node = nodes[block + 1]
        index = 2 * block + (node[64] & 1)
        at = (2 + index + index // 61) * PHYSICAL
        data += gcm.decrypt(node[32:48], raw[at : at + 4096] + node[48:64], wrapped + node[32:48])
    return data[:length]


def _node(raw: bytes, number: int, version: int) -> bytes:
    group, index = divmod(number - 1, 31)
    at = (1 + 62 * group) * PHYSICAL + 132 * index + 66 * version
    node = raw[at : at + 66]
    assert len(node) == 66
    return node
