"""Build and find the agent, `litebox-tee-agent`: prebuilt for boards (prebuilt.py), else beside libteec in its folder
of each machine, or in the user's cache."""

from __future__ import annotations

import os
from pathlib import Path

from normal_world.libteec import (
    FLAGS,
    INCLUDE,
    build_all,
    compile_with,
    compiler,
    digest_of,
    folders,
    in_first,
    triplet,
    up_to_date,
)
from south.replacing import temporary_folder

HERE = Path(__file__).resolve().parent / "csrc"
PREBUILT = HERE.parent / "bin"
NAME = "litebox-tee-agent"
WHAT = "the TEE agent"
STRIPPED = ("-Wl,-s", "-Wl,--build-id=none")
"""It travels over serial lines."""


def build(out: Path, cc: str = "cc", *flags: str) -> Path:
    """Compile into the folder `out`. flags: the compiler's (default: `STRIPPED`). BuildError, OSError."""
    out.mkdir(parents=True, exist_ok=True)
    sources = sorted(str(path) for path in HERE.glob("*.c"))
    with temporary_folder("build", out) as work:
        made = work / NAME
        command = [cc, *FLAGS, "-fPIE", "-pie", *(flags or STRIPPED), f"-I{INCLUDE}"]
        command += [*sources, "-ldl", "-o", str(made)]
        compile_with(command, WHAT)
        os.replace(made, out / NAME)
    (out / f"{NAME}.sources").write_text(fingerprint() + "\n")
    return out / NAME


def find(machine: str | None = None) -> Path | None:
    """Of these very sources, for `machine` (None: this one; "aarch64", "arm", ...); None: build it."""
    for folder in (PREBUILT / triplet(machine), *folders(machine)):
        program, stamp = folder / NAME, folder / f"{NAME}.sources"
        if up_to_date(program, stamp, fingerprint):
            return program
    return None


def ensure(machine: str | None = None) -> Path:
    """What `find` finds, else built now. BuildError."""
    found = find(machine)
    if found is not None:
        return found
    cc = compiler(machine, WHAT)
    return in_first(folders(machine), lambda folder: build(folder, cc), WHAT)


def fingerprint() -> str:
    return digest_of(sorted(HERE.glob("*.[ch]")))


def place() -> str:
    """Where a board's image that we make has the program of these very sources."""
    return f"/usr/lib/litebox/{NAME}-{fingerprint()[:16]}"


def main() -> int:
    return build_all(ensure)


if __name__ == "__main__":
    raise SystemExit(main())
