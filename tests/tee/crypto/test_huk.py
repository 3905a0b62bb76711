"""HUK subkeys, against pyca and against files that a real OP-TEE encrypted."""

from __future__ import annotations

import hashlib
import os
import struct
from pathlib import Path
from uuid import UUID

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tee.abi import results
from tee.abi.huk import HukSubkey
from tee.crypto.huk import die_id, huk_subkey, ta_encryption_key, ta_unique_key
from tee.errors import TeeError
from tests.fakes import FixedRoot

OWNER = UUID("f4e750bb-1437-4fbf-8785-8d3580c34994")
HUK = bytes(range(16))


def pyca_hmac(key: bytes, message: bytes) -> bytes:
    mac = hmac.HMAC(key, hashes.SHA256())
    mac.update(message)
    return mac.finalize()


@pytest.mark.parametrize(
    ("usage", "message"),
    [
        (HukSubkey.RPMB, b"extra"),
        (HukSubkey.SSK, b"BEEFBEEFBEEFBEEFBEEFBEEFBEEFBEEFONLY_FOR_tee_fs_ssk\0extra"),
        (HukSubkey.DIE_ID, b"\2\0\0\0extra"),
        (HukSubkey.UNIQUE_TA, b"\3\0\0\0extra"),
        (HukSubkey.TA_ENC, b"\4\0\0\0extra"),
        (HukSubkey.SE050, b"\5\0\0\0extra"),
    ],
)
def test_messages(usage: HukSubkey, message: bytes) -> None:
    assert huk_subkey(FixedRoot(HUK), usage, b"extra", 32) == pyca_hmac(HUK, message)
    assert huk_subkey(FixedRoot(HUK), usage, b"extra", 20) == pyca_hmac(HUK, message)[:20]


@pytest.mark.parametrize("size", [-1, 33, 1 << 40])
def test_a_subkey_has_at_most_32_bytes(size: int) -> None:
    with pytest.raises(TeeError) as caught:
        huk_subkey(FixedRoot(), HukSubkey.SSK, b"", size)
    assert caught.value.result == results.BAD_PARAMETERS


def test_ta_unique_key_depends_on_the_uuid_as_it_lies_in_memory() -> None:
    uuid = UUID("3a2f8978-5dc0-11e8-9c2d-fa7ae01bbebc")
    in_memory = struct.pack("<IHH", 0x3A2F8978, 0x5DC0, 0x11E8) + bytes.fromhex("9c2dfa7ae01bbebc")
    expected = pyca_hmac(HUK, b"\3\0\0\0" + in_memory + b"salt")
    assert ta_unique_key(FixedRoot(HUK), uuid, b"salt", 16) == expected[:16]


def test_ta_encryption_key() -> None:
    modulus = bytes(range(256))
    assert ta_encryption_key(FixedRoot(HUK), 0, modulus) == pyca_hmac(HUK, b"\4\0\0\0" + modulus)
    with pytest.raises(TeeError) as caught:
        ta_encryption_key(FixedRoot(HUK), 1, modulus)
    assert caught.value.result == results.SECURITY


def test_die_id() -> None:
    assert die_id(FixedRoot(HUK)) == pyca_hmac(HUK, b"\2\0\0\0")


# --- a store that real OP-TEE wrote (struct tee_fs_htree_image, core/include/tee/fs_htree.h) ---

_HEAD = struct.Struct("<16s16s16s16sI")
_NODE = struct.Struct("<32s16s16sH")
_BLOCK = 4096


@pytest.fixture(scope="module")
def store() -> Path:
    beside = Path(__file__).resolve().parents[4] / "shared"
    folder = Path(os.environ.get("LITEBOX_SHARED") or beside) / "optee-store" / "tee"
    if not (folder / "dirf.db").is_file():
        pytest.skip(f"no trusted storage of a real OP-TEE at {folder}; LITEBOX_SHARED names its parent")
    return folder


def storage_key(uuid: UUID | None) -> bytes:
    """TSK of a TA, or of the core itself (core/tee/tee_fs_key_manager.c)."""
    ssk = huk_subkey(FixedRoot(), HukSubkey.SSK)
    return pyca_hmac(ssk, b"\0" if uuid is None else uuid.bytes_le)


def open_file(raw: bytes, tsk: bytes) -> bytes:
    """First data block of a file whose every step is authenticated; InvalidTag if the key is another's."""
    heads = [_HEAD.unpack_from(raw, version * _HEAD.size) for version in (0, 1)]
    # A version is written where its counter's lowest bit says; the newest counts.
    newest = max((head for version, head in enumerate(heads) if head[4] & 1 == version), key=lambda head: int(head[4]))
    iv, tag, sealed_fek, imeta, counter = newest
    unwrap = Cipher(algorithms.AES(tsk), modes.ECB()).decryptor()
    fek = unwrap.update(sealed_fek) + unwrap.finalize()
    node_hash, node_iv, node_tag, flags = _NODE.unpack_from(raw, _BLOCK + (counter & 1) * _NODE.size)
    aad = node_hash[:16] + struct.pack("<I", counter) + sealed_fek + iv
    meta = AESGCM(fek).decrypt(iv, imeta + tag, aad)
    block = raw[_BLOCK * (2 + (flags & 1)) :][:_BLOCK]
    size = struct.unpack_from("<Q", meta)[0]
    if not size:
        return b""
    return AESGCM(fek).decrypt(node_iv, block + node_tag, sealed_fek + node_iv)[:size]


def test_real_directory_opens_with_the_cores_key(store: Path) -> None:
    directory = open_file((store / "dirf.db").read_bytes(), storage_key(None))
    assert OWNER.bytes_le + b"object#2" in directory


def test_real_object_opens_with_its_owners_key(store: Path) -> None:
    opened = []
    for file in sorted(store.glob("[0-9]*")):
        try:
            opened.append(open_file(file.read_bytes(), storage_key(OWNER)))
        except InvalidTag:
            continue  # the core's, or another TA's
    assert any(b"This is data stored in the secure storage.\n\0" in data for data in opened)


def test_real_files_open_with_no_other_key(store: Path) -> None:
    for file in store.iterdir():
        with pytest.raises(InvalidTag):
            open_file(file.read_bytes(), hashlib.sha256(b"another device").digest())
