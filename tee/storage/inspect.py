"""A store looked at from outside of any TA: what is in it, whether it is whole, and ways to take out and put in.

For tools, on a store whose secure world is not running, or shares it (`tee.storage.ree_fs.Shared`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from tee.abi.objects import USAGE_DEFAULT, ObjectType
from tee.abi.pta_uuids import PTA_ATTESTATION_UUID
from tee.abi.ree_fs import DIRFILE
from tee.abi.storage import HEAD
from tee.errors import TeeError
from tee.normal import RESERVED
from tee.storage import tadb
from tee.storage.head import Head

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tee.normal import Files
    from tee.storage.dirfile import Entry, Key
    from tee.storage.ree_fs import ReeFs

CORE = UUID(int=0)
"""Owner of the secure world's own databases."""
_HEADLESS = (CORE, PTA_ATTESTATION_UUID)
"""Whose files are data alone."""


class Described(NamedTuple):
    """An object. type: TEE_TYPE_*, None for the core's own; bits: of a key; usage: TEE_USAGE_*; attributes: as
    `Object.to_binary` makes them; size: bytes of the data stream; file: its name; problem: why it cannot be read.
    """

    key: Key
    file: str
    type: int | None = None
    bits: int = 0
    max_bits: int = 0
    usage: int = 0
    have: int = 0
    attributes: bytes = b""
    size: int = 0
    problem: TeeError | None = None

    @property
    def type_name(self) -> str:
        if self.type is None:
            return "-"
        try:
            return ObjectType(self.type).name
        except ValueError:
            return f"{self.type:#x}"


def entries(system: ReeFs) -> list[Entry]:
    """TeeError: the directory cannot be read."""
    with system.session() as directory:
        return directory.entries()


def describe(system: ReeFs, entry: Entry) -> Described:
    """Never fails for a corrupt object: that is what `problem` says."""
    try:
        return _describe(system, entry)
    except TeeError as problem:
        return Described(entry.key, entry.file, problem=problem)


def _describe(system: ReeFs, entry: Entry) -> Described:
    file = system.open(entry.key)
    try:
        if entry.key.owner in _HEADLESS:
            return Described(entry.key, entry.file, size=file.length)
        head = Head.read(file)
        attributes = head.attributes(file)
        return Described(
            entry.key,
            entry.file,
            head.type,
            head.bits,
            head.max_bits,
            head.usage,
            head.have,
            attributes,
            file.length - head.data_start,
        )
    finally:
        file.close()


def data_stream(system: ReeFs, key: Key) -> bytes:
    """ITEM_NOT_FOUND, CORRUPT_OBJECT."""
    file = system.open(key)
    try:
        start = 0 if key.owner in _HEADLESS else Head.read(file).data_start
        return file.read(start, max(0, file.length - start))
    finally:
        file.close()


def put(system: ReeFs, key: Key, data: bytes) -> None:
    """Make a data object, or replace whatever has its name."""
    head = HEAD.pack(0, 0, 0, USAGE_DEFAULT, ObjectType.DATA, 0)
    system.create(key, head + data, overwrite=True).close()


def check(system: ReeFs) -> Iterator[Described]:
    """Every object, each block of it read and authenticated."""
    for entry in entries(system):
        found = describe(system, entry)
        if found.problem is None:
            try:
                data_stream(system, entry.key)
            except TeeError as problem:
                found = found._replace(problem=problem)
        yield found


def strangers(system: ReeFs) -> list[str]:
    """Files that the directory does not name: what a crash left (harmless), and what is none of the store's."""
    named = {entry.file for entry in entries(system)} | {entry.file for entry in tadb.entries(system)} | {DIRFILE}
    return [name for name in system.files.list("") if name not in named and not _is_reserved(system.files, name)]


def _is_reserved(files: Files, name: str) -> bool:
    try:
        handle = files.open(name)
    except TeeError:
        return False
    try:
        return files.read(handle, 0, len(RESERVED) + 1) == RESERVED
    finally:
        files.close(handle)
