"""Builds `normal_world._transport`, the daemon's end of the socket in C (cffi API mode); setup.py names it.

libteec's own transport.c, and what the daemon adds to it. Paths are relative: it runs from the project root.
"""

from __future__ import annotations

from pathlib import Path

from cffi import FFI

HERE = Path("normal_world/daemon/csrc")
CLIENT = Path("normal_world/libteec/src")
"""Where transport.c and protocol.h are: the same code at both ends of the socket."""

FLAGS = ["-std=gnu11", "-O2", "-pthread", "-fvisibility=hidden", "-Wall", "-Wextra"]
GENERATED = ["-Wno-unused-parameter", "-Wno-missing-field-initializers", "-Wno-cast-function-type"]
"""What cffi's own generated file needs."""


def declarations() -> str:
    """The part of exchange.h that Python sees."""
    text = (HERE / "exchange.h").read_text()
    return text.split("/* cffi: begin */")[1].split("/* cffi: end */")[0]


ffibuilder = FFI()
if HERE.is_dir():
    ffibuilder.cdef(declarations())
    ffibuilder.set_source(
        "normal_world._transport",
        '#include "exchange.h"',
        sources=[str(HERE / "exchange.c"), str(CLIENT / "transport.c")],
        depends=[str(path) for folder in (HERE, CLIENT) for path in sorted(folder.glob("*.h"))],
        include_dirs=[str(HERE), str(CLIENT)],
        extra_compile_args=[*FLAGS, *GENERATED],
        extra_link_args=["-pthread"],
    )
