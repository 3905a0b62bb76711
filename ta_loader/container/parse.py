"""Read the structure of a `.ta` file, one header at a time, without trusting any of it.

Every reader checks its bounds before it looks and raises `ImageRefused`; none verifies anything. The caller decides
when to go on, so that nothing behind a header is read before the header's signature has been checked.
Source: optee_os core/crypto/signed_hdr.c, core/kernel/ree_fs_ta.c.
"""

from __future__ import annotations

from typing import Final, NamedTuple
from uuid import UUID

from ta_loader.container.layout import (
    BOOTSTRAP,
    ENCRYPTED,
    SHDR,
    SHDR_MAGIC,
    SUBKEY,
    SUBKEY_ATTR,
    TEE_ATTR_RSA_MODULUS,
    TEE_ATTR_RSA_PUBLIC_EXPONENT,
    TEE_MAIN_ALGO_RSA,
    ImageType,
    algorithm_name,
)
from ta_loader.errors import ImageRefused

MAX_ATTRIBUTES: Final = 64
"""An RSA key has two; OP-TEE sets no limit of its own but that of the file's size."""
MAX_RSA_BYTES: Final = 4096 // 8
"""CFG_CORE_BIGNUM_MAX_BITS of OP-TEE's default configuration."""
MAX_EXPONENT_BYTES: Final = 8
"""libcrypto takes no longer exponent with a modulus over 3072 bits."""


class Header(NamedTuple):
    """struct shdr at `offset`, bytes; `raw` is its fixed part, which the hash covers; `end` is where it ends."""

    offset: int
    raw: bytes
    img_type: int
    img_size: int
    algo: int
    hash: bytes
    signature: bytes
    end: int


class Subkey(NamedTuple):
    """struct shdr_subkey and the name behind it; `end` is where the name ends, bytes."""

    uuid: UUID
    version: int
    max_depth: int
    algo: int
    modulus: bytes
    exponent: bytes
    name_size: int
    name: bytes
    end: int


class Encryption(NamedTuple):
    """struct shdr_encrypted_ta."""

    algo: int
    flags: int
    iv: bytes
    tag: bytes


class Payload(NamedTuple):
    """What follows the last header; offsets in bytes from the start of the file.

    start: sub-headers, which the hash covers as they stand. image: the ELF, or its ciphertext. end: end of file.
    """

    uuid: UUID | None
    version: int
    encryption: Encryption | None
    start: int
    image: int
    end: int


def _size(reason: str) -> ImageRefused:
    return ImageRefused("size", reason)


def read_header(data: bytes, offset: int) -> Header:
    """The struct shdr at `offset` bytes."""
    fixed_end = offset + SHDR.size
    if fixed_end > len(data):
        raise _size(f"the file ends inside the signed header at offset {offset} ({len(data)} bytes)")
    magic, img_type, img_size, algo, hash_size, sig_size = SHDR.unpack_from(data, offset)
    if magic != SHDR_MAGIC:
        raise ImageRefused("magic", f"0x{magic:08x} at offset {offset} is not a signed header's 0x{SHDR_MAGIC:08x}")
    hash_end = fixed_end + hash_size
    end = hash_end + sig_size
    if end > len(data):
        raise _size(f"hash ({hash_size} bytes) and signature ({sig_size} bytes) go beyond the end of the file")
    raw = data[offset:fixed_end]
    return Header(offset, raw, img_type, img_size, algo, data[fixed_end:hash_end], data[hash_end:end], end)


def subkey_body(data: bytes, header: Header) -> bytes:
    """The bytes of struct shdr_subkey with its attributes: what the hash in `header` covers beside `header.raw`."""
    if header.img_type != ImageType.SUBKEY:
        raise ImageRefused("type", f"image type {header.img_type} is not a subkey")
    if header.img_size < SUBKEY.size:
        raise _size(f"a subkey of {header.img_size} bytes cannot hold its header of {SUBKEY.size}")
    end = header.end + header.img_size
    if end > len(data):
        raise _size(f"subkey of {header.img_size} bytes at offset {header.end} goes beyond the end of the file")
    return data[header.end : end]


def read_subkey(data: bytes, header: Header, body: bytes) -> Subkey:
    """Decode `body` and the name that follows it in `data`. A file that ends before the name is a subkey's own file."""
    octets, name_size, version, max_depth, algo, count = SUBKEY.unpack_from(body)
    attributes = _attributes(body, count)
    if algo & 0xFF != TEE_MAIN_ALGO_RSA:
        raise ImageRefused("key", f"subkey algorithm {algorithm_name(algo)} is not RSA")
    modulus = attributes.get(TEE_ATTR_RSA_MODULUS, b"").lstrip(b"\0")
    exponent = attributes.get(TEE_ATTR_RSA_PUBLIC_EXPONENT, b"").lstrip(b"\0")
    if not 0 < len(modulus) <= MAX_RSA_BYTES or not 0 < len(exponent) <= MAX_EXPONENT_BYTES:
        raise ImageRefused("key", "subkey has no usable RSA modulus and public exponent")
    start = header.end + header.img_size
    end = start + name_size if start < len(data) else start
    if end > len(data):
        raise _size(f"name of {name_size} bytes behind the subkey goes beyond the end of the file")
    return Subkey(UUID(bytes=octets), version, max_depth, algo, modulus, exponent, name_size, data[start:end], end)


def _attributes(body: bytes, count: int) -> dict[int, bytes]:
    if count > MAX_ATTRIBUTES or SUBKEY.size + count * SUBKEY_ATTR.size > len(body):
        raise _size(f"{count} attributes do not fit a subkey of {len(body)} bytes")
    found: dict[int, bytes] = {}
    for number in range(count):
        ident, start, size = SUBKEY_ATTR.unpack_from(body, SUBKEY.size + number * SUBKEY_ATTR.size)
        if start + size > len(body):
            raise _size(f"subkey attribute 0x{ident:08x} goes beyond the subkey's {len(body)} bytes")
        found.setdefault(ident, body[start : start + size])  # OP-TEE takes the first of a kind
    return found


def read_payload(data: bytes, header: Header) -> Payload:
    """The sub-headers behind the last struct shdr, and where the image lies; the image must end with the file."""
    if header.img_type not in (ImageType.TA, ImageType.BOOTSTRAP_TA, ImageType.ENCRYPTED_TA):
        raise ImageRefused("type", f"image type {header.img_type} is unknown")
    offset = header.end
    uuid: UUID | None = None
    version = 0
    encryption: Encryption | None = None
    if header.img_type != ImageType.TA:
        if offset + BOOTSTRAP.size > len(data):
            raise _size("the file ends inside the bootstrap header")
        octets, version = BOOTSTRAP.unpack_from(data, offset)
        uuid = UUID(bytes=octets)
        offset += BOOTSTRAP.size
    if header.img_type == ImageType.ENCRYPTED_TA:
        encryption = _encryption(data, offset)
        offset += ENCRYPTED.size + len(encryption.iv) + len(encryption.tag)
    if offset + header.img_size != len(data):
        held = len(data) - offset
        raise _size(f"the header promises an image of {header.img_size} bytes, the file holds {held}")
    return Payload(uuid, version, encryption, header.end, offset, len(data))


def _encryption(data: bytes, offset: int) -> Encryption:
    iv_start = offset + ENCRYPTED.size
    if iv_start > len(data):
        raise _size("the file ends inside the encryption header")
    algo, flags, iv_size, tag_size = ENCRYPTED.unpack_from(data, offset)
    tag_start = iv_start + iv_size
    end = tag_start + tag_size
    if end > len(data):
        raise _size(f"IV ({iv_size} bytes) and tag ({tag_size} bytes) go beyond the end of the file")
    return Encryption(algo, flags, data[iv_start:tag_start], data[tag_start:end])
