"""Builds the TAs that ship prebuilt, and compares: `python -m ta_loader.samples.build [--write] [--keep DIR]`.

The build is a function of the sources and the compiler alone: no paths, times or random padding get
in (PKCS#1 v1.5 signatures are deterministic), so the same compiler gives the same bytes.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from south.platform import Arch
from south.replacing import temporary_folder
from ta_loader import samples
from ta_loader.container.layout import RSASSA_PKCS1_V1_5_SHA256
from ta_loader.container.sign import sign
from ta_loader.machines import TA_ARCHES

HERE = Path(samples.FOLDER)
SOURCES = HERE / "src"
RUNTIME = (SOURCES / "runtime.c",)

COMPILER = {Arch.AARCH64: "aarch64-linux-gnu-gcc", Arch.ARM: "arm-linux-gnueabihf-gcc"}
STRIP = {Arch.AARCH64: "aarch64-linux-gnu-strip", Arch.ARM: "arm-linux-gnueabihf-strip"}

COMPILE = (
    "-O2 -g -ffreestanding -fPIC -fvisibility=hidden -fno-common -fno-stack-protector -fno-ident "
    "-fno-tree-loop-distribute-patterns -funwind-tables -Wall -Wextra -Werror"
).split()
LINK = (
    "-nostdlib -shared -Wl,--build-id=none -Wl,-z,max-page-size=4096 -Wl,-z,noexecstack -Wl,-z,norelro "
    "-Wl,--hash-style=both -Wl,--no-undefined -Wl,--fatal-warnings -Wl,-Bsymbolic"
).split()
MODE = {Arch.AARCH64: ("-march=armv8-a",), Arch.ARM: ("-marm", "-march=armv7-a+fp", "-fomit-frame-pointer")}
"""Instruction set: T32 where a TA asks for it with `extra`."""
HELLO_MODE: dict[Arch, tuple[str, ...]] = {Arch.AARCH64: (), Arch.ARM: ("-mthumb",)}
"""hello is T32 on arm, as the distribution's compiler makes it and as most 32-bit TAs are."""

MADE_WITH = "12.2.0"
"""Version of the compilers (Debian 12) that made the committed images; others may choose other instructions."""


class BuildError(Exception):
    """The compiler or linker refused; its words."""


class Recipe(NamedTuple):
    """One prebuilt TA.

    home: where its image lies. extra: compiler options of its own. script: linker script instead of the samples'.
    libraries: of the compiler, to link with; a TA with some is in C++, and has exceptions.
    """

    uuid: UUID
    arch: Arch
    home: Path
    sources: tuple[Path, ...]
    extra: tuple[str, ...] = ()
    script: Path = SOURCES / "ta.ld"
    libraries: tuple[str, ...] = ()

    @property
    def image(self) -> Path:
        return self.home / f"{self.uuid}.ta"


def hello_recipe(arch: Arch) -> Recipe:
    return Recipe(samples.HELLO[arch], arch, HERE, (SOURCES / "hello.c", SOURCES / "sha256.c"), HELLO_MODE[arch])


def available(arch: Arch) -> bool:
    """Whether this machine has the cross-compiler."""
    return shutil.which(COMPILER[arch]) is not None


def missing(recipe: Recipe) -> str:
    """The first compiler that a recipe needs and this machine lacks; "" if none."""
    compilers = [COMPILER[recipe.arch]]
    if any(source.suffix == ".cpp" for source in recipe.sources):
        compilers.append(COMPILER[recipe.arch].removesuffix("gcc") + "g++")
    return next((name for name in compilers if shutil.which(name) is None), "")


def compiler_version(arch: Arch) -> str:
    """What `-dumpfullversion` prints, "" without a compiler."""
    return _run(COMPILER[arch], "-dumpfullversion").strip() if available(arch) else ""


def _run(*command: str, folder: Path | None = None) -> str:
    """folder: to run it in (None: this one)."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, cwd=folder)
    if done.returncode:
        raise BuildError(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout


def compile_elf(recipe: Recipe, into: Path) -> Path:
    """Compile and link; the ELF at `<into>/<uuid>.elf` has debug information."""
    objects: list[str] = []
    desk = into / "sources"
    desk.mkdir()
    for folder in {SOURCES, *(source.parent for source in recipe.sources)}:
        for pattern in ("*.h", "*.c", "*.cpp"):
            for file in folder.glob(pattern):
                shutil.copy(file, desk)
    for source in (*RUNTIME, *recipe.sources):
        out = into / f"{recipe.uuid}-{source.stem}.o"
        standard = "-std=gnu++17" if source.suffix == ".cpp" else "-std=gnu11"
        flags = [
            standard,
            *COMPILE,
            *MODE[recipe.arch],
            *recipe.extra,
            # Bare names: sanitizers keep file names as they were given, whatever is mapped.
            "-I.",
            f"-ffile-prefix-map={desk}=.",
        ]
        _run(COMPILER[recipe.arch], *flags, "-c", source.name, "-o", str(out), folder=desk)
        objects.append(str(out))
    elf = into / f"{recipe.uuid}.elf"
    flags = [*LINK, *MODE[recipe.arch], *recipe.extra, f"-Wl,-T,{recipe.script}"]
    libraries = (
        ["-Wl,--eh-frame-hdr", "-Wl,--start-group", *recipe.libraries, "-Wl,--end-group"] if recipe.libraries else []
    )
    _run(COMPILER[recipe.arch], *flags, *objects, *libraries, "-o", str(elf))
    return elf


def build(recipe: Recipe, keep: Path | None = None) -> bytes:
    """The signed image; the ELF with debug information stays in `keep`, if given."""
    with temporary_folder("litebox-ta") as folder:
        elf = compile_elf(recipe, folder)
        if keep is not None:
            shutil.copy(elf, keep / elf.name)
        _run(STRIP[recipe.arch], "--strip-debug", str(elf))
        key = samples.private_key().read_bytes()
        return sign(elf.read_bytes(), key, recipe.uuid, algo=RSASSA_PKCS1_V1_5_SHA256)


def compare(recipes: tuple[Recipe, ...], write: bool, keep: Path | None) -> bool:
    """Build each and hold it against the committed image; True when all are the same."""
    same = True
    for recipe in recipes:
        image = build(recipe, keep)
        if write:
            recipe.image.write_bytes(image)
        match = recipe.image.is_file() and recipe.image.read_bytes() == image
        same = same and match
        print(f"{recipe.image.name} {recipe.arch.value:8} {len(image):6} bytes  {'same' if match else 'DIFFERS'}")
        if not match and (version := compiler_version(recipe.arch)) != MADE_WITH:
            print(f"  built with {COMPILER[recipe.arch]} {version}, the committed image with {MADE_WITH}")
    return same


def main(recipes: tuple[Recipe, ...] | None = None) -> int:
    parser = argparse.ArgumentParser(description="rebuild the prebuilt TAs and compare bit for bit")
    parser.add_argument("--write", action="store_true", help="replace the committed images")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave the ELF files with debug information there")
    options = parser.parse_args()
    chosen = recipes or tuple(hello_recipe(arch) for arch in TA_ARCHES)
    absent = sorted({name for r in chosen if (name := missing(r))})
    if absent:
        print(f"not installed: {', '.join(absent)}", file=sys.stderr)
        return 2
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
    try:
        return 0 if compare(chosen, options.write, options.keep) else 1
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
