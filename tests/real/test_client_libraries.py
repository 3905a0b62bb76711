"""Debian's client libraries, and a program built against OP-TEE's headers and library, run on our libteec unchanged."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ta_loader import samples
from tests.real import debian

pytestmark = [pytest.mark.real, pytest.mark.slow]

CC = "aarch64-linux-gnu-gcc"
SOURCE = Path(__file__).parent / "csrc" / "client.c"
EXPECTED = "increment 42\nhash 2c24\nshared 0\npanic origin 3\n"
"""2c...24: SHA-256 of "hello", as sha256sum prints it."""
LIBRARIES = {
    "libckteec.so.0": "C_GetFunctionList",
    "libseteec.so.0": "se_apdu_request",
    "libteeacl.so.0.1": "teeacl_group_acl_uuid",
}
"""And a function of each."""


@pytest.fixture(scope="module")
def program(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    libraries = root / debian.LIB_DIR
    out = tmp_path_factory.mktemp("client") / "client"
    command = [CC, "-std=gnu11", "-Wall", "-Wextra", "-Werror", f"-I{root / 'usr/include'}"]
    command += ["-o", str(out), str(SOURCE)]
    # The library is for a newer C library than a cross-compiler may have.
    command += [f"-L{libraries}", "-Wl,--allow-shlib-undefined", "-l:libteec.so.2"]
    subprocess.run(command, check=True, timeout=60)
    return out


def run(root: Path, program: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "ta_loader.cli", "with", "--quiet", "--ta-dir", samples.FOLDER]
    command += ["--trust", samples.public_key_file(), "--sysroot", str(root), "--", str(program), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_program_built_against_optee_client(root: Path, program: Path) -> None:
    assert run(root, program) == EXPECTED


@pytest.mark.parametrize("library", LIBRARIES)
def test_client_libraries_load(root: Path, program: Path, library: str) -> None:
    """With every symbol bound at once; and the TA is there as ever beside them."""
    assert run(root, program, library, LIBRARIES[library]) == EXPECTED
