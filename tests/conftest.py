"""Fixtures every test may use, and the rule that nothing is skipped unnoticed in CI."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from tests.real import debian

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

HERE = Path(__file__).parent
ALLOWED_SKIPS = HERE / "allowed_skips.txt"

# One profile for every property test. No deadline and no health check of speed: how long an example takes depends on
# what else the machine does. CI must give the same answer twice.
hypothesis.settings.register_profile(
    "litebox",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
    derandomize=os.environ.get("CI") == "true",
    print_blob=True,
)
hypothesis.settings.load_profile("litebox")

# What starts us in the background may have us ignore Ctrl-C (a shell without job control) or a hangup (nohup), and
# programs that tests start would inherit that; a handler of ours is none of theirs.
for _number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else lambda *_: None)

REAL_FIXTURES = {"debian_root", "debian_tas", "debian_kit"}


LEAN = ("-p", "no:hypothesispytest")
"""Options of a pytest that a test starts and that has no property tests: importing hypothesis is half of its time."""


@pytest.fixture(scope="session", autouse=True)
def _lean_runs() -> None:
    """Of this process alone: workers of pytest-xdist are started before any fixture."""
    os.environ["PYTEST_ADDOPTS"] = " ".join(LEAN)


@pytest.fixture(scope="session")
def debian_root() -> Path:
    """Unpacked Debian packages of OP-TEE (tests.real.debian.PACKAGES)."""
    root = debian.root()
    if root is None:
        pytest.skip(debian.why_not())
    return root


@pytest.fixture(scope="session")
def debian_tas(debian_root: Path) -> Path:
    """Folder of Debian's test TAs, `<uuid>.ta`."""
    return debian_root / debian.TA_DIR


@pytest.fixture(scope="session")
def debian_kit(debian_root: Path) -> Path:
    """OP-TEE's TA development kit for aarch64."""
    return debian_root / debian.KIT


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Mark `real` by place (tests/real) and by fixture."""
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if HERE / "real" in item.path.parents or fixtures & REAL_FIXTURES:
            item.add_marker(pytest.mark.real)


def allowed_skips(text: str) -> list[re.Pattern[str]]:
    """Patterns of allowed_skips.txt."""
    lines = (line.split("  #")[0].strip() for line in text.splitlines() if not line.startswith("#"))
    return [re.compile(line) for line in lines if line]


def refuse_skip(report: pytest.CollectReport | pytest.TestReport, allowed: Sequence[re.Pattern[str]]) -> None:
    """Turn a skip into a failure unless its reason is on the list. Expected failures are no skips."""
    if not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if not any(pattern.search(reason) for pattern in allowed):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI, for a reason that {ALLOWED_SKIPS.name} does not list: {reason}"


class NoUnlistedSkips:
    """Registered where CI=true."""

    def __init__(self) -> None:
        self.allowed = allowed_skips(ALLOWED_SKIPS.read_text())

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        refuse_skip(report, self.allowed)
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        report = yield
        refuse_skip(report, self.allowed)
        return report


def pytest_configure(config: pytest.Config) -> None:
    # A shell starts its background jobs deaf to SIGINT, and so what they start; here tests interrupt it.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if os.environ.get("CI") == "true":
        config.pluginmanager.register(NoUnlistedSkips())
