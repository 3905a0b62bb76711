"""All cases of the default run of xtest, by the rule of tests.real.xtest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.real import xtest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.real, pytest.mark.slow]

LEAST = xtest.reference()


@pytest.mark.parametrize("case", LEAST)
def test_case(root: Path, case: str) -> None:
    verdict = xtest.run_case(root, case, LEAST[case])
    assert verdict.status == "passed", f"{verdict.subtests} subtests, {verdict.failed} failed\n{verdict.output[-4000:]}"


def test_a_missing_check_is_no_success(root: Path) -> None:
    """Where a service is missing, xtest says OK and counts less: that is not passed."""
    assert xtest.run_case(root, "regression_1004", LEAST["regression_1004"] + 1).status == "short"
