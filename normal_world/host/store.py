"""A store of TAs that are named by their files, and the keys of encrypted ones."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from uuid import UUID

from south.errors import UsageError
from ta_loader.store import TaStore
from tee.abi.uuids import parse_uuid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from south.platform import Platform
    from ta_loader.container.verify import Container
    from ta_loader.container.versions import VersionDatabase
    from ta_loader.trust import TrustStore


def encryption_key(given: bytes | None, trust: TrustStore, platform: Platform) -> Callable[[int], bytes]:
    """Where `open_container` asks for the key of encrypted TAs: the one given, or what a device would derive."""

    def derive(key_type: int) -> bytes:
        from tee.crypto.huk import ta_encryption_key

        if given is not None:
            return given
        modulus = trust.keys[0].numbers.modulus if trust.keys else b""
        return ta_encryption_key(platform.root_of_trust, key_type, modulus)

    return derive


class NamedStore(TaStore):
    """A store that also knows files by name."""

    def __init__(
        self,
        dirs: Sequence[str],
        trust: TrustStore,
        enc_key: Callable[[int], bytes],
        versions: VersionDatabase | None = None,
    ) -> None:
        super().__init__(dirs, trust, enc_key=enc_key, versions=versions)
        self._pins: dict[UUID, tuple[TaStore, str]] = {}

    def is_named(self, uuid: UUID) -> bool:
        """Whether `add_file` serves it."""
        return uuid in self._pins

    def find(self, uuid: UUID) -> Container:
        pin = self._pins.get(uuid)
        if pin is None:
            return super().find(uuid)
        store, path = pin
        return store.load_path(path, expected_uuid=uuid)

    def add_file(self, path: str, trust: TrustStore | None = None) -> UUID:
        """Serve the TA of one file under its own UUID; its folder is searched after all others.

        trust: believed for this file alone, instead of the store's own; it comes with this program, and its version is
        not remembered. ImageRefused, TeeError, UsageError.
        """
        store = self if trust is None else TaStore((), trust)
        try:
            container = store.load_path(path)
        except FileNotFoundError:
            raise UsageError(f"{path}: no such file") from None
        uuid = container.uuid or parse_uuid(os.path.basename(path).partition(".")[0]) or _own_uuid(container, path)
        self._pins[uuid] = (store, path)
        folder = os.path.dirname(path) or "."
        if trust is None and folder not in self.dirs:
            self.dirs = (*self.dirs, folder)
        return uuid


def _own_uuid(container: Container, path: str) -> UUID:
    """Of `struct ta_head`: plain images and bare ELF files have no other."""
    from ta_loader.elf.describe import describe_elf

    uuid = describe_elf(container.elf).uuid
    if uuid is None:
        raise UsageError(f"{path}: a library cannot be run; name the TA, and this folder with --ta-dir")
    return uuid
