"""The transport of client and daemon under AddressSanitizer with UBSan, ThreadSanitizer and valgrind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sanitized import ASAN, TSAN, Program, needed, run

ROOT = Path(__file__).parents[2]
DAEMON, CLIENT = ROOT / "normal_world/daemon/csrc", ROOT / "normal_world/libteec/src"
SOURCES = [ROOT / "tests/normal_world/csrc/exchange_test.c", DAEMON / "exchange.c", CLIENT / "transport.c"]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    return Program(tmp_path_factory.mktemp("transport"), SOURCES, [DAEMON, CLIENT])


def test_address_sanitizer(program: Program) -> None:
    assert run(program.built(*ASAN)) == "done"


def test_thread_sanitizer(program: Program) -> None:
    assert run(needed("setarch"), "-R", program.built(*TSAN)) == "done"


def test_valgrind(program: Program) -> None:
    options = ["-q", "--leak-check=full", "--error-exitcode=9"]
    assert run(needed("valgrind"), *options, program.built("-g", "-O1")) == "done"
