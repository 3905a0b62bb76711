"""ELF files to read: those of this host, and copies with other bytes."""

from __future__ import annotations

import functools
import io
import struct
from pathlib import Path
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile

from north.elf import abi
from north.elf.file import Elf
from north.elf.tables import ElfError, read_symbols, string_at

FIELDS = {
    "magic": (0, "<I"),
    "class": (4, "<B"),
    "encoding": (5, "<B"),
    "type": (16, "<H"),
    "machine": (18, "<H"),
    "phoff": (32, "<Q"),
    "shoff": (40, "<Q"),
    "phentsize": (54, "<H"),
    "phnum": (56, "<H"),
    "shentsize": (58, "<H"),
    "shnum": (60, "<H"),
    "shstrndx": (62, "<H"),
}
"""Of Elf64_Ehdr: place and format."""
SEGMENT_FIELDS = {"type": (0, "<I"), "offset": (8, "<Q"), "filesz": (32, "<Q"), "memsz": (40, "<Q")}
"""Of Elf64_Phdr."""


@functools.cache
def host_programs() -> tuple[Path, ...]:
    """Every ELF file of /usr/bin and /usr/sbin."""
    found = []
    for path in sorted({*Path("/usr/bin").iterdir(), *Path("/usr/sbin").iterdir()}):
        try:
            with path.open("rb") as file:
                if file.read(4) == b"\x7fELF" and not path.is_symlink():
                    found.append(path)
        except OSError:
            continue
    return tuple(found)


@functools.cache
def program() -> bytes:
    """A small program of this host, of 64 bits and with a dynamic linker."""
    data = Path("/usr/bin/true").read_bytes()
    if data[:5] != b"\x7fELF\2":
        pytest.skip("/usr/bin/true is not an ELF file of 64 bits")
    return data


def oracle(data: bytes) -> Any:
    """The same file through pyelftools."""
    return ELFFile(io.BytesIO(data))


def changed(data: bytes, **fields: int) -> bytes:
    """With other fields in its header (`FIELDS`)."""
    raw = bytearray(data)
    for name, value in fields.items():
        struct.pack_into(FIELDS[name][1], raw, FIELDS[name][0], value)
    return bytes(raw)


def segment_changed(data: bytes, kind: str, **fields: int) -> bytes:
    """With other fields (`SEGMENT_FIELDS`) in all its program headers of a kind."""
    raw = bytearray(data)
    file = oracle(data)
    for index, segment in enumerate(file.iter_segments()):
        if segment["p_type"] == kind:
            start = file.header["e_phoff"] + index * file.header["e_phentsize"]
            for name, value in fields.items():
                at, layout = SEGMENT_FIELDS[name]
                struct.pack_into(layout, raw, start + at, value)
    return bytes(raw)


def ask_everything(data: bytes) -> None:
    """Whatever can be asked of a file: an ElfError is an answer, anything else is raised."""
    for lenient in (False, True):
        try:
            elf = Elf(data, lenient=lenient)
        except ElfError:
            return
        for ask in (_headers, _contents, _addresses, _dynamic, _symbols, _notes):
            try:
                ask(elf)
            except ElfError:
                pass


def _headers(elf: Elf) -> None:
    for section in elf.sections[:100]:
        elf.section(elf.name_of(section))


def _contents(elf: Elf) -> None:
    for section in elf.sections:
        try:
            assert len(elf.content(section)) <= len(elf.data)
        except ElfError:
            pass


def _addresses(elf: Elf) -> None:
    for ph in elf.program_headers:
        try:
            assert len(elf.at(ph.vaddr, 8, "a word")) == 8
        except ElfError:
            pass


def _dynamic(elf: Elf) -> None:
    for tag in (abi.DT_NEEDED, abi.DT_SONAME):
        assert len(elf.dynamic_strings(tag, 64)) <= 64


def _symbols(elf: Elf) -> None:
    for section in elf.sections:
        if section.type in (abi.SHT_DYNSYM, abi.SHT_SYMTAB):
            for name, *_ in read_symbols(elf.content(section), elf.layout, 1000):
                string_at(elf.data, name)


def _notes(elf: Elf) -> None:
    for note in elf.notes():
        assert len(note.name) + len(note.content) <= len(elf.data)
