"""What libutee is told about the modules of its program: `__elf_phdr_info` and `__init_fini_info`.

libutee runs the modules' initialisers, sets up thread-local storage and serves `dl_iterate_phdr` from
`__elf_phdr_info` (OP-TEE 3.10 and later). TAs of OP-TEE 3.9 have `__init_fini_info` instead, older ones neither.

Source: optee_os ldelf/ta_elf.c: `ta_elf_set_init_fini_info_compat`, `ta_elf_set_elf_phdr_info`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from south.platform import PAGE, Prot
from tee.abi import ta_head
from tee.abi.results import NOT_SUPPORTED
from tee.errors import TeeError

if TYPE_CHECKING:
    from .link import LinkMap, Loaded


class ModuleTables:
    """The tables of one program. They live in memory of the TA that it may write, as it did with ldelf."""

    def __init__(self, links: LinkMap) -> None:
        self._links = links
        wide = links.space.arch.word == 8
        self._info = ta_head.TABLE_INFO_64 if wide else ta_head.TABLE_INFO_32
        self._phdr_info = ta_head.DL_PHDR_INFO_64 if wide else ta_head.DL_PHDR_INFO_32
        self._init_fini = ta_head.INIT_FINI_64 if wide else ta_head.INIT_FINI_32
        self._va = 0
        self._capacity = 0
        self._filled = 0
        """Entries of `__init_fini_info` that the TA has and may have marked as run."""

    def update(self) -> None:
        """Tell the TA of all modules there are now. TeeError; SpaceError if the TA gave away memory of its own.

        Whatever can fail comes before the first write: the TA never sees modules that are taken back.
        """
        phdr_info = self._locate(b"__elf_phdr_info")
        init_fini = self._locate(b"__init_fini_info")
        if phdr_info is None and init_fini is None:
            return
        links, count = self._links, len(self._links.modules)
        self._grow(count)
        if phdr_info is not None:
            rows = b"".join(self._phdr_row(module, phdr_info) for module in links.modules)
            links.space.write(self._va, rows)
            self._publish(phdr_info, count, self._va)
        if init_fini is not None:
            at = self._init_fini_at(self._va, self._capacity)
            rows = b"".join(self._init_fini_row(module) for module in links.modules[self._filled :])
            if rows:
                links.space.write(at + self._filled * self._init_fini.size, rows)
            self._publish(init_fini, count, at)
        self._filled = count

    def _locate(self, name: bytes) -> int | None:
        """Address of an info structure whose reserved word is still 0; None when the TA has no such structure."""
        at = self._links.variable(name, self._info.size)
        if at is not None and self._info.unpack(self._links.space.read(at, self._info.size))[0]:
            raise TeeError(NOT_SUPPORTED, f"{name.decode()} of a later version")
        return at

    def _init_fini_at(self, va: int, capacity: int) -> int:
        return va + capacity * self._phdr_info.size

    def _grow(self, count: int) -> None:
        """Room for `count` entries of either table; what the TA wrote to its entries moves along."""
        if count <= self._capacity:
            return
        entry = self._phdr_info.size + self._init_fini.size
        pages = -(-max(count, 2 * self._capacity) * entry // PAGE)
        capacity = pages * PAGE // entry
        va = self._links.map(pages * PAGE, Prot.RW, "module tables")
        if self._filled:
            space = self._links.space
            old = space.read(self._init_fini_at(self._va, self._capacity), self._filled * self._init_fini.size)
            space.write(self._init_fini_at(va, capacity), old)
        self._va, self._capacity = va, capacity

    def _publish(self, info: int, count: int, entries: int) -> None:
        self._links.space.write(info, self._info.pack(0, count, 0, 0, entries))

    def _phdr_row(self, module: Loaded, info: int) -> bytes:
        obj = module.object
        name = info + ta_head.PHDR_INFO_ZERO if obj.soname is None else module.base + obj.soname
        return self._phdr_info.pack(
            module.base, name, module.phdr, len(obj.program_headers), 1, 0, module.tls_id, self._tls_data(module)
        )

    def _tls_data(self, module: Loaded) -> int:
        """ldelf puts the template's unrelocated address there on AArch64; libutee overwrites it for every caller."""
        return module.object.tls_start if module.object.layout.word == 8 else 0

    def _init_fini_row(self, module: Loaded) -> bytes:
        init, inits, fini, finis = module.object.init_fini
        return self._init_fini.pack(
            ta_head.IFS_VALID,
            inits & 0xFFFF,
            finis & 0xFFFF,
            init + module.base if init else 0,
            fini + module.base if fini else 0,
        )
