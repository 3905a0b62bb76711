"""The test plugin, csrc/plugin.c, compiled as it is wanted."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path
from uuid import UUID

from normal_world.libteec import INCLUDE, BuildError, compiler

SOURCE = Path(__file__).with_name("csrc") / "plugin.c"
TEST_UUID = UUID("01020304-0506-0708-090a-0b0c0d0e0f01")
"""Of csrc/plugin.c; `last` is its last octet."""


def compile_plugin(
    out: Path, name: str = f"{TEST_UUID}.plugin", *, variant: str = "PLAIN", last: int = 1, machine: str | None = None
) -> Path:
    """`out`/`name`. variant: a name of csrc/plugin.c."""
    out.mkdir(exist_ok=True)
    flags = ["-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", f"-DVARIANT={variant}", f"-DLAST={last}"]
    command = [compiler(machine), *flags, f"-I{INCLUDE}", str(SOURCE), "-o", str(out / name)]
    subprocess.run(command, check=True, timeout=60)
    return out / name


@cache
def why_not(machine: str) -> str:
    """Why plugins for `machine` cannot be tried; "" if they can."""
    try:
        compiler(machine)
    except BuildError as problem:
        return str(problem)
    return "" if shutil.which(f"qemu-{machine}") or shutil.which(f"qemu-{machine}-static") else f"no qemu-{machine}"
