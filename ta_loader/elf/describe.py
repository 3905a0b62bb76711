"""What is in an ELF object, for a person: nothing is verified and nothing is mapped."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from north.elf import abi
from north.elf.file import Elf
from north.elf.tables import ElfError
from south.platform import Prot
from tee.abi import ta_head
from tee.abi.properties import IDENTITY, PropType
from tee.errors import TeeError

from . import symbols
from .object import ElfObject

if TYPE_CHECKING:
    from south.platform import Arch

    from .symbols import Symbol

MAX_PROPERTIES = 256
"""Entries of `ta_props` that are shown; TAs have about ten."""
MAX_TEXT = 1024
"""Bytes of a property's name or text that are shown."""


class Property(NamedTuple):
    """A TA property. type: "bool", "u32", "string"...; value: printable."""

    name: str
    type: str
    value: str


class SegmentInfo(NamedTuple):
    """vaddr, file_size, size: bytes, at base 0; prot: "r-x"."""

    vaddr: int
    file_size: int
    size: int
    prot: str


class ElfInfo(NamedTuple):
    """uuid, flags, stack_size: of `struct ta_head`; None and 0 for a library. heap_size: bytes, None if the file
    does not say. imports: names that other modules must supply, weak_imports: those that may be missing.
    """

    arch: Arch
    library: bool
    legacy: bool
    bti: bool
    entry: int
    uuid: UUID | None
    flags: tuple[str, ...]
    stack_size: int
    heap_size: int | None
    dependencies: tuple[UUID, ...]
    imports: tuple[str, ...]
    weak_imports: tuple[str, ...]
    exports: tuple[str, ...]
    properties: tuple[Property, ...]
    segments: tuple[SegmentInfo, ...]


def describe_elf(data: bytes | bytearray | memoryview) -> ElfInfo:
    """TeeError when the loader could make nothing of the file either."""
    image = bytes(data)
    obj = ElfObject(image, main=False)
    library = _is_library(obj)
    uuid, flags, stack = None, 0, 0
    if not library:
        obj = ElfObject(image, main=True)
        raw, stack, flags, _ = ta_head.TA_HEAD.unpack(obj.head)
        uuid = UUID(bytes_le=raw)
    known = _all_symbols(obj)
    properties = _properties(obj, known)
    undefined = [s for s in obj.symbols if s.name and s.section == abi.SHN_UNDEF]
    return ElfInfo(
        obj.arch,
        library,
        obj.legacy,
        obj.bti,
        obj.entry,
        uuid,
        ta_head.flag_names(flags),
        stack,
        _heap_size(obj, known, properties),
        tuple(obj.needed),
        tuple(sorted(_text(s.name) for s in undefined if s.binding != abi.STB_WEAK)),
        tuple(sorted(_text(s.name) for s in undefined if s.binding == abi.STB_WEAK)),
        tuple(sorted(_text(name) for name, export in obj.exports.items() if export.kind != symbols.UNDEFINED)),
        tuple(properties),
        tuple(SegmentInfo(s.vaddr, len(s.data), s.size, _letters(s.prot)) for s in obj.segments),
    )


def _is_library(obj: ElfObject) -> bool:
    """A TA defines `ta_head` or begins with it; a library's first segment begins with the ELF header."""
    export = obj.exports.get(b"ta_head")
    return (export is None or export.kind != symbols.ADDRESS) and obj.header_address is not None


def _letters(prot: Prot) -> str:
    return "".join(letter if prot & bit else "-" for letter, bit in (("r", Prot.R), ("w", Prot.W), ("x", Prot.X)))


def _text(raw: bytes) -> str:
    text = raw[:MAX_TEXT].decode("utf-8", "replace")
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def _all_symbols(obj: ElfObject) -> dict[bytes, Symbol]:
    """Defined symbols by name: of .dynsym, and of .symtab if the file was not stripped."""
    found = {s.name: s for s in obj.symbols if s.name and s.section != abi.SHN_UNDEF}
    elf = Elf(obj.image)
    section = next((s for s in elf.sections if s.type == abi.SHT_SYMTAB), None)
    if section is None or section.link >= len(elf.sections):
        return found
    try:
        table, strings = elf.content(section), bytes(elf.content(elf.sections[section.link]))
        rows = symbols.named_symbols(table, strings, obj.layout)
    except (ElfError, TeeError):
        return found
    for row in rows:
        if row.name and row.section != abi.SHN_UNDEF:
            found.setdefault(row.name, row)
    return found


def _word(obj: ElfObject, vaddr: int, size: int) -> int | None:
    try:
        return int.from_bytes(obj.memory.bytes_at(vaddr, size, "value"), "little")
    except TeeError:
        return None


def _string(obj: ElfObject, vaddr: int) -> bytes | None:
    """The NUL-terminated string at an address; None if there is none."""
    for segment in obj.segments:
        offset = vaddr - segment.vaddr
        if 0 <= offset < len(segment.data):
            piece, end, _ = bytes(segment.data[offset : offset + MAX_TEXT]).partition(b"\0")
            return piece if end else None
    return None


def _heap_size(obj: ElfObject, known: dict[bytes, Symbol], properties: list[Property]) -> int | None:
    """`ta_heap_size`, or what the TA says of itself."""
    symbol = known.get(b"ta_heap_size")
    if symbol is not None:
        return _word(obj, symbol.value, obj.layout.word)
    for prop in properties:
        if prop.name == ta_head.TA_PROP_STR_DATA_SIZE and prop.value.isdigit():
            return int(prop.value)
    return None


def _find_properties(obj: ElfObject, known: dict[bytes, Symbol]) -> tuple[int, int] | None:
    """(address, entries) of `ta_props`; in a stripped TA, the array whose first entry every TA has first."""
    table, count = known.get(b"ta_props"), known.get(b"ta_num_props")
    if table is not None and count is not None:
        entries = _word(obj, count.value, obj.layout.word)
        if entries is not None:
            return table.value, min(entries, MAX_PROPERTIES)
    name = ta_head.TA_PROP_STR_SINGLE_INSTANCE.encode() + b"\0"
    for segment in obj.segments:
        offset = bytes(segment.data).find(name)
        if offset < 0:
            continue
        pointer = (segment.vaddr + offset).to_bytes(obj.layout.word, "little")
        for index, slots in obj.plan.relative.items():
            row = obj.segments[index]
            for slot in slots:
                at = slot * obj.layout.word
                if bytes(row.data[at : at + obj.layout.word]) == pointer:
                    return row.vaddr + at, MAX_PROPERTIES
    return None


def _properties(obj: ElfObject, known: dict[bytes, Symbol]) -> list[Property]:
    """Entries of `ta_props`. Its pointers were relocated for base 0 when the object was parsed."""
    where = _find_properties(obj, known)
    if where is None:
        return []
    table, count = where
    layout = ta_head.USER_TA_PROPERTY_64 if obj.layout.word == 8 else ta_head.USER_TA_PROPERTY_32
    out: list[Property] = []
    for at in range(table, table + count * layout.size, layout.size):
        try:
            name_at, kind, value_at = layout.unpack(obj.memory.bytes_at(at, layout.size, "ta_props"))
        except TeeError:
            break
        name = _string(obj, name_at)
        # Where the array ends is known by its symbol only; what follows hardly looks like an entry.
        if not name or not name.decode("latin-1").isprintable() or not name.isascii():
            break
        if kind > PropType.U64 or not value_at:
            break
        out.append(Property(_text(name), PropType(kind).name.lower(), _value(obj, PropType(kind), value_at)))
    return out


def _value(obj: ElfObject, kind: PropType, at: int) -> str:
    """A property's value, printable; "?" if its address is not in the file."""
    if kind in (PropType.STRING, PropType.BINARY_BLOCK):
        text = _string(obj, at)
        return "?" if text is None else _text(text)
    size = {PropType.BOOL: 1, PropType.U32: 4, PropType.U64: 8, PropType.UUID: 16}.get(kind, IDENTITY.size)
    try:
        raw = obj.memory.bytes_at(at, size, "value")
    except TeeError:
        return "?"
    if kind is PropType.BOOL:
        return "true" if raw != b"\0" else "false"
    if kind is PropType.UUID:
        return str(UUID(bytes_le=raw))
    if kind is PropType.IDENTITY:
        login, uuid = IDENTITY.unpack(raw)
        return f"{login:#x} {UUID(bytes_le=uuid)}"
    return str(int.from_bytes(raw, "little"))
