"""Builds the shim, and compares: `python -m south.qemu_arm.build [--write]`.

The build is a function of `shim.S`, `layout.py` and the assembler alone, so the same binutils give the same bytes.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from south.qemu_arm import layout
from south.replacing import temporary_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

SOURCE = Path(__file__).with_name("shim.S")
IMAGE = Path(__file__).with_name("shim.bin")
PREFIX = "aarch64-linux-gnu-"
TOOLS = tuple(PREFIX + name for name in ("gcc", "ld", "objcopy"))


class BuildError(Exception):
    """A tool refused; its words."""


def missing() -> list[str]:
    """Names of the tools that this machine lacks."""
    return [tool for tool in TOOLS if shutil.which(tool) is None]


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode or done.stderr:
        raise BuildError(f"{' '.join(command)}\n{done.stderr}")


def assemble(source: Path, address: int, defines: Mapping[str, object] | None = None) -> bytes:
    """A flat image of an assembly file, linked to run at `address`; `layout.h` is there to include."""
    with temporary_folder("litebox-shim") as folder:
        (folder / "layout.h").write_text(layout.header())
        built, linked, flat = (str(folder / f"image.{end}") for end in ("o", "elf", "bin"))
        flags = ("-march=armv8-a", "-Wall", "-Werror", "-Wa,--fatal-warnings", f"-I{folder}")
        macros = [f"-D{name}={value}" for name, value in (defines or {}).items()]
        _run(TOOLS[0], *flags, *macros, "-c", str(source), "-o", built)
        _run(TOOLS[1], f"-Ttext={address:#x}", "--fatal-warnings", "--build-id=none", "-e", f"{address:#x}", built,
             "-o", linked)  # fmt: skip
        _run(TOOLS[2], "-O", "binary", linked, flat)
        return Path(flat).read_bytes()


def main() -> int:
    parser = argparse.ArgumentParser(description="rebuild the shim and compare bit for bit")
    parser.add_argument("--write", action="store_true", help="replace the committed image")
    options = parser.parse_args()
    if lacking := missing():
        print(f"not installed: {', '.join(lacking)}", file=sys.stderr)
        return 2
    try:
        image = assemble(SOURCE, layout.SHIM_BASE)
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    if options.write:
        IMAGE.write_bytes(image)
    same = IMAGE.is_file() and IMAGE.read_bytes() == image
    print(f"{IMAGE.name} {len(image):6} bytes  {'same' if same else 'DIFFERS'}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
