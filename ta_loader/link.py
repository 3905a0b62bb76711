"""Link a TA and its libraries into one address space, at load time and by dlopen.

Source: optee_os ldelf/main.c (order of the steps), ldelf/ta_elf.c (`ta_elf_load_dependency`, `set_tls_offset`,
`ta_elf_add_library`), ldelf/ta_elf_rel.c (`ta_elf_resolve_sym`, `e32_relocate`, `e64_relocate`).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from north.errors import OutOfMemory, SpaceError
from south.platform import PAGE, Prot
from ta_loader import relocation
from ta_loader.elf import symbols
from ta_loader.elf.checks import bad_format, panicked
from ta_loader.machines import MACHINES
from tee.abi.results import ITEM_NOT_FOUND, NOT_SUPPORTED, OUT_OF_MEMORY, TARGET_DEAD
from tee.errors import TeeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

    from north.memory import AddressSpace
    from ta_loader.elf.object import ElfObject

    Libraries = Callable[[UUID], ElfObject]
    """Finds a library by UUID; TeeError if there is none that may be loaded."""

MAX_MODULES = 64
"""Objects in one program. ldelf's 16 KiB of tables hold about as many."""
MAX_SPAN = 1 << 30
"""Bytes of address space of one object; the instance's quota is what limits its memory."""

TCB_HEAD = 16
"""Bytes before the first TLS block on AArch64: two words (TLS variant 1; optee_os lib/libutee/tcb.c)."""

TLSDESC_RESOLVER = bytes.fromhex("000440f9c0035fd6")
"""ldr x0, [x0, #8]; ret: returns the descriptor's second word and keeps all other registers, as the ABI asks
("TLS Descriptors for ARM", Oliva; optee_os ldelf/tlsdesc_rel_a64.S)."""


class Loaded:
    """A module of a program. base: load bias; phdr: address of its program headers in memory;
    tls_id: index in libutee's dynamic thread vector, 0 without TLS; tls_offset: bytes from the thread pointer.
    """

    __slots__ = ("base", "object", "phdr", "tls_id", "tls_offset", "uuid")

    def __init__(self, uuid: UUID, obj: ElfObject) -> None:
        self.uuid = uuid
        self.object = obj
        self.base = 0
        self.phdr = 0
        self.tls_id = 0
        self.tls_offset = 0


class LinkMap:
    """The modules of one program, main first, and the memory they were given."""

    def __init__(self, space: AddressSpace, libraries: Libraries) -> None:
        self.space = space
        self.modules: list[Loaded] = []
        self._libraries = libraries
        self._maps: list[tuple[int, int]] = []
        self._next_tls = TCB_HEAD
        self._resolver = 0

    def load(self, uuid: UUID, main: ElfObject | None = None) -> None:
        """Add an object and what it needs, breadth first, and relocate them; inside `attempt`.

        main: the TA itself, when it is the first. TeeError.
        """
        known = len(self.modules)
        self._collect(uuid, main)
        for module in self.modules[known:]:
            self._map(module)
        for module in self.modules[known:]:
            self._relocate(module)

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Undo what the block loaded if it fails; what the address space refuses becomes a TeeError."""
        known, maps, next_tls, resolver = len(self.modules), len(self._maps), self._next_tls, self._resolver
        try:
            yield
        except BaseException as problem:
            del self.modules[known:]
            self.release(maps)
            self._next_tls, self._resolver = next_tls, resolver
            if isinstance(problem, OutOfMemory):
                raise TeeError(OUT_OF_MEMORY, str(problem)) from None
            if isinstance(problem, SpaceError):
                # The TA unmapped memory of its own that the loader needs.
                raise TeeError(TARGET_DEAD, str(problem)) from None
            raise

    def release(self, keep: int = 0) -> None:
        """Unmap all but the first `keep` mappings."""
        while len(self._maps) > keep:
            va, size = self._maps.pop()
            self.space.unmap(va, size)

    def find(self, uuid: UUID) -> Loaded | None:
        for module in self.modules:
            if module.uuid == uuid:
                return module
        return None

    def _collect(self, uuid: UUID, main: ElfObject | None) -> None:
        """Queue `uuid` and its dependencies; each object once, so that cycles end."""
        wanted = [uuid]
        queued = {module.uuid for module in self.modules} | {uuid}
        for name in wanted:
            obj = main if main is not None and not self.modules else self._libraries(name)
            if obj.arch is not self.space.arch:
                raise bad_format(f"{name} is for {obj.arch.value}, its program for {self.space.arch.value}")
            if len(self.modules) >= MAX_MODULES:
                raise TeeError(OUT_OF_MEMORY, f"more than {MAX_MODULES} libraries")
            self.modules.append(Loaded(name, obj))
            for dependency in obj.needed:
                if dependency not in queued:
                    queued.add(dependency)
                    wanted.append(dependency)

    def _map(self, module: Loaded) -> None:
        obj, space = module.object, self.space
        if obj.span > MAX_SPAN:
            raise TeeError(OUT_OF_MEMORY, f"{obj.span} bytes of address space")
        base = module.base = space.reserve(obj.span)
        name = str(module.uuid)
        for segment in obj.segments:
            va = base + segment.vaddr
            self.map(segment.size, segment.prot, name, at=va)
            if segment.data:
                space.view(va, len(segment.data))[:] = segment.data
        if obj.header_address is None:
            module.phdr = self.map(PAGE, Prot.R, name + " (headers)") + obj.phoff
            page = obj.header_page
            space.view(module.phdr - obj.phoff, len(page))[:] = page
        else:
            module.phdr = base + obj.header_address + obj.phoff
        if not obj.has_tls:
            return
        if MACHINES[obj.arch].tls_by_position:
            # libutee indexes its vector by position. ldelf counts modules with TLS only, which is the same
            # unless one without stands before; there its TAs read a wrong entry.
            module.tls_id = self.modules.index(module) + 1
        elif obj.tls_start and not obj.legacy:
            module.tls_offset = self._next_tls
            self._next_tls += obj.tls_size

    def map(self, size: int, prot: Prot, name: str, at: int | None = None) -> int:
        """Private memory that goes away with this program's link map. OutOfMemory."""
        region = self.space.map(size, prot, name=name, at=at)
        self._maps.append((region.va, region.size))
        return region.va

    def resolve(self, name: bytes, first: Loaded | None = None) -> tuple[int, Loaded] | None:
        """(value, module) of a symbol: in `first`, if given, then in all modules in their order; None if nowhere.

        The value is an address, for TLS symbols an offset in the module's block, and 0 for a weak undefined one.
        """
        for module in self.modules if first is None else (first, *self.modules):
            export = module.object.exports.get(name)
            if export is None:
                continue
            if export.kind == symbols.ADDRESS:
                return (export.value + module.base) & module.object.layout.mask, module
            if export.kind in (symbols.OFFSET, symbols.UNDEFINED):
                return export.value, module
            text = name.decode("latin-1")
            if export.kind == symbols.OUT_OF_RANGE:
                raise bad_format(f"symbol {text[:128]} out of range")
            raise TeeError(NOT_SUPPORTED, f"type of symbol {text[:128]}")
        return None

    def _relocate(self, module: Loaded) -> None:
        obj = module.object
        plan, base, mask = obj.plan, module.base, obj.layout.mask
        found: list[tuple[int, Loaded] | None] = []
        for name, optional in plan.imports:
            hit = self.resolve(name)
            if hit is None and not optional:
                text = name.decode("latin-1")
                raise TeeError(ITEM_NOT_FOUND, f"symbol {text[:128]} of {module.uuid} not found")
            found.append(hit)
        values = [hit[0] if hit else 0 for hit in found]
        for index, segment in enumerate(obj.segments):
            slots, pairs = plan.relative.get(index), plan.addresses.get(index)
            if slots or pairs:
                words = self.space.view(base + segment.vaddr, segment.size).cast("B").cast(obj.layout.fmt)
                for slot in slots or ():
                    words[slot] = words[slot] + base & mask
                for slot, number in pairs or ():
                    words[slot] = values[number]
        for index, offset, kind, number, addend in plan.fixups:
            va = base + obj.segments[index].vaddr + offset
            hit = found[number] if number >= 0 else None
            value = hit[0] if hit else 0
            owner = hit[1] if hit else module
            data = b""
            if kind == relocation.BASE:
                value = base + addend
            elif kind == relocation.VALUE:
                value += addend
            elif kind == relocation.DTPMOD:
                value = owner.tls_id
            else:
                value += owner.tls_offset + addend
                if kind == relocation.TLSDESC:
                    data = self._tlsdesc_resolver().to_bytes(8, "little")
            data += (value & mask).to_bytes(obj.layout.word, "little")
            self.space.view(va, len(data))[:] = data

    def _tlsdesc_resolver(self) -> int:
        """Address of `TLSDESC_RESOLVER`, which is mapped when a program first needs it."""
        if not self._resolver:
            self._resolver = self.map(PAGE, Prot.RX, "tls descriptors")
            self.space.view(self._resolver, len(TLSDESC_RESOLVER))[:] = TLSDESC_RESOLVER
        return self._resolver

    def writable(self, va: int, size: int) -> bool:
        """Whether it is writable memory of a module, as it was linked."""
        return any(m.object.memory.writable(va - m.base, size) for m in self.modules)

    def variable(self, name: bytes, size: int) -> int | None:
        """Address of a variable that the loader fills in; None when no module has it."""
        hit = self.resolve(name)
        if hit is None:
            return None
        if not self.writable(hit[0], size):
            raise panicked(f"{name.decode()} is not writable data")
        return hit[0]
