"""All cases of the default run of xtest, by the rule of tests.real.xtest."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from normal_world.libteec import has_c_library
from tests.real import debian, sysroot, xtest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.real, pytest.mark.slow]

LEAST = xtest.reference()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("qemu-aarch64") is None and shutil.which("qemu-aarch64-static") is None:
        pytest.skip("qemu-aarch64 is not installed (Debian: qemu-user)")
    if not has_c_library("aarch64-linux-gnu-gcc"):
        pytest.skip("aarch64-linux-gnu-gcc with a C library (libc6-dev-arm64-cross) is not installed")
    try:
        return sysroot.of_debian(tmp_path_factory.mktemp("sysroot") / "root")
    except debian.FetchError as problem:
        pytest.skip(str(problem))


@pytest.mark.parametrize("case", LEAST)
def test_case(root: Path, case: str) -> None:
    verdict = xtest.run_case(root, case, LEAST[case])
    assert verdict.status == "passed", f"{verdict.subtests} subtests, {verdict.failed} failed\n{verdict.output[-4000:]}"


def test_a_missing_check_is_no_success(root: Path) -> None:
    """Where a service is missing, xtest says OK and counts less: that is not passed."""
    assert xtest.run_case(root, "regression_1004", LEAST["regression_1004"] + 1).status == "short"
