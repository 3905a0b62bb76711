"""Build and find the agent, `litebox-tee-agent`, beside libteec: in its folder of each machine, or the user's cache."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from normal_world.libteec import FLAGS, INCLUDE, build_all, compile_with, compiler, folders, in_first

HERE = Path(__file__).resolve().parent / "csrc"
NAME = "litebox-tee-agent"
WHAT = "the TEE agent"


def build(out: Path, cc: str = "cc", *flags: str) -> Path:
    """Compile into the folder `out`. flags: the compiler's (default: stripped, for it travels over serial
    lines). BuildError, OSError."""
    out.mkdir(parents=True, exist_ok=True)
    sources = sorted(str(path) for path in HERE.glob("*.c"))
    with tempfile.TemporaryDirectory(dir=out, prefix=".build-") as work:
        made = Path(work) / NAME
        command = [cc, *FLAGS, "-Werror", "-fPIE", "-pie", *(flags or ("-Wl,-s",)), f"-I{INCLUDE}"]
        command += [*sources, "-ldl", "-o", str(made)]
        compile_with(command, WHAT)
        os.replace(made, out / NAME)
    (out / f"{NAME}.sources").write_text(fingerprint() + "\n")
    return out / NAME


def find(machine: str | None = None) -> Path | None:
    """Of these very sources, for `machine` (None: this one; "aarch64", "arm", ...); None: build it."""
    for folder in folders(machine):
        program, stamp = folder / NAME, folder / f"{NAME}.sources"
        if program.is_file() and stamp.is_file() and stamp.read_text().strip() == fingerprint():
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
    """Of the sources: a program from others is stale."""
    digest = hashlib.sha256()
    for path in sorted(HERE.glob("*.[ch]")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def place() -> str:
    """Where a board's image that we make has the program of these very sources."""
    return f"/usr/lib/litebox/{NAME}-{fingerprint()[:16]}"


def main() -> int:
    return build_all(ensure)


if __name__ == "__main__":
    raise SystemExit(main())
