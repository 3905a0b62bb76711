"""`--elf FILE`: backtraces with the function, file and line of unstripped ELF files."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from north.errors import SpaceError
from ta_loader.errors import UsageError
from ta_loader.inputs import read_input
from ta_loader.symbolise.elffile import parse, same_build
from ta_loader.symbolise.unwind import backtrace

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from north.memory import AddressSpace
    from ta_loader.image import TaProgram
    from tee.ports import Frame, Module


class DebugFiles:
    """Unstripped ELF files, by the module they describe."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._files: list[tuple[str, bytes]] = []
        self._unused = set(paths)
        for path in paths:
            data = read_input(path, "--elf")
            if parse(data) is None:
                raise UsageError(f"--elf {path}: not an ELF file for aarch64 or arm; name the unstripped .elf")
            self._files.append((path, data))

    def match(self, image: bytes | None) -> bytes | None:
        """The file of the same build as the module's own image; None if none is."""
        module = parse(image) if image is not None else None
        if module is None:
            return None
        for path, data in self._files:
            debug = parse(data)
            if debug is not None and same_build(module, debug):
                self._unused.discard(path)
                return data
        return None

    def complain(self) -> None:
        """Name the files that belong to nothing seen so far, each once."""
        for path in sorted(self._unused):
            print(f"litebox-ta: --elf {path} is not of the same build as any part of the TA", file=sys.stderr)
        self._unused.clear()


class DebugProgram:
    """`tee.ports.Program`."""

    def __init__(self, program: TaProgram, space: AddressSpace, files: DebugFiles) -> None:
        self._program = program
        self._space = space
        self._files = files
        self.entry = program.entry
        self.trace = program.trace
        self.sanitizer = program.sanitizer

    @property
    def modules(self) -> Sequence[Module]:
        return self._program.modules

    def add_stack(self, va: int, size: int) -> None:
        self._program.add_stack(va, size)

    def dlopen(self, uuid: UUID, flags: int) -> None:
        self._program.dlopen(uuid, flags)

    def dlsym(self, uuid: UUID, name: str) -> int:
        return self._program.dlsym(uuid, name)

    def backtrace(self, registers: dict[str, int]) -> Sequence[Frame]:
        program = self._program

        def debug_of(uuid: UUID) -> bytes | None:
            return self._files.match(program.elf(uuid))

        for module in program.modules:
            debug_of(module.uuid)
        self._files.complain()
        return backtrace(
            self._space.arch, program.modules, registers, self._peek, program.elf, debug_of, program.returns()
        )

    def _peek(self, va: int, size: int) -> bytes | None:
        try:
            return self._space.read(va, size)
        except SpaceError:
            return None
