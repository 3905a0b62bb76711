"""tee/csrc under AddressSanitizer, UBSan and valgrind, and its speed against libcrypto's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sanitized import ASAN, Program, needed, run

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [*sorted((ROOT / "tee/csrc").glob("*.c")), *sorted((ROOT / "tests/tee/csrc").glob("*.c"))]
INCLUDES = [ROOT / path for path in ("tee/csrc", "south/engine/csrc", "tests/tee/csrc")]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    return Program(tmp_path_factory.mktemp("native"), SOURCES, INCLUDES, "-lcrypto")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_sanitizers(program: Program, seed: int) -> None:
    assert run(program.built(*ASAN), seed, 6000) == "done"


def test_valgrind(program: Program) -> None:
    valgrind = needed("valgrind")
    options = ["-q", "--leak-check=full", "--show-leak-kinds=definite", "--errors-for-leak-kinds=definite"]
    assert run(valgrind, *options, "--error-exitcode=9", program.built("-g", "-O2"), 4, 300) == "done"


def test_gcm_is_as_fast_as_libcrypto(program: Program) -> None:
    """Over 1 MiB, at least 0.9 of EVP_EncryptUpdate's speed; the best of three on a shared machine."""
    assert max(float(run(program.built("-g", "-O2"), "bench")) for _ in range(3)) >= 0.9
