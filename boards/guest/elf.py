"""What an aarch64 program or a kernel module says that it needs.

`ta_loader.elf` reads TAs, and refuses what no TA may be; this reads Linux' objects, and only their needs.
Source: System V gABI chapter 5 (dynamic section); include/linux/moduleparam.h (.modinfo: "tag=value", zero between).
"""

from __future__ import annotations

from struct import error as StructError
from typing import TYPE_CHECKING

from south.errors import UsageError
from south.platform import Arch
from ta_loader.elf.abi import DT_NEEDED, DT_STRTAB, ELFCLASS64, ELFMAG, LAYOUT64, PT_DYNAMIC, PT_LOAD

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

MAX_NEEDED = 256
PT_INTERP = 3
_DYN = LAYOUT64.dyn


def is_aarch64(data: bytes) -> bool:
    header = data[: LAYOUT64.ehdr.size]
    if len(header) < LAYOUT64.ehdr.size or header[:4] != ELFMAG or header[4] != ELFCLASS64:
        return False
    return bool(LAYOUT64.ehdr.unpack(header)[2] == Arch.AARCH64.elf_machine)


def needed(data: bytes, what: str) -> list[str]:
    """Names of the shared objects that it loads. UsageError if it is damaged (`what` names it)."""
    try:
        return list(_needed(data))
    except (StructError, ValueError, UnicodeDecodeError) as problem:
        raise UsageError(f"{what}: is a damaged ELF file: {problem}") from None


def _needed(data: bytes) -> Iterator[str]:
    headers = _program_headers(data)
    dynamic = next(((h[2], h[5]) for h in headers if h[0] == PT_DYNAMIC), None)
    if dynamic is None:
        return
    start, size = dynamic
    rows = list(_DYN.iter_unpack(data[start : start + size - size % _DYN.size]))
    strings = next((value for tag, value in rows if tag == DT_STRTAB), None)
    wanted = [value for tag, value in rows if tag == DT_NEEDED]
    if not wanted:
        return
    if strings is None or len(wanted) > MAX_NEEDED:
        raise ValueError("its dynamic section has no string table, or too many entries")
    at = _file_offset(headers, strings)
    for offset in wanted:
        end = data.index(b"\0", at + offset)
        yield data[at + offset : end].decode()


def _program_headers(data: bytes) -> list[tuple[int, ...]]:
    """Elf64_Phdr: type, flags, offset, vaddr, paddr, filesz, memsz, align."""
    fields = LAYOUT64.ehdr.unpack_from(data)
    offset, size, count = fields[5], fields[9], fields[10]
    if not count:
        return []  # a kernel module, say
    if size != LAYOUT64.phdr.size or offset + size * count > len(data):
        raise ValueError("its program headers lie outside")
    return [LAYOUT64.phdr.unpack_from(data, offset + size * i) for i in range(count)]


def _file_offset(headers: list[tuple[int, ...]], address: int) -> int:
    for kind, _, offset, vaddr, _, filesz, _, _ in headers:
        if kind == PT_LOAD and vaddr <= address < vaddr + filesz:
            return offset + address - vaddr
    raise ValueError(f"address {address:#x} is in no segment")


def closure(programs: Mapping[str, bytes], libraries: Mapping[str, Path]) -> tuple[dict[str, Path], dict[str, str]]:
    """All that programs (by their name) load, and what that loads, out of `libraries` (by their soname).

    Returns the libraries found, and the names that are in none, each with who needs it first.
    """
    found: dict[str, Path] = {}
    missing: dict[str, str] = {}
    queue = [(name, library) for name, data in programs.items() for library in needed(data, name)]
    while queue:
        who, library = queue.pop()
        if library in found or library in missing:
            continue
        path = libraries.get(library)
        if path is None:
            missing[library] = who
            continue
        found[library] = path
        queue += [(library, other) for other in needed(path.read_bytes(), str(path))]
    return found, missing


def module_needs(data: bytes, what: str) -> list[str]:
    """Names of the modules that a kernel module depends on, of its section .modinfo."""
    try:
        for word in _section(data, b".modinfo").split(b"\0"):
            if word.startswith(b"depends="):
                return [name for name in word[8:].decode().split(",") if name]
    except (StructError, ValueError, UnicodeDecodeError, IndexError) as problem:
        raise UsageError(f"{what}: is a damaged kernel module: {problem}") from None
    return []


def _section(data: bytes, wanted: bytes) -> bytes:
    """Elf64_Shdr: name, type, flags, addr, offset, size, link, info, addralign, entsize."""
    fields = LAYOUT64.ehdr.unpack_from(data)
    offset, size, count, names = fields[6], fields[11], fields[12], fields[13]
    if size != LAYOUT64.shdr.size or offset + size * count > len(data):
        raise ValueError("its section headers lie outside")
    sections = [LAYOUT64.shdr.unpack_from(data, offset + size * i) for i in range(count)]
    strings = data[sections[names][4] : sections[names][4] + sections[names][5]]
    for section in sections:
        if strings[section[0] :].partition(b"\0")[0] == wanted:
            return data[section[4] : section[4] + section[5]]
    raise ValueError(f"it has no section {wanted.decode()}")
