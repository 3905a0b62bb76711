"""How a program is started: as it is, or under qemu-user with another machine's libraries.

qemu-user hands `execve` to the host, which does not know the foreign program. So what the guest calls
itself, and each program of the sysroot, is a script of ours that starts qemu again: a program that runs
`system(argv[0])`, or another one by name, needs no binfmt_misc.
"""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path
from typing import NamedTuple

from north.elf.abi import ELFDATA2LSB, EM_X86_64
from north.elf.file import HEADER_SIZE, read_header
from north.elf.tables import ElfError
from south.errors import UsageError
from south.platform import Arch

MACHINES = {EM_X86_64: "x86_64", Arch.AARCH64.elf_machine: "aarch64", Arch.ARM.elf_machine: "arm"}
"""Architectures by e_machine, as Linux names them."""
BIN_FOLDERS = ("usr/bin", "bin", "usr/sbin", "sbin")


class Program(NamedTuple):
    """path: of the file; machine: its architecture by Linux's name, None for what is no ELF file (a script)."""

    path: str
    machine: str | None


def find_program(name: str, sysroot: str | None) -> Program:
    """`name` as a shell finds it; with a sysroot, also below that. UsageError."""
    candidates = [name] if "/" in name else [found for found in (shutil.which(name),) if found]
    if sysroot is not None:
        inside = (os.path.join(sysroot, folder, name) for folder in BIN_FOLDERS) if "/" not in name else ()
        candidates = [*inside, *candidates, os.path.join(sysroot, name.lstrip("/"))]
    for path in candidates:
        if os.path.isfile(path):
            if not os.access(path, os.X_OK):
                raise UsageError(f"{path} is not executable")
            return Program(os.path.abspath(path), machine_of(path))
    raise UsageError(f"{name}: no such program{'' if sysroot is None else f', nor one in {sysroot}'}")


def machine_of(path: str) -> str | None:
    """The architecture an ELF file is for; None if it is no ELF file. UsageError for one nobody here runs."""
    with open(path, "rb") as file:
        head = file.read(HEADER_SIZE)
    try:
        header = read_header(head)
    except ElfError:
        return None
    name = MACHINES.get(header.machine)
    if name is None or header.encoding != ELFDATA2LSB:
        raise UsageError(f"{path} is for a machine (ELF e_machine {header.machine}) that litebox-ta has no libteec for")
    return name


def foreign(program: Program) -> bool:
    return program.machine is not None and program.machine != os.uname().machine


def qemu(machine: str) -> str:
    """The emulator. UsageError if it is not installed."""
    for name in (f"qemu-{machine}", f"qemu-{machine}-static"):
        found = shutil.which(name)
        if found:
            return found
    raise UsageError(f"a program for {machine} needs qemu-{machine}; on Debian and Ubuntu: apt-get install qemu-user")


class Launcher:
    """Makes command lines and wrapper scripts in `folder`, which the caller removes.

    library: folder with our libteec for the program's machine; sysroot: root of a foreign machine's libraries.
    """

    def __init__(self, folder: str, program: Program, library: str, sysroot: str | None) -> None:
        self._folder = Path(folder)
        self._program = program
        self._library = library
        self._sysroot = sysroot

    def command(self, arguments: list[str]) -> list[str]:
        if not foreign(self._program):
            return [self._program.path, *arguments]
        wrapper = self._wrap(self._program.path, self._folder / "self")
        return [str(wrapper), *arguments]

    def environment(self, socket: str) -> dict[str, str]:
        """For the program: where the daemon is, and which libteec is meant."""
        out = {**os.environ, "LITEBOX_SOCKET": socket}
        if foreign(self._program):
            programs = self._wrap_sysroot()
            out["PATH"] = os.pathsep.join([*([str(programs)] if programs else []), out.get("PATH", os.defpath)])
        else:
            out["LD_LIBRARY_PATH"] = _before(self._library, out.get("LD_LIBRARY_PATH"))
        return out

    def _wrap(self, path: str, folder: Path) -> Path:
        """A script that runs the foreign program `path` under its own name."""
        assert self._program.machine is not None
        folder.mkdir(exist_ok=True)
        script = folder / os.path.basename(path)
        words = [qemu(self._program.machine)]
        if self._sysroot is not None:
            words += ["-L", os.path.abspath(self._sysroot)]
        words += ["-E", f"LD_LIBRARY_PATH={self._library}", "-0", str(script), path]
        script.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        script.chmod(0o700)
        return script

    def _wrap_sysroot(self) -> Path | None:
        """A folder for PATH with a wrapper of each program of the sysroot that is for the same machine."""
        if self._sysroot is None:
            return None
        out = self._folder / "bin"
        out.mkdir(exist_ok=True)
        for folder in BIN_FOLDERS:
            place = Path(self._sysroot) / folder
            for path in sorted(place.iterdir()) if place.is_dir() else ():
                try:
                    wanted = path.is_file() and machine_of(str(path)) == self._program.machine
                except (UsageError, OSError):
                    continue
                if wanted and not (out / path.name).exists():
                    self._wrap(str(path), out)
        return out


def _before(folder: str, rest: str | None) -> str:
    return f"{folder}:{rest}" if rest else folder
