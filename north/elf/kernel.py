"""What a Linux kernel makes of an ELF file that it is to execute: the policy of execve.

Nothing is mapped here: what a kernel finds only while it maps (segments that overlap, an address that no process may
have) is left to the caller. The errors are the kernel's. It does not look at EI_CLASS and EI_DATA; here they have to be
those of the machine.

Source: Linux 6.18 fs/binfmt_elf.c (`load_elf_binary`, `load_elf_phdrs`); elf(5). tests/north/elf/test_kernel.py asks
the host's kernel.
"""

from __future__ import annotations

from errno import EINVAL, EIO, ENOEXEC
from typing import TYPE_CHECKING, Final, NamedTuple

from south.platform import Arch

from . import abi
from .file import read_header, read_program_headers
from .tables import ElfError

if TYPE_CHECKING:
    from .file import Data, ProgramHeader

CLASSES: Final = {
    abi.EM_X86_64: abi.ELFCLASS64,
    Arch.AARCH64.elf_machine: abi.ELFCLASS64,
    Arch.ARM.elf_machine: abi.ELFCLASS32,
}
"""EI_CLASS of the programs of each machine."""
MAX_HEADERS_SIZE: Final = 65536
"""Bytes of program headers that the kernel reads."""
PATH_MAX: Final = 4096
"""Bytes of the interpreter's name with its NUL (<linux/limits.h>)."""


class ExecError(ElfError):
    """number: what execve fails with, of `errno`."""

    def __init__(self, number: int, detail: str) -> None:
        super().__init__(detail)
        self.number = number


class Executable(NamedTuple):
    """A program, or the interpreter of one. Addresses are those of the file; a movable one gets a base added."""

    machine: int
    """e_machine"""
    movable: bool
    """ET_DYN: it runs at any base."""
    entry: int
    loads: tuple[ProgramHeader, ...]
    """PT_LOADs in the file's order."""
    interpreter: bytes | None
    """Path of the dynamic linker, without its NUL."""
    headers: int
    """Address of the program headers in memory (AT_PHDR); 0 where no segment holds them."""
    header_size: int
    """Bytes of one (AT_PHENT)."""
    header_count: int
    """AT_PHNUM"""
    executable_stack: bool | None
    """By PT_GNU_STACK; None leaves it to the architecture."""
    tls: ProgramHeader | None
    """What each thread's block is made of (PT_TLS): the C library's affair, not the kernel's."""


def read_executable(data: Data) -> Executable:
    """ExecError: ENOEXEC and EIO as execve fails; EINVAL for segments that the kernel kills the new program for."""
    try:
        header = read_header(data)
    except ElfError as problem:
        raise ExecError(ENOEXEC, str(problem)) from None
    if header.type not in (abi.ET_EXEC, abi.ET_DYN):
        raise ExecError(ENOEXEC, "neither an executable nor a shared object")
    if header.encoding != abi.ELFDATA2LSB or CLASSES.get(header.machine) != header.elf_class:
        raise ExecError(ENOEXEC, f"ELF class {header.elf_class} for machine {header.machine}")
    size = header.layout.phdr.size
    if header.phentsize != size or not 0 < header.phnum * size <= MAX_HEADERS_SIZE:
        raise ExecError(ENOEXEC, "unexpected size or number of program headers")
    try:
        headers = read_program_headers(data, header)
    except ElfError as problem:
        raise ExecError(ENOEXEC, str(problem)) from None
    interpreter = _interpreter(data, headers)
    stack = _first(headers, abi.PT_GNU_STACK)
    loads = tuple(ph for ph in headers if ph.type == abi.PT_LOAD)
    if not loads:
        raise ExecError(EINVAL, "no loadable segments")
    for ph in loads:
        if ph.filesz > ph.memsz or ph.vaddr + ph.memsz > header.layout.mask:
            raise ExecError(EINVAL, f"segment at {ph.vaddr:#x} is larger in the file, or wraps around")
    return Executable(
        machine=header.machine,
        movable=header.type == abi.ET_DYN,
        entry=header.entry,
        loads=loads,
        interpreter=interpreter,
        headers=_headers_address(loads, header.phoff),
        header_size=size,
        header_count=header.phnum,
        executable_stack=None if stack is None else bool(stack.flags & abi.PF_X),
        tls=_first(headers, abi.PT_TLS),
    )


def _first(headers: list[ProgramHeader], kind: int) -> ProgramHeader | None:
    return next((ph for ph in headers if ph.type == kind), None)


def _interpreter(data: Data, headers: list[ProgramHeader]) -> bytes | None:
    ph = _first(headers, abi.PT_INTERP)
    if ph is None:
        return None
    if not 2 <= ph.filesz <= PATH_MAX:
        raise ExecError(ENOEXEC, "length of the interpreter's name")
    name = bytes(data[ph.offset : ph.offset + ph.filesz])
    if len(name) < ph.filesz:
        raise ExecError(EIO, "interpreter's name beyond the end of the file")
    if name[-1]:
        raise ExecError(ENOEXEC, "the interpreter's name does not end")
    return name.partition(b"\0")[0]


def _headers_address(loads: tuple[ProgramHeader, ...], offset: int) -> int:
    """Where the segment that holds them has them. PT_PHDR says the same; the kernel does not ask it."""
    for ph in loads:
        if ph.offset <= offset < ph.offset + ph.filesz:
            return offset - ph.offset + ph.vaddr
    return 0
