"""Fixtures: secure worlds over Debian's TAs, and root folders for its aarch64 programs."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from boards.debian import sysroot
from normal_world.libteec import has_c_library
from tests.real import debian
from tests.real.host import Host

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def host(debian_tas: Path, debian_kit: Path, tmp_path: Path) -> Iterator[Host]:
    """A world of its own for one test: the test TAs, the kit's TAs, the kit's key."""
    made = Host(tmp_path / "state", [debian_tas, debian_kit / "ta"], [debian_kit])
    yield made
    made.close()


@pytest.fixture(scope="session")
def aarch64_programs() -> None:
    """This machine can run aarch64 programs on our libteec."""
    if shutil.which("qemu-aarch64") is None and shutil.which("qemu-aarch64-static") is None:
        pytest.skip("qemu-aarch64 is not installed (Debian: qemu-user)")
    if not has_c_library("aarch64-linux-gnu-gcc"):
        pytest.skip("aarch64-linux-gnu-gcc with a C library (libc6-dev-arm64-cross) is not installed")


@pytest.fixture(scope="session")
def root(aarch64_programs: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Debian's client programs and libraries, and its TAs (`sysroot.of_debian`)."""
    try:
        return sysroot.of_debian(tmp_path_factory.mktemp("sysroot") / "root")
    except debian.FetchError as problem:
        pytest.skip(str(problem))
