"""xtest's cases that need no asymmetric cryptography, by the rule of tests.real.xtest."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from normal_world.libteec import has_c_library
from tests.real import debian, sysroot, xtest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.real, pytest.mark.slow]

NUMBERS = (
    1002, *range(1004, 1014), *range(1016, 1020), *range(1021, 1024), *range(1025, 1035), *range(1036, 1042),
    *range(2001, 2005), *range(4001, 4006), 4010, 4012, 4013, 4017, *range(4101, 4118), 5006, *range(6001, 6011),
    *range(6012, 6022), *range(8101, 8104),
)  # fmt: skip
TOKENS = (*range(1000, 1019), 1020, 1024, *range(1027, 1031))
CASES = [
    *(f"regression_{number}" for number in NUMBERS),
    "regression_4007_symmetric",
    *(f"pkcs11_{number}" for number in TOKENS),
]
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


@pytest.mark.parametrize("case", [case for case in CASES if case in LEAST])
def test_case(root: Path, case: str) -> None:
    verdict = xtest.run_case(root, case, LEAST[case])
    assert verdict.status == "passed", f"{verdict.subtests} subtests, {verdict.failed} failed\n{verdict.output[-4000:]}"


def test_a_missing_service_is_no_success(root: Path) -> None:
    """xtest says OK and counts little where a service is missing, and that is not passed."""
    verdict = xtest.run_case(root, "regression_6001", LEAST["regression_6001"] * 10)
    assert (verdict.status, verdict.failed) == ("short", 0)
