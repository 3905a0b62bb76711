"""Build and find the C client library, `libteec.so.2` and `.so.1`.

Its sources lie beside this module in libteec/. A built library lives in a folder of its own for each machine,
libteec/lib/<triplet>/, or in the user's cache when the package's folder cannot be written to.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from south.replacing import temporary_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

HERE = Path(__file__).resolve().parent / "libteec"
INCLUDE = HERE / "include"
"""The public headers."""

REAL = "libteec.so.2.0.0"
LINKS = {"libteec.so.2.0": REAL, "libteec.so.2": REAL, "libteec.so": "libteec.so.2"}
OLD = "libteec.so.1"
"""The same code under the soname of optee_client before 4.0."""

PKG_CONFIG = "pkgconfig"
"""Folder of libteec.pc, beside the library."""
VERSION = "2.0.0"
"""Of the interface: optee_client's since 4.0."""

FLAGS = ("-std=gnu11", "-O2", "-g", "-fPIC", "-pthread", "-Wall", "-Wextra", "-D_FILE_OFFSET_BITS=64")
TIMEOUT = 120
"""Seconds for one run of the compiler."""

TRIPLETS = {"x86_64": "x86_64-linux-gnu", "aarch64": "aarch64-linux-gnu", "arm": "arm-linux-gnueabihf"}
"""Machines by multiarch name; others are named as the compiler names them."""
C_LIBRARIES = {"aarch64-linux-gnu": "libc6-dev-arm64-cross", "arm-linux-gnueabihf": "libc6-dev-armhf-cross"}
"""Debian's packages of C libraries for other machines: its cross-compilers come without."""
_ALIASES = {"amd64": "x86_64", "arm64": "aarch64", "armv7l": "arm", "armv8l": "arm", "armhf": "arm"}


class BuildError(Exception):
    """The library cannot be built; says why, and what to do."""


class NoCompiler(BuildError):
    """There is nothing to build it with."""


def triplet(machine: str | None = None) -> str:
    """Multiarch triplet of `machine` (None: this one)."""
    name = (machine or platform.machine()).lower()
    name = _ALIASES.get(name, name)
    return TRIPLETS.get(name, f"{name}-linux-gnu")


def compiler(machine: str | None = None, what: str = "libteec") -> str:
    """The C compiler for `machine`; `NoCompiler` if there is none. what: is to be built, for messages."""
    target = triplet(machine)
    native = target == triplet()
    names = ["cc", "gcc", "clang"] if native else [f"{target}-gcc"]
    if native and os.environ.get("CC"):
        names.insert(0, os.environ["CC"])
    name = next((name for name in names if shutil.which(name)), None)
    if name is None:
        package = "gcc" if native else f"gcc-{target}"
        raise NoCompiler(f"{what} for {target}: no compiler ({' or '.join(names)}); Debian and Ubuntu: {package}")
    if not native and not has_c_library(name):
        package = C_LIBRARIES.get(target, "a libc6-dev for it")
        raise NoCompiler(f"{what} for {target}: {name} has no C library; Debian and Ubuntu: {package}")
    return name


@cache
def has_c_library(cc: str) -> bool:
    """Whether `cc` is installed and finds a C library's headers."""
    command = [cc, "-E", "-x", "c", "-o", os.devnull, "-"]
    try:
        done = subprocess.run(
            command, input=b"#include <pthread.h>\n", capture_output=True, timeout=TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def build(out: Path, cc: str = "cc") -> Path:
    """Compile into the folder `out`, all names at once; returns `out`/libteec.so.2. `BuildError`."""
    if shutil.which(cc) is None:
        raise BuildError(f"libteec: the compiler {cc} is not installed")
    sources = sorted(str(path) for path in (HERE / "src").glob("*.c"))
    if not sources:
        raise BuildError(f"libteec: no sources in {HERE / 'src'}")
    out.mkdir(parents=True, exist_ok=True)
    command = [cc, *FLAGS, "-shared", f"-I{INCLUDE}", f"-I{HERE / 'src'}", *sources]
    command += [f"-Wl,--version-script={HERE / 'libteec.map'}", "-Wl,-z,relro,-z,now", "-Wl,--no-undefined"]
    with temporary_folder("build", out) as work:
        for name, soname in ((REAL, "libteec.so.2"), (OLD, OLD)):
            compile_with([*command, f"-Wl,-soname,{soname}", "-o", str(work / name)])
        for link, target in LINKS.items():
            (work / link).symlink_to(target)
        # Into place one by one, each whole; the links last, for then what they point to is there.
        for name in (REAL, OLD, *LINKS):
            os.replace(work / name, out / name)
    describe(out)
    (out / "sources").write_text(fingerprint() + "\n")
    return out / "libteec.so.2"


def describe(out: Path) -> None:
    """Write libteec.pc (pkg-config). It moves with its folder, and also with the headers where they lie beside it."""
    (out / PKG_CONFIG).mkdir(exist_ok=True)
    beside = out.parent.name == "lib" and out.parent.parent.name == HERE.name
    (out / PKG_CONFIG / "libteec.pc").write_text(
        f"libdir=${{pcfiledir}}/..\nincludedir={'${pcfiledir}/../../../include' if beside else INCLUDE}\n\n"
        f"Name: libteec\nDescription: TEE Client API of GlobalPlatform (LiteBox)\nVersion: {VERSION}\n"
        "Cflags: -I${includedir}\nLibs: -L${libdir} -lteec\n"
    )


def find(machine: str | None = None) -> Path | None:
    """libteec.so.2 for `machine` (None: this one; "aarch64", "arm", ...), of these very sources; None: build it."""
    for folder in folders(machine):
        library, stamp = folder / "libteec.so.2", folder / "sources"
        if up_to_date(library, stamp, fingerprint) and (folder / PKG_CONFIG).is_dir():
            return library
    return None


def ensure(machine: str | None = None) -> Path:
    """What `find` finds, else built now. `BuildError`."""
    found = find(machine)
    if found is not None:
        return found
    cc = compiler(machine)
    return in_first(folders(machine), lambda folder: build(folder, cc), "libteec")


def in_first(places: Iterable[Path], make: Callable[[Path], Path], what: str) -> Path:
    """`make` in the first place that can be written to. `BuildError`."""
    problems: list[str] = []
    for folder in places:
        try:
            return make(folder)
        except OSError as error:
            problems.append(f"{error.filename or folder}: {error.strerror or error}")
    raise BuildError(f"{what}: nowhere to write it: {'; '.join(problems)}")


def folders(machine: str | None = None, home: Path = HERE) -> list[Path]:
    """Where what `home` has the sources of may be: the package's folder, the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "litebox-ta"
    return [home / "lib" / triplet(machine), cache / home.name / triplet(machine)]


def fingerprint() -> str:
    return digest_of(sorted([*HERE.glob("src/*.[ch]"), *HERE.glob("include/*.h"), HERE / "libteec.map"]))


def digest_of(sources: Iterable[Path]) -> str:
    """What was built from others is stale."""
    digest = hashlib.sha256()
    for path in sources:
        if path.is_file():
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def up_to_date(made: Path, stamp: Path, fingerprint: Callable[[], str]) -> bool:
    """Whether it is there, and of these very sources: `stamp` has their digest."""
    return made.is_file() and stamp.is_file() and stamp.read_text().strip() == fingerprint()


def compile_with(command: list[str], what: str = "libteec") -> None:
    """Run a compiler. what: is built, for messages. `BuildError` with what it says."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{what}: {command[0]}: {getattr(error, 'strerror', None) or error}") from error
    if done.returncode:
        raise BuildError(f"{what}: {command[0]} failed:\n{done.stderr.strip()}")


def build_all(make: Callable[[str | None], Path]) -> int:
    """Build for this machine, and for aarch64 and arm when their compilers are there; the exit code."""
    for machine in (None, "aarch64", "arm"):
        try:
            print(make(machine))
        except BuildError as error:
            if machine is None or not isinstance(error, NoCompiler):
                print(error, file=sys.stderr)
                return 1
            print(f"left out: {error}")
    return 0


def main() -> int:
    return build_all(ensure)


if __name__ == "__main__":
    raise SystemExit(main())
