"""What a `.ta` file says about itself, for a person: structure only, nothing verified, no key needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from north.elf.abi import ELFMAG
from ta_loader.container.layout import NO_DEPTH_LIMIT, ImageType
from ta_loader.container.namespace import next_uuid
from ta_loader.container.parse import (
    Encryption,
    Header,
    Payload,
    Subkey,
    read_header,
    read_payload,
    read_subkey,
    subkey_body,
)
from ta_loader.errors import ImageRefused

if TYPE_CHECKING:
    from uuid import UUID

MAX_LEVELS: Final = 1024
"""A person reads no longer chain, and nothing here proves that someone meant it."""


class ContainerInfo(NamedTuple):
    """Claims of an image; none is verified.

    bare_elf: no container at all. subkey_file: subkeys for signing with, no TA below them.
    headers: as far as they could be read, outermost first; subkeys: those among them.
    uuid, version, encryption: of the TA. image_offset, image_size: of the ELF or its ciphertext, bytes.
    problem: the first thing wrong with the structure, '' if it is sound.
    """

    bare_elf: bool = False
    subkey_file: bool = False
    headers: tuple[Header, ...] = ()
    subkeys: tuple[Subkey, ...] = ()
    uuid: UUID | None = None
    version: int = 0
    encryption: Encryption | None = None
    image_offset: int = 0
    image_size: int = 0
    problem: str = ""


def describe(data: bytes | bytearray | memoryview) -> ContainerInfo:
    """Read the structure of an image. Never raises for what the image holds: see `ContainerInfo.problem`."""
    image = data if type(data) is bytes else bytes(data)
    if image.startswith(ELFMAG):
        return ContainerInfo(bare_elf=True, image_size=len(image))
    headers: list[Header] = []
    subkeys: list[Subkey] = []
    problem = ""
    payload: Payload | None = None
    uuid: UUID | None = None
    try:
        uuid = _walk_subkeys(image, headers, subkeys)
        if len(headers) == len(subkeys):
            return ContainerInfo(subkey_file=True, headers=tuple(headers), subkeys=tuple(subkeys))
        payload = read_payload(image, headers[-1])
        if uuid is not None and payload.uuid is not None and uuid != payload.uuid:
            problem = f"TA {payload.uuid} is outside the namespace of its subkey, which gives {uuid}"
    except ImageRefused as refusal:
        problem = refusal.reason
    if payload is None:
        return ContainerInfo(headers=tuple(headers), subkeys=tuple(subkeys), uuid=uuid, problem=problem)
    return ContainerInfo(
        headers=tuple(headers),
        subkeys=tuple(subkeys),
        uuid=payload.uuid or uuid,
        version=payload.version,
        encryption=payload.encryption,
        image_offset=payload.image,
        image_size=payload.end - payload.image,
        problem=problem,
    )


def _walk_subkeys(image: bytes, headers: list[Header], subkeys: list[Subkey]) -> UUID | None:
    """Fill both lists up to the TA's header, if there is one; the UUID that the last subkey gives what follows it."""
    headers.append(read_header(image, 0))
    uuid: UUID | None = None
    depth = NO_DEPTH_LIMIT
    while headers[-1].img_type == ImageType.SUBKEY:
        if len(subkeys) == MAX_LEVELS:
            raise ImageRefused("depth", f"more than {MAX_LEVELS} levels of subkeys")
        subkey = read_subkey(image, headers[-1], subkey_body(image, headers[-1]))
        subkeys.append(subkey)
        if subkey.max_depth >= depth:
            raise ImageRefused("depth", f"subkey {subkey.uuid} allows {subkey.max_depth} levels, not less than {depth}")
        if uuid is not None and subkey.uuid != uuid:
            raise ImageRefused("uuid", f"subkey {subkey.uuid} is outside its namespace, which gives {uuid}")
        if subkey.end == len(image):
            break
        depth, uuid = subkey.max_depth, next_uuid(subkey.uuid, subkey.name)
        headers.append(read_header(image, subkey.end))
    return uuid
