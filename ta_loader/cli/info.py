"""`litebox-ta info`: what a TA image says of itself. Verifies nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from north.text import visible_line
from ta_loader.cli import exits
from ta_loader.cli.options import Command, Option
from ta_loader.cli.world_options import TRUST_OPTIONS, read_enc_key
from ta_loader.container.describe import ContainerInfo, describe
from ta_loader.container.layout import NO_DEPTH_LIMIT, ImageType, algorithm_name
from ta_loader.elf.describe import ElfInfo, describe_elf
from ta_loader.inputs import read_input
from ta_loader.samples import file_of
from tee.errors import TeeError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ta_loader.cli.options import Arguments
    from ta_loader.container.parse import Header, Subkey

_KINDS = {
    ImageType.TA: "plain TA",
    ImageType.BOOTSTRAP_TA: "bootstrap TA",
    ImageType.ENCRYPTED_TA: "encrypted TA",
    ImageType.SUBKEY: "subkey",
}


def run(arguments: Arguments) -> int:
    path = arguments.words[0]
    data = read_input(file_of(path), "TA")
    container = describe(data)
    elf: ElfInfo | None = None
    problem = container.problem
    if not problem and not container.subkey_file:
        image = _elf_image(data, container, read_enc_key(arguments))
        try:
            elf = describe_elf(image) if image is not None else None
        except TeeError as error:
            problem = error.detail
    if arguments.switch("--json"):
        from ta_loader.cli.output import print_json

        print_json({"file": path, "container": _container_json(container), "elf": elf_json(elf), "problem": problem})
    else:
        for line in [path, *_container_lines(container), *_elf_lines(elf)]:
            print(visible_line(line))
        if problem:
            print(visible_line(f"problem: {problem}"))
    return exits.REFUSED if problem else exits.OK


def _elf_image(data: bytes, container: ContainerInfo, key: bytes | None) -> bytes | None:
    """None for an encrypted image without its key, or with another one's."""
    image = data[container.image_offset : container.image_offset + container.image_size]
    encryption = container.encryption
    if encryption is None:
        return image
    if key is None:
        return None
    from ta_loader.container.verify import check_gcm_sizes
    from tee.crypto import oneshot

    check_gcm_sizes(encryption)
    return oneshot.gcm_decrypt(key, encryption.iv, b"", image, encryption.tag)


def _kind(number: int) -> str:
    return _KINDS[ImageType(number)] if number in ImageType._value2member_map_ else f"type {number}"


def _container_lines(info: ContainerInfo) -> Iterable[str]:
    if info.bare_elf:
        yield f"container: none (bare ELF, {info.image_size} bytes), not signed"
        return
    subkeys = iter(info.subkeys)
    for header in info.headers:
        yield from _header_lines(header, next(subkeys, None) if header.img_type == ImageType.SUBKEY else None)
    if info.uuid is not None:
        yield f"uuid: {info.uuid}"
    if info.headers and info.headers[-1].img_type in (ImageType.BOOTSTRAP_TA, ImageType.ENCRYPTED_TA):
        yield f"version: {info.version}"
    if info.encryption is not None:
        key = "class-wide" if info.encryption.flags & 1 else "device-specific"
        yield f"encryption: AES-GCM, {key} key, IV {info.encryption.iv.hex()}, tag {info.encryption.tag.hex()}"
    if info.image_size:
        yield f"image: {info.image_size} bytes at offset {info.image_offset}"


def _header_lines(header: Header, subkey: Subkey | None) -> Iterable[str]:
    bits = len(header.signature) * 8
    yield f"container: {_kind(header.img_type)}, signed with {algorithm_name(header.algo)}, {bits} bits (not verified)"
    yield f"  hash: {header.hash.hex()}"
    if subkey is not None:
        name = subkey.name.partition(b"\0")[0].decode("utf-8", "backslashreplace")
        what = f"name of what follows {name!r}" if subkey.name_size else "identity subkey"
        key = f"{len(subkey.modulus) * 8} bits, {_depth(subkey)}"
        yield f"  subkey: {subkey.uuid} version {subkey.version}, {key}, {what}"


def _depth(subkey: Subkey) -> str:
    return "any depth" if subkey.max_depth == NO_DEPTH_LIMIT else f"depth {subkey.max_depth}"


def _elf_lines(info: ElfInfo | None) -> Iterable[str]:
    if info is None:
        return
    yield f"elf: {info.arch.value} {'library' if info.library else 'TA'}{', BTI' if info.bti else ''}"
    if info.uuid is not None:
        yield f"  uuid: {info.uuid}"
        yield f"  flags: {' '.join(info.flags) or 'none'}"
        heap = "unknown" if info.heap_size is None else f"{info.heap_size} bytes"
        yield f"  stack: {info.stack_size} bytes, heap: {heap}"
    for segment in info.segments:
        yield f"  segment: {segment.vaddr:#08x} {segment.prot} {segment.size} bytes, {segment.file_size} in the file"
    for prop in info.properties:
        yield f"  property: {prop.name} ({prop.type}) = {prop.value}"
    for uuid in info.dependencies:
        yield f"  needs: {uuid}"
    for title, names in (("imports", info.imports), ("weak imports", info.weak_imports), ("exports", info.exports)):
        if names:
            yield f"  {title} ({len(names)}): {' '.join(names)}"


def _container_json(info: ContainerInfo) -> dict[str, Any]:
    encryption = info.encryption
    return {
        "kind": "elf" if info.bare_elf else "subkeys" if info.subkey_file else "ta",
        "headers": [
            {
                "type": header.img_type,
                "kind": _kind(header.img_type),
                "offset": header.offset,
                "algorithm": algorithm_name(header.algo),
                "hash": header.hash.hex(),
                "signature_bits": len(header.signature) * 8,
            }
            for header in info.headers
        ],
        "subkeys": [
            {
                "uuid": str(subkey.uuid),
                "version": subkey.version,
                "max_depth": subkey.max_depth,
                "bits": len(subkey.modulus) * 8,
                "name": subkey.name.partition(b"\0")[0].decode("utf-8", "backslashreplace"),
            }
            for subkey in info.subkeys
        ],
        "uuid": str(info.uuid) if info.uuid is not None else None,
        "version": info.version,
        "encrypted": encryption is not None,
        "image_offset": info.image_offset,
        "image_size": info.image_size,
    }


def elf_json(info: ElfInfo | None) -> dict[str, Any] | None:
    if info is None:
        return None
    out: dict[str, Any] = info._asdict()
    out["arch"] = info.arch.value
    out["uuid"] = str(info.uuid) if info.uuid is not None else None
    out["dependencies"] = [str(uuid) for uuid in info.dependencies]
    out["properties"] = [prop._asdict() for prop in info.properties]
    out["segments"] = [segment._asdict() for segment in info.segments]
    return out


COMMAND = Command(
    name="info",
    summary="Show what a TA image, library or subkey file holds; verifies nothing.",
    words=("FILE",),
    options=(
        next(option for option in TRUST_OPTIONS if option.key == "--enc-key"),
        Option("--json", "", "print one JSON object instead of text"),
    ),
    run=run,
    epilog="""\
examples:
  litebox-ta info 7371bc6b-0888-4252-9d3b-42ddcbca70fd.ta
  litebox-ta info --json some.ta | jq .elf.properties
  litebox-ta info hello

exit codes: 0 success, 2 usage, 4 the image is malformed""",
)
