"""The guest's RAM as `south.platform.NormalMemory`: a memfd that QEMU and this process both map.

The guest changes it whenever it likes. What is read here is a copy; `pages` are the memory itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from south.linux_host.memory import HostPages, MappedPages, ScatteredPages
from south.platform import PAGE
from south.qemu_arm import layout

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHIM_START = layout.SHIM_BASE - layout.RAM_BASE
_SHIM_END = _SHIM_START + layout.SHIM_SIZE


class GuestMemory:
    """RAM from `layout.RAM_BASE` on but for the shim's pages, which are not the kernel's to name.

    size: bytes, whole pages, and room for a kernel behind the shim.
    """

    def __init__(self, size: int) -> None:
        if size % PAGE or size <= layout.KERNEL_BASE - layout.RAM_BASE:
            raise ValueError(f"guest RAM of {size} bytes: whole pages and more than {layout.KERNEL_BASE:#x} needed")
        # Sealed: not even a QEMU that was taken over can shrink it under us.
        self.ram: MappedPages = HostPages().shared(size)
        self._view = self.ram.view(0, size)

    @property
    def size(self) -> int:
        """Bytes, the shim's included."""
        return self.ram.size

    @property
    def fd(self) -> int:
        """The memfd, for QEMU to inherit."""
        assert self.ram.fd is not None
        return self.ram.fd

    @property
    def shim(self) -> memoryview:
        """The shim's pages, for who serves its doorbell."""
        return self.ram.view(_SHIM_START, layout.SHIM_SIZE)

    def _offset(self, address: int, size: int) -> int:
        start = address - layout.RAM_BASE
        end = start + size
        if start < 0 or size < 0 or end > self.ram.size or (start < _SHIM_END and end > _SHIM_START):
            raise ValueError(f"[{address:#x}, {address + size:#x}) is not the normal world's RAM")
        return start

    def read(self, address: int, size: int) -> bytes:
        start = self._offset(address, size)
        return bytes(self._view[start : start + size])

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        raw = memoryview(data).cast("B")
        start = self._offset(address, len(raw))
        self._view[start : start + len(raw)] = raw

    def pages(self, pieces: Sequence[tuple[int, int]]) -> ScatteredPages:
        if not pieces:
            raise ValueError("no pages")
        return ScatteredPages([(self.ram, self._offset(address, size), size) for address, size in pieces])
