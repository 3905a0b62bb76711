"""TAs installed in trusted storage: `<number>.ta` files beside the store's, and the object that holds their keys.

Source: optee_os 4.5 core/tee/tadb.c, core/pta/secstor_ta_mgmt.c (check_install_conflict).
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from tee.abi import results
from tee.abi.tadb import ENTRY, IV_SIZE, KEY_SIZE, OBJECT_ID
from tee.abi.uuids import tee_uuid_bytes, uuid_from_tee
from tee.crypto import oneshot
from tee.errors import TeeError
from tee.storage.dirfile import Key

if TYPE_CHECKING:
    from tee.storage.files import StoredFile
    from tee.storage.ree_fs import ReeFs

_KEY = Key(UUID(int=0), OBJECT_ID)
_FREE = UUID(int=0)


class Installed(NamedTuple):
    """An entry. custom_size, size: bytes of custom properties, and of the image behind them in the file."""

    uuid: UUID
    version: int
    custom_size: int
    size: int
    number: int
    iv: bytes
    tag: bytes
    key: bytes

    @property
    def file(self) -> str:
        return f"{self.number}.ta"


def parse(data: bytes) -> list[Installed]:
    """Every entry, free ones too; a last one that is cut off is none."""
    whole = data[: len(data) - len(data) % ENTRY.size]
    return [Installed(uuid_from_tee(uuid), *rest) for uuid, *rest in ENTRY.iter_unpack(whole)]


def entries(system: ReeFs) -> list[Installed]:
    """What is installed."""
    try:
        file = system.open(_KEY)
    except TeeError as error:
        if error.result == results.ITEM_NOT_FOUND:
            return []
        raise
    try:
        return [entry for entry in parse(file.read(0, file.length)) if entry.uuid != _FREE]
    finally:
        file.close()


def load(system: ReeFs, uuid: UUID) -> tuple[int, bytes]:
    """Version and image. ITEM_NOT_FOUND; CORRUPT_OBJECT."""
    with system.session():
        for entry in entries(system):
            if entry.uuid == uuid:
                return entry.version, _read(system, entry)
    raise TeeError(results.ITEM_NOT_FOUND, f"TA {uuid} is not installed")


def _read(system: ReeFs, entry: Installed) -> bytes:
    total = entry.custom_size + entry.size
    try:
        handle = system.files.open(entry.file)
    except TeeError as error:
        if error.result == results.ITEM_NOT_FOUND:
            raise TeeError(results.CORRUPT_OBJECT, f"{entry.file} is gone") from None
        raise
    try:
        raw = system.files.read(handle, 0, total)
    finally:
        system.files.close(handle)
    plain = oneshot.gcm_decrypt(entry.key, entry.iv, b"", raw, entry.tag) if len(raw) == total else None
    if plain is None:
        raise TeeError(results.CORRUPT_OBJECT, f"{entry.file} is not authentic")
    return plain[entry.custom_size :]


def install(system: ReeFs, uuid: UUID, version: int, image: bytes) -> None:
    """Make a TA one that is found here first, or replace it. ACCESS_CONFLICT: a newer one is installed."""
    if uuid == _FREE:
        raise TeeError(results.GENERIC, "the null UUID is nobody's")
    with system.session():
        file = _open(system)
        try:
            _install(system, file, uuid, version, image)
        finally:
            file.close()


def _open(system: ReeFs) -> StoredFile:
    try:
        return system.open(_KEY)
    except TeeError as error:
        if error.result != results.ITEM_NOT_FOUND:
            raise
    return system.create(_KEY, b"", overwrite=False)


def _install(system: ReeFs, file: StoredFile, uuid: UUID, version: int, image: bytes) -> None:
    known = parse(file.read(0, file.length))
    at = next((i for i, entry in enumerate(known) if entry.uuid == uuid), None)
    before = None if at is None else known[at]
    if before is not None and before.version > version:
        raise TeeError(results.ACCESS_CONFLICT, f"version {before.version} of TA {uuid} is installed")
    taken = {entry.number for entry in known if entry.uuid != _FREE}
    number = next(n for n in range(len(taken) + 1) if n not in taken)
    iv, key = system.entropy.fill(IV_SIZE), system.entropy.fill(KEY_SIZE)
    raw, tag = oneshot.gcm_encrypt(key, iv, b"", image)
    entry = Installed(uuid, version, 0, len(image), number, iv, tag, key)
    _write(system, entry.file, raw)
    if at is None:
        at = next((i for i, found in enumerate(known) if found.uuid == _FREE), len(known))
    file.write(at * ENTRY.size, ENTRY.pack(tee_uuid_bytes(uuid), *entry[1:]))
    if before is not None:
        with suppress(TeeError):
            system.files.remove(before.file)


def _write(system: ReeFs, name: str, raw: bytes) -> None:
    """On the medium before anything names it."""
    handle = system.files.create(name)
    try:
        system.files.write(handle, 0, raw)
        system.files.sync(handle)
    except BaseException:
        with suppress(TeeError):
            system.files.remove(name)
        raise
    finally:
        system.files.close(handle)
