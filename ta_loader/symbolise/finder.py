"""ELF files of TAs and libraries, by UUID: what the names in a real OP-TEE's log are taken from."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from south.errors import UsageError
from ta_loader.container.describe import describe
from ta_loader.inputs import read_input
from ta_loader.symbolise.elffile import parse

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

_SUFFIXES = (".elf", ".stripped.elf", ".ta", ".so", "")
"""What a folder may hold of a TA, the one with most symbols first."""


class ElfFinder:
    """ELF files of TAs and libraries by UUID, each read once."""

    def __init__(self, files: Sequence[str], folders: Sequence[str]) -> None:
        self._folders = folders
        self._known: dict[UUID, bytes | None] = {}
        for folder in folders:
            if not os.path.isdir(folder):
                raise UsageError(f"--dir {folder}: no such folder")
        for path in files:
            data = _elf_of(read_input(path, "--elf"))
            elf = parse(data)
            if elf is None or elf.uuid is None:
                raise UsageError(f"--elf {path}: not the ELF file of a TA or library; name a folder with --dir")
            self._known[elf.uuid] = data

    def find(self, uuid: UUID) -> bytes | None:
        if uuid not in self._known:
            self._known[uuid] = self._search(uuid)
        return self._known[uuid]

    def _search(self, uuid: UUID) -> bytes | None:
        for suffix in _SUFFIXES:
            for folder in self._folders:
                path = os.path.join(folder, f"{uuid}{suffix}")
                if os.path.isfile(path):
                    return _elf_of(read_input(path, "ELF"))
        return None


def _elf_of(data: bytes) -> bytes:
    """The image in a container; nothing is verified, because nothing of it will run."""
    info = describe(data)
    return data[info.image_offset : info.image_offset + info.image_size]
