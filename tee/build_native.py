"""Builds `tee._native`, the TEE's C part (cffi API mode); setup.py names it.

Paths are relative: it runs from the project root. Needs cffi, a C compiler and libcrypto >= 3.0.
"""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

from cffi import FFI

HERE = Path("tee/csrc")
DISPATCH = Path("south/engine/csrc")
"""Where dispatch.h is: the seam with CPU engines."""

SOURCES = (
    "ae",
    "algo",
    "asymcalls",
    "calls",
    "cbcmac",
    "ccm",
    "cipher",
    "cts",
    "ec",
    "edctx",
    "edwards",
    "finals",
    "finite",
    "gcmnonce",
    "keccak",
    "key",
    "log",
    "native",
    "objcalls",
    "oneshot",
    "parked",
    "pbkdf2",
    "pkey",
    "ready",
    "readytask",
    "rsa",
    "rsagen",
    "rsapub",
    "sm2",
    "sm2kep",
    "sm2pke",
    "state",
    "task",
    "user",
    "wei",
    "xts",
)

COMPILE = ["-std=gnu11", "-O2", "-pthread", "-fvisibility=hidden"]
WARNINGS = ["-Wall", "-Wextra"]
GENERATED = ["-Wno-unused-parameter", "-Wno-missing-field-initializers", "-Wno-cast-function-type"]
"""What cffi's own generated file needs."""


def declarations(root: Path = Path()) -> str:
    """The part of native.h that Python sees. root: the project's folder."""
    text = (root / HERE / "native.h").read_text()
    return text.split("/* cffi: begin */")[1].split("/* cffi: end */")[0]


def libcrypto(what: str) -> list[str]:
    """Flags pkg-config knows; without it, the linker's default search."""
    try:
        done = subprocess.run(["pkg-config", what, "libcrypto"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ["-lcrypto"] if what == "--libs" else []
    return shlex.split(done.stdout)


ffibuilder = FFI()
if HERE.is_dir():
    ffibuilder.cdef(declarations())
    ffibuilder.set_source(
        "tee._native",
        '#include "native.h"',
        sources=[str(HERE / f"{name}.c") for name in SOURCES],
        depends=[str(path) for path in sorted(HERE.glob("*.h"))] + [str(DISPATCH / "dispatch.h")],
        include_dirs=[str(HERE), str(DISPATCH)],
        extra_compile_args=[*COMPILE, *WARNINGS, *GENERATED, *libcrypto("--cflags")],
        extra_link_args=["-pthread", *libcrypto("--libs")],
    )
