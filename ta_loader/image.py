"""A verified TA as the secure world is handed it, and the program that becomes of it in an address space."""

from __future__ import annotations

from typing import TYPE_CHECKING

from north.errors import SpaceError
from tee.abi.results import BAD_FORMAT, BAD_PARAMETERS, ITEM_NOT_FOUND
from tee.abi.ta_head import (
    TA_FLAG_CONCURRENT,
    TA_FLAGS_MASK,
    TA_HEAD,
)
from tee.errors import TeeError
from tee.ports import Module

from .link import LinkMap
from .machines import MACHINES
from .tables import ModuleTables

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from north.memory import AddressSpace
    from south.platform import Arch
    from tee.ports import Frame

    from .asan import Sanitizer
    from .elf.object import ElfObject

    Debug = Callable[["TaProgram"], Callable[[UUID], bytes | None]]
    from .ftrace import Ftrace
    from .link import Libraries

RTLD_NOW = 0x2
RTLD_GLOBAL = 0x100
RTLD_NODELETE = 0x1000
"""optee_os lib/libdl/include/dlfcn.h."""
DLOPEN_FLAGS = RTLD_NOW | RTLD_GLOBAL | RTLD_NODELETE
"""The only flags that dlopen takes (optee_os ldelf/dl.c)."""


def _nothing(_: UUID) -> None:
    return None


class TaProgram:
    """A TA linked into one address space (`tee.ports.Program`)."""

    def __init__(self, image: TaImage, space: AddressSpace, libraries: Libraries) -> None:
        self._links = LinkMap(space, libraries)
        self._tables = ModuleTables(self._links)
        self.sanitizer = self._sanitizer(image.object.shadow_offset)
        self._load(image.uuid, image.object)
        self.entry = self._entry(image.object)
        self.trace = self._find_trace()
        self.debug: Debug | None = None
        """Finds unstripped ELF files for backtraces."""

    @property
    def modules(self) -> Sequence[Module]:
        """The TA first, then its libraries in the order they were loaded."""
        return [Module(m.uuid, m.base, m.object.span) for m in self._links.modules]

    def dlopen(self, uuid: UUID, flags: int) -> None:
        """Load a library and its dependencies. TeeError; then nothing has changed."""
        if flags != DLOPEN_FLAGS:
            raise TeeError(BAD_PARAMETERS, f"dlopen flags {flags:#x}")
        if not uuid.int or self._links.find(uuid) is not None:
            return
        self._load(uuid)

    def dlsym(self, uuid: UUID, name: str) -> int:
        """Address of a symbol; the nil UUID means any module. A library without it falls back to all, as in ldelf."""
        module = self._links.find(uuid)
        if uuid.int and module is None:
            raise TeeError(ITEM_NOT_FOUND, f"{uuid} is not loaded")
        hit = self._links.resolve(name.encode("utf-8", "surrogateescape"), module)
        if hit is None:
            raise TeeError(ITEM_NOT_FOUND, f"no symbol {name[:128]}")
        return hit[0]

    def elf(self, uuid: UUID) -> bytes | None:
        """The file of a loaded module, for whoever wants its symbols; None if there is no such module."""
        module = self._links.find(uuid)
        return None if module is None else module.object.image

    def backtrace(self, registers: dict[str, int]) -> Sequence[Frame]:
        """Unwind from `registers`; innermost first. Never raises: an unreadable stack ends it."""
        from .symbolise.unwind import backtrace

        debug_of = _nothing if self.debug is None else self.debug(self)
        return backtrace(
            self._links.space.arch, self.modules, registers, self._peek, self.elf, debug_of, self.returns()
        )

    def returns(self) -> tuple[int, Sequence[int]]:
        """What `symbolise.unwind.backtrace` takes as `returns`."""
        return (0, ()) if self.trace is None else self.trace.returns()

    def _find_trace(self) -> Ftrace | None:
        if self._links.resolve(b"__ftrace_info") is None:
            return None
        from .ftrace import find

        return find(self._links)

    def _peek(self, va: int, size: int) -> bytes | None:
        try:
            return self._links.space.read(va, size)
        except SpaceError:
            return None

    def _load(self, uuid: UUID, main: ElfObject | None = None) -> None:
        known = len(self._links.modules)
        with self._links.attempt():
            if self.sanitizer is not None:
                self._sanitize(main is not None)
            self._links.load(uuid, main)
            if self.sanitizer is not None:
                for module in self._links.modules[known:]:
                    self.sanitizer.add_module(module.base, module.object.span)
            self._tables.update()

    def _sanitizer(self, offset: int) -> Sanitizer | None:
        if not offset:
            return None
        from .asan import Sanitizer

        return Sanitizer(self._links, offset)

    def _sanitize(self, first: bool) -> None:
        assert self.sanitizer is not None
        if first:
            self.sanitizer.prepare()
        else:
            self.sanitizer.adopt()

    def add_stack(self, va: int, size: int) -> None:
        if self.sanitizer is not None:
            with self._links.attempt():
                self.sanitizer.add_stack(va, size)

    def _entry(self, obj: ElfObject) -> int:
        base = self._links.modules[0].base
        if not obj.legacy:
            return obj.entry + base & obj.layout.mask
        # A legacy TA's entry is a pointer in its header, which has been relocated by now.
        head = self._links.space.read(base + obj.segments[0].vaddr, TA_HEAD.size)
        entry: int = TA_HEAD.unpack(head)[3]
        return entry & obj.layout.mask


class TaImage:
    """A parsed TA (`tee.ports.Image`); shared between instances and threads.

    TeeError(BAD_FORMAT) when its header asks for what no TA may have.
    """

    def __init__(self, uuid: UUID, obj: ElfObject, libraries: Libraries, *, version: int, digest: bytes) -> None:
        self.uuid = uuid
        self.object = obj
        self.arch: Arch = obj.arch
        self.version = version
        self.digest = digest
        self._libraries = libraries
        _, stack, flags, _ = TA_HEAD.unpack(obj.head)
        self.flags: int = flags
        self.stack_size: int = stack
        if not stack or stack % MACHINES[obj.arch].stack_align:
            raise TeeError(BAD_FORMAT, f"invalid stack size {stack}")
        if flags & (~TA_FLAGS_MASK | TA_FLAG_CONCURRENT):
            raise TeeError(BAD_FORMAT, f"invalid TA flags {flags:#x}")

    def link(self, space: AddressSpace) -> TaProgram:
        """Map, relocate and protect the TA and its dependencies; TeeError if it cannot be linked."""
        if space.arch is not self.arch:
            raise TeeError(BAD_FORMAT, f"a TA for {self.arch.value} in a space for {space.arch.value}")
        return TaProgram(self, space, self._libraries)
