"""C code of ours with a program that exercises it, built for sanitizers and valgrind."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

ASAN = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
TSAN = ("-g", "-O1", "-fsanitize=thread")


def needed(tool: str) -> str:
    """Where it is; skips without it."""
    path = shutil.which(tool)
    if path is None:
        pytest.skip(f"{tool} is not installed")
    return path


class Program:
    """folder: where it is built, once for each set of flags. libraries: what it is linked with."""

    def __init__(self, folder: Path, sources: Iterable[Path], includes: Iterable[Path], *libraries: str) -> None:
        self._folder = folder
        self._inputs = [*(f"-I{path}" for path in includes), *map(str, sources)]
        self._libraries = libraries
        self._made: dict[tuple[str, ...], Path] = {}

    def built(self, *flags: str) -> Path:
        """Skips without a compiler, a header or library of others, or the sanitizer."""
        if flags not in self._made:
            out = self._folder / f"exercise{len(self._made)}"
            command = [needed("gcc"), "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-pthread", *flags, *self._inputs]
            done = subprocess.run([*command, "-o", str(out), *self._libraries], capture_output=True, text=True)
            if "cannot find" in done.stderr or ("openssl/" in done.stderr and "No such file" in done.stderr):
                pytest.skip("no library or sanitizer to build against: " + done.stderr.splitlines()[0])
            assert not done.returncode, done.stderr
            self._made[flags] = out
        return self._made[flags]


def run(*command: object) -> str:
    """What the program prints, which has to end well."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120)
    assert not done.returncode, done.stderr[-4000:]
    return done.stdout.strip()
