"""Builds `normal_world._transport`: `python -m normal_world.daemon.build_transport` in place, or cffi_modules.

libteec's own transport.c, and what the daemon adds to it. Paths are relative: it runs from the project root.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from cffi import FFI
from setuptools import Distribution

HERE = Path("normal_world/daemon/csrc")
CLIENT = Path("normal_world/libteec/src")
"""Where transport.c and protocol.h are: the same code at both ends of the socket."""

FLAGS = ["-std=gnu11", "-O2", "-pthread", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror"]
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


def build_in_place() -> None:
    """What `setup.py build_ext --inplace` does, with the objects in a temporary directory."""
    with tempfile.TemporaryDirectory() as temporary:
        module = "normal_world/daemon/build_transport.py:ffibuilder"
        dist = Distribution({"name": "normal_world", "packages": ["normal_world"], "cffi_modules": [module]})
        command = dist.get_command_obj("build_ext")
        command.inplace = True
        command.build_temp = temporary
        dist.run_command("build_ext")


if __name__ == "__main__":
    build_in_place()
