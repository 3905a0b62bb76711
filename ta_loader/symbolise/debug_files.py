"""Backtraces with the function, file and line of unstripped ELF files: those of `--elf`, and UUID.elf beside a TA."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

from south.errors import UsageError
from ta_loader.inputs import read_input, shown
from ta_loader.symbolise.elffile import parse, same_build

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from uuid import UUID

    from ta_loader.image import TaProgram


class DebugFiles:
    """Unstripped ELF files, by the module they describe."""

    def __init__(self, paths: Sequence[str] = (), folders: Callable[[], Sequence[str]] = tuple) -> None:
        """paths: named by the user; folders: where TAs are found."""
        self._folders = folders
        self._files: list[tuple[str, bytes]] = []
        self._unused = set(paths)
        for path in paths:
            data = read_input(path, "--elf")
            if parse(data) is None:
                where = shown(path, "--elf")
                raise UsageError(f"{where}: not an ELF file for aarch64 or arm; name the unstripped .elf")
            self._files.append((path, data))

    def of_program(self, program: TaProgram) -> Callable[[UUID], bytes | None]:
        """What `symbolise.unwind.backtrace` takes as `debug_of`. Files of the user's that are of no use are named."""
        found = {module.uuid: self._match(module.uuid, program.elf(module.uuid)) for module in program.modules}
        self._complain()
        return found.get

    def _match(self, uuid: UUID, image: bytes | None) -> bytes | None:
        """The file of the same build as the module's own image; None if none is."""
        module = parse(image) if image is not None else None
        if module is None:
            return None
        for path, data in (*self._files, *self._beside(uuid)):
            debug = parse(data)
            if debug is not None and same_build(module, debug):
                self._unused.discard(path)
                return data
        return None

    def _beside(self, uuid: UUID) -> Iterator[tuple[str, bytes]]:
        """What the folders of TAs have for it. A file that cannot be read is as good as none: nobody named it."""
        for folder in self._folders():
            path = os.path.join(folder, f"{uuid}.elf")
            with contextlib.suppress(UsageError):
                yield path, read_input(path, "")

    def _complain(self) -> None:
        """Name the files that belong to nothing seen so far, each once."""
        for path in sorted(self._unused):
            print(f"litebox-ta: {shown(path, '--elf')} is not of the same build as any part of the TA", file=sys.stderr)
        self._unused.clear()
