"""Tools for the tests of the ELF loader: an address space without a CPU, cross compilers, and pyelftools as oracle."""

from __future__ import annotations

import functools
import hashlib
import io
import mmap
import random
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import pytest
from elftools.elf.elffile import ELFFile

from north.memory import AddressSpace
from south.platform import Arch, Pages, Prot, RegionFlag, Space
from ta_loader.elf.object import ElfObject
from tee.abi.results import ITEM_NOT_FOUND
from tee.abi.ta_head import NO_DEPR_ENTRY, TA_HEAD
from tee.errors import TeeError

if TYPE_CHECKING:
    from collections.abc import Sequence

COMPILERS = {Arch.AARCH64: "aarch64-linux-gnu-gcc", Arch.ARM: "arm-linux-gnueabihf-gcc"}

MAIN = UUID("11111111-2222-3333-4444-555555555555")
LIB_A = UUID("aaaaaaaa-0000-0000-0000-000000000001")
LIB_B = UUID("bbbbbbbb-0000-0000-0000-000000000002")
LIB_C = UUID("cccccccc-0000-0000-0000-000000000003")

LINKER_SCRIPT = """
ENTRY(entry)
SECTIONS {
    . = 0;
    .ta_head : { KEEP(*(.ta_head)) }
    .text : { *(.text .text.*) }
    .plt : { *(.plt) }
    .rodata : { *(.rodata .rodata.*) }
    .ARM.exidx : { *(.ARM.exidx*) }
    .dynsym : { *(.dynsym) }
    .dynstr : { *(.dynstr) }
    .hash : { *(.hash) }
    .gnu.hash : { *(.gnu.hash) }
    . = ALIGN(4096);
    .dynamic : { *(.dynamic) }
    .tdata : { *(.tdata .tdata.*) }
    .tbss : { *(.tbss .tbss.*) }
    .got : { *(.got.plt) *(.got) }
    .init_array : { *(.init_array) }
    .fini_array : { *(.fini_array) }
    .data : { *(.data .data.*) }
    .bss : { *(.bss .bss.* COMMON) }
}
"""
"""As OP-TEE's ta.ld.S places things: no ELF header in the first segment, which begins at address 0."""

HEAD = """
struct ta_head { unsigned char uuid[16]; unsigned stack, flags; unsigned long long entry; };
__attribute__((section(".ta_head"), used)) const struct ta_head ta_head = {
    {0x11,0x11,0x11,0x11,0x22,0x22,0x33,0x33,0x44,0x44,0x55,0x55,0x55,0x55,0x55,0x55}, 8192, 8, ~0ull };
struct { unsigned reserved; unsigned short count; unsigned char pad; char zero; void *dlpi; } __elf_phdr_info;
void entry(void) {}
"""


class FakePages:
    """Host memory that is committed as it is touched."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._view = memoryview(mmap.mmap(-1, size))
        self.runs: Sequence[tuple[int, int]] = ((0, size),)
        self.identity = id(self)

    def view(self, offset: int, size: int) -> memoryview:
        if not 0 <= offset <= offset + size <= self.size:
            raise ValueError("outside the pages")
        return self._view[offset : offset + size]


class FakeTable:
    """A region table alone; enough of `south.platform.Space` for an `AddressSpace`."""

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        self._maps: dict[int, tuple[int, Pages, int]] = {}

    def map(self, va: int, size: int, prot: Prot, flags: RegionFlag, pages: Pages, offset: int) -> None:
        self._maps[va] = (size, pages, offset)

    def unmap(self, va: int, size: int) -> None:
        assert self._maps.pop(va)[0] == size, "tests unmap whole regions"

    def protect(self, va: int, size: int, prot: Prot) -> None:
        raise AssertionError("the loader maps with final permissions")

    def _find(self, va: int, size: int) -> memoryview | None:
        for start, (length, pages, offset) in self._maps.items():
            if start <= va and va + size <= start + length:
                return pages.view(offset + va - start, size)
        return None

    def read(self, va: int, size: int, need: Prot) -> bytes | None:
        found = self._find(va, size)
        return None if found is None else bytes(found)

    def write(self, va: int, data: bytes | bytearray | memoryview, need: Prot) -> bool:
        found = self._find(va, len(data))
        if found is None:
            return False
        found[:] = data
        return True


class SeededEntropy:
    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def fill(self, size: int) -> bytes:
        return self._random.randbytes(size)


def make_space(arch: Arch, quota: int = 32 << 20, seed: int = 1) -> AddressSpace:
    return AddressSpace(cast("Space", FakeTable(arch)), FakePages(quota), SeededEntropy(seed), quota)


class Box:
    """A container as the loader sees it."""

    def __init__(self, elf: bytes) -> None:
        self.elf = memoryview(elf)
        self.version = 7
        self.digest = hashlib.sha256(elf).digest()


class Boxes:
    """A store of containers in memory."""

    def __init__(self, files: dict[UUID, bytes]) -> None:
        self.boxes = {uuid: Box(elf) for uuid, elf in files.items()}

    def find(self, uuid: UUID) -> Box:
        try:
            return self.boxes[uuid]
        except KeyError:
            raise TeeError(ITEM_NOT_FOUND, f"no TA {uuid}") from None


@functools.cache
def build(
    arch: Arch, source: str, *options: str, uuid: UUID = MAIN, needs: tuple[tuple[UUID, bytes], ...] = ()
) -> bytes:
    """A shared object of `source`; `needs` become its DT_NEEDED. Main objects have no ELF header in memory."""
    compiler = shutil.which(COMPILERS[arch])
    if compiler is None:
        pytest.skip(f"{COMPILERS[arch]} is not installed")
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        (work / "a.c").write_text(source)
        arguments = [compiler, "-Os", "-fPIC", "-shared", "-nostdlib", "-ffreestanding", "-Wl,-z,max-page-size=4096"]
        if uuid == MAIN:
            (work / "ta.ld").write_text(LINKER_SCRIPT)
            arguments += ["-Wl,-T," + str(work / "ta.ld"), "-Wl,--no-warn-rwx-segments"]
        arguments += ["-Wl,--build-id=none", f"-Wl,-soname,{uuid}", "-o", str(work / "out"), str(work / "a.c")]
        for other, elf in needs:
            (work / f"{other}.so").write_bytes(elf)
            arguments += ["-Wl,--no-as-needed", str(work / f"{other}.so")]
        arguments += options
        done = subprocess.run(arguments, capture_output=True, text=True, check=False)
        assert not done.returncode, done.stderr
        return (work / "out").read_bytes()


def elf_of(ta: Path) -> bytes:
    """The ELF file at the end of a plain signed TA."""
    data = ta.read_bytes()
    return data[data.index(b"\x7fELF") :]


def parsed(elf: bytes, main: bool = True) -> ElfObject:
    return ElfObject(elf, main=main)


class Oracle:
    """The same file through pyelftools."""

    def __init__(self, elf: bytes) -> None:
        self.file: Any = ELFFile(io.BytesIO(elf))
        self.dynsym: Any = next((s for s in self.file.iter_sections() if s["sh_type"] == "SHT_DYNSYM"), None)

    def symbol(self, name: str) -> Any:
        """First defined global or weak symbol, or None."""
        found = (self.dynsym.get_symbol_by_name(name) if self.dynsym is not None else None) or []
        return next((s for s in found if s["st_shndx"] != "SHN_UNDEF"), None)

    def value(self, name: str) -> int:
        return int(self.symbol(name)["st_value"])

    def relocations(self) -> list[tuple[int, int, int, Any]]:
        """(offset, type, addend, symbol or None) of every SHT_REL and SHT_RELA section."""
        out: list[tuple[int, int, int, Any]] = []
        for section in self.file.iter_sections():
            if section["sh_type"] not in ("SHT_REL", "SHT_RELA"):
                continue
            table = self.file.get_section(section["sh_link"])
            for row in section.iter_relocations():
                number = row["r_info_sym"]
                symbol = table.get_symbol(number) if number else None
                addend = row["r_addend"] if section["sh_type"] == "SHT_RELA" else self.word(row["r_offset"])
                out.append((row["r_offset"], row["r_info_type"], addend, symbol))
        return out

    def word(self, vaddr: int) -> int:
        size = 8 if self.file.elfclass == 64 else 4
        for segment in self.file.iter_segments():
            at = vaddr - segment["p_vaddr"]
            if segment["p_type"] == "PT_LOAD" and 0 <= at < segment["p_memsz"]:
                return int.from_bytes(segment.data()[at : at + size], "little")
        raise AssertionError(hex(vaddr))


def with_head(elf: bytes, **fields: int) -> bytes:
    """A main object with other fields in its `struct ta_head`, which is at its start."""
    obj = parsed(elf)
    offset = elf.index(obj.head)
    uuid, stack, flags, entry = TA_HEAD.unpack(obj.head)
    head = TA_HEAD.pack(
        uuid, fields.get("stack", stack), fields.get("flags", flags), fields.get("entry", entry) & NO_DEPR_ENTRY
    )
    return elf[:offset] + head + elf[offset + len(head) :]
