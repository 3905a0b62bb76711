"""south/engine/csrc under AddressSanitizer with UBSan, ThreadSanitizer and valgrind."""

from __future__ import annotations

from pathlib import Path

import pytest

from south.engine.binding import find_library
from south.engine.build_unicorn import unicorn_headers
from tests.sanitized import ASAN, TSAN, Program, needed, run

CSRC = Path(__file__).resolve().parents[2] / "south/engine/csrc"
SOURCES = [*sorted(CSRC.glob("*.c")), Path(__file__).parent / "csrc" / "exercise.c"]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    return Program(tmp_path_factory.mktemp("engine"), SOURCES, (CSRC, Path(unicorn_headers())), "-ldl")


def test_address_and_undefined(program: Program) -> None:
    for seed in (1, 2, 3):
        assert run(program.built(*ASAN), find_library(), seed, 3000) == "done"


def test_threads(program: Program) -> None:
    assert run(program.built(*TSAN), find_library(), 4, 1000, "calm") == "done"


@pytest.mark.parametrize("rounds", [20, pytest.param(100, marks=pytest.mark.fuzz)])
def test_valgrind(program: Program, rounds: int) -> None:
    valgrind = needed("valgrind")
    options = ["-q", "--error-exitcode=9", "--smc-check=all-non-file"]
    assert run(valgrind, *options, program.built("-g", "-O1"), find_library(), 5, rounds, "calm") == "done"
