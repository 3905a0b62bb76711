"""tee/csrc under AddressSanitizer, UBSan and valgrind, and its speed against libcrypto's own."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [*sorted((ROOT / "tee/csrc").glob("*.c")), *sorted((ROOT / "tests/tee/csrc").glob("*.c"))]
INCLUDES = [f"-I{ROOT / path}" for path in ("tee/csrc", "south/engine/csrc", "tests/tee/csrc")]
SANITIZE = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def needed(tool: str) -> str:
    path = shutil.which(tool)
    if path is None:
        pytest.skip(f"{tool} is not installed")
    return path


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Compile everything into one program with these flags; skips without a compiler or headers."""
    cc = needed("gcc")
    made: dict[tuple[str, ...], Path] = {}

    def make(*flags: str) -> Path:
        if flags not in made:
            program = tmp_path_factory.mktemp("native") / "exercise"
            command = [cc, "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-pthread", *flags, *INCLUDES]
            done = subprocess.run(
                [*command, *map(str, SOURCES), "-o", str(program), "-lcrypto"], capture_output=True, text=True
            )
            if "cannot find -l" in done.stderr or ("openssl/" in done.stderr and "No such file" in done.stderr):
                pytest.skip("no libcrypto or sanitizer to build against: " + done.stderr.splitlines()[0])
            assert not done.returncode, done.stderr
            made[flags] = program
        return made[flags]

    return make


def run(*command: object) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120)
    assert not done.returncode, done.stderr[-4000:]
    return done.stdout.strip()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_sanitizers(build: Callable[..., Path], seed: int) -> None:
    assert run(build(*SANITIZE), seed, 6000) == "done"


def test_valgrind(build: Callable[..., Path]) -> None:
    valgrind = needed("valgrind")
    options = ["-q", "--leak-check=full", "--show-leak-kinds=definite", "--errors-for-leak-kinds=definite"]
    assert run(valgrind, *options, "--error-exitcode=9", build("-g", "-O2"), 4, 300) == "done"


def test_gcm_is_as_fast_as_libcrypto(build: Callable[..., Path]) -> None:
    """Over 1 MiB, at least 0.9 of EVP_EncryptUpdate's speed; the best of three on a shared machine."""
    assert max(float(run(build("-g", "-O2"), "bench")) for _ in range(3)) >= 0.9
