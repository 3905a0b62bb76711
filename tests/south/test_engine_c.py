"""south/engine/csrc under AddressSanitizer with UBSan, ThreadSanitizer and valgrind."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from south.engine.build_unicorn import unicorn_headers
from south.engine.unicorn import find_library

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [*sorted((ROOT / "south/engine/csrc").glob("*.c")), Path(__file__).parent / "csrc" / "exercise.c"]
ASAN = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
TSAN = ("-g", "-O1", "-fsanitize=thread")


def needed(tool: str) -> str:
    path = shutil.which(tool)
    if path is None:
        pytest.skip(f"{tool} is not installed")
    return path


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Compile everything into one program with these flags; skips without a compiler or sanitizer."""
    cc = needed("gcc")

    def make(*flags: str) -> Path:
        program = tmp_path_factory.mktemp("engine") / "exercise"
        includes = [f"-I{ROOT / 'south/engine/csrc'}", f"-I{unicorn_headers()}"]
        command = [cc, "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-pthread", *flags, *includes]
        done = subprocess.run(
            [*command, *map(str, SOURCES), "-o", str(program), "-ldl"], capture_output=True, text=True
        )
        if "cannot find" in done.stderr:
            pytest.skip("no sanitizer to build with: " + done.stderr.splitlines()[0])
        assert not done.returncode, done.stderr
        return program

    return make


def run(*command: object) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120)
    assert not done.returncode, done.stderr[-4000:]
    assert done.stdout.strip() == "done"


def test_address_and_undefined(build: Callable[..., Path]) -> None:
    program = build(*ASAN)
    for seed in (1, 2, 3):
        run(program, find_library(), seed, 3000)


def test_threads(build: Callable[..., Path]) -> None:
    run(build(*TSAN), find_library(), 4, 1000)


def test_valgrind(build: Callable[..., Path]) -> None:
    valgrind = needed("valgrind")
    options = ["-q", "--error-exitcode=9", "--smc-check=all-non-file"]
    run(valgrind, *options, build("-g", "-O1"), find_library(), 5, 100)
