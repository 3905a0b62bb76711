"""Build and find the program that runs a C plugin, for this machine and, under qemu-user, for others.

A built program lives in lib/<triplet>/ here, or in the user's cache when the package's folder cannot be written to.
"""

from __future__ import annotations

import os
from pathlib import Path

from normal_world.libteec import INCLUDE, compile_with, compiler, digest_of, folders, in_first, up_to_date
from south.replacing import temporary_folder

HERE = Path(__file__).resolve().parent
FLAGS = ("-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-D_FILE_OFFSET_BITS=64")
PROGRAM = "plugin-host"
WHAT = "the helper of plugins"


def ensure(machine: str | None = None) -> Path:
    """The program for `machine` (None: this one; "aarch64", "arm"), of these very sources, built if need be.

    `BuildError`: it cannot be.
    """
    places = folders(machine, HERE)
    for folder in places:
        program, stamp = folder / PROGRAM, folder / "sources"
        if os.access(program, os.X_OK) and up_to_date(program, stamp, fingerprint):
            return program
    cc = compiler(machine, WHAT)
    return in_first(places, lambda folder: build(folder, cc), WHAT)


def build(out: Path, cc: str) -> Path:
    """Compile into the folder `out`, into place at once. `BuildError`; OSError: the folder cannot be written."""
    sources = sorted(str(path) for path in (HERE / "csrc").glob("*.c"))
    out.mkdir(parents=True, exist_ok=True)
    with temporary_folder("build", out) as work:
        made = work / PROGRAM
        compile_with([cc, *FLAGS, f"-I{INCLUDE}", *sources, "-o", str(made), "-ldl"], WHAT)
        os.replace(made, out / PROGRAM)
    (out / "sources").write_text(fingerprint() + "\n")
    return out / PROGRAM


def fingerprint() -> str:
    return digest_of([*sorted((HERE / "csrc").glob("*.[ch]")), INCLUDE / "tee_plugin_method.h"])
