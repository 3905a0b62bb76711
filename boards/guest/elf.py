"""What an aarch64 program or a kernel module says that it needs.

Of Linux' objects only their needs are read: what else is in them, the guest's kernel judges.
Source: System V gABI chapter 5 (dynamic section); include/linux/moduleparam.h (.modinfo: "tag=value", zero between).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from north.elf.abi import DT_NEEDED, ELFCLASS64
from north.elf.file import Elf, read_header
from north.elf.tables import ElfError
from south.errors import UsageError
from south.platform import Arch

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MAX_NEEDED = 256


def is_aarch64(data: bytes) -> bool:
    try:
        header = read_header(data)
    except ElfError:
        return False
    return header.elf_class == ELFCLASS64 and header.machine == Arch.AARCH64.elf_machine


def needed(data: bytes, what: str) -> list[str]:
    """Names of the shared objects that it loads. UsageError if it is damaged (`what` names it)."""
    try:
        names = Elf(data).dynamic_strings(DT_NEEDED, MAX_NEEDED)
        return [name.decode() for name in names]
    except ElfError as problem:
        raise UsageError(f"{what}: is a damaged ELF file: {problem}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{what}: is a damaged ELF file: a name in it is no text") from None


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
        elf = Elf(data)
        section = elf.section(b".modinfo")
        if section is None:
            raise ElfError("it has no section .modinfo")
        for word in bytes(elf.content(section)).split(b"\0"):
            if word.startswith(b"depends="):
                return [name for name in word[8:].decode().split(",") if name]
    except ElfError as problem:
        raise UsageError(f"{what}: is a damaged kernel module: {problem}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{what}: is a damaged kernel module: a name in it is no text") from None
    return []
