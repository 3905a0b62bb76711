"""A pytest plugin for tests of trusted applications: fixtures `tee`, `ta` and `session`. docs/pytest.md tells its use.

pytest imports this module in every run of an environment that has this distribution, so that it imports nothing of ours
until a fixture is used, and none is used by itself.
"""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from types import FrameType

    import pluggy

    from normal_world.api import Context, Session
    from normal_world.testing import SecureLog, Settings

LOG = "secure world log"
"""Title of a report's section."""
LEAKS = ("warn", "error", "ignore")
SINGLE = ("ta", "sockets", "address-space", "timeout", "way", "leaks")
LISTS = ("ta-dir", "trust", "elf", "plugin-dir")
"""Names of options: those that have one value, and those with a list of paths."""

_LOG_KEY: pytest.StashKey[SecureLog] = pytest.StashKey()


class LeakWarning(UserWarning):
    """A test left sessions or shared memory open."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("litebox", "trusted applications (LiteBox)")
    for name, kind, meta, text in (
        ("ta-dir", "append", "DIR", "folder where TAs and libraries are found by UUID; repeatable"),
        ("trust", "append", "KEY", "PEM file or TA development kit whose signatures are believed; repeatable"),
        ("elf", "append", "FILE", "unstripped ELF of a TA or library, for backtraces (UUID.elf beside it is found)"),
        ("plugin-dir", "append", "DIR", "folder of supplicant plugins, <uuid>.plugin; repeatable"),
        ("ta", "store", "TA", "what the fixture `ta` names, unless a test's marker does: a file, a UUID or hello"),
        ("sockets", "store", "POLICY", "where TAs may connect to: off (default), loopback, or HOST:PORT,..."),
        ("address-space", "store", "KIND", "addresses of TAs: board (default), as under OP-TEE, or wide"),
        ("timeout", "store", "SECONDS", "no call takes longer, wherever TAs run (default 60; 0: no limit)"),
        ("way", "store", "WAY", "where TAs run: local (default), daemon[:SOCKET] or device[:PATH]"),
        ("leaks", "store", "WHAT", f"of sessions and shared memory left open: {', '.join(LEAKS)} (default warn)"),
    ):
        group.addoption(f"--litebox-{name}", action=kind, metavar=meta, help=text, default=None)
    group.addoption(
        "--litebox-allow-unsigned", action="store_true", default=None, help="also run TAs that no trusted key signed"
    )
    for name, ini, text in (
        ("ta_dirs", "paths", "folders where TAs and libraries are found by UUID"),
        ("trust", "paths", "PEM files or TA development kits whose signatures are believed"),
        ("elf", "paths", "unstripped ELF files of TAs and libraries, for backtraces"),
        ("plugin_dirs", "paths", "folders of supplicant plugins"),
        ("ta", "string", "what the fixture `ta` names"),
        ("sockets", "string", "where TAs may connect to"),
        ("address_space", "string", "addresses of TAs: board or wide"),
        ("timeout", "string", "seconds until a TA is stopped; 0: never"),
        ("way", "string", "where TAs run: local, daemon[:SOCKET] or device[:PATH]"),
        ("leaks", "string", "of sessions and shared memory left open: warn, error, ignore"),
    ):
        parser.addini(f"litebox_{name}", text, type=ini, default=None)  # type: ignore[arg-type]
    parser.addini("litebox_allow_unsigned", "also run TAs that no trusted key signed", type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "ta(name): the TA of the fixtures `ta` and `session`: a file, a UUID or hello")
    if any(config.getoption(f"--litebox-{name}") is not None for name in SINGLE + LISTS) or any(
        config.getini(f"litebox_{name.replace('-', '_')}") is not None for name in SINGLE
    ):
        from normal_world.testing import Settings

        Settings.read(config).check_given(config)


@pytest.fixture
def tee(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Context]:
    """A connection to a TEE (`normal_world.Context`). In this process it is one of the test's own, with a fresh device:
    storage, RPMB and keys are empty. What the secure world says goes to the report of a test that fails.
    """
    from normal_world.testing import Settings

    settings = Settings.read(request.config)
    yield from connected(request, settings, lambda log: settings.context(tmp_path_factory.mktemp("litebox"), log))


def connected(
    request: pytest.FixtureRequest, settings: Settings, make: Callable[[SecureLog], Context]
) -> Iterator[Context]:
    """What every fixture `tee` does around the connection that `make` makes: its log, and what is left open."""
    _end_in_order(request.config)
    log = request.node.stash[_LOG_KEY] = settings.new_log()
    context = make(log)
    try:
        yield context
        leaks = context.leaks()
    finally:
        context.close()
    if not leaks or settings.leaks == "ignore":
        return
    text = f"left at the end of the test: {'; '.join(leaks)}"
    if settings.leaks == "error":
        pytest.fail(text, pytrace=False)
    request.node.warn(LeakWarning(text))


def _end_in_order(config: pytest.Config) -> None:
    """SIGTERM ends a run as Ctrl-C does, with its reports written; until the run has ended, and where nobody else takes
    care of it.
    """
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminated)
        config.add_cleanup(_as_before)


def _as_before() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminated(_: int, __: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one is meant
    raise KeyboardInterrupt("terminated")


@pytest.fixture
def ta(request: pytest.FixtureRequest) -> str:
    """The TA under test, as `Context.open_session` takes it: of the marker `ta`, --litebox-ta or litebox_ta."""
    from normal_world.testing import Settings, find_ta

    marker = request.node.get_closest_marker("ta")
    settings = Settings.read(request.config)
    return find_ta(settings, None if marker is None else marker, request.path.parent)


@pytest.fixture
def session(tee: Context, ta: str) -> Iterator[Session]:
    """A session to the TA under test, opened without parameters."""
    with tee.open_session(ta) as opened:
        yield opened


@pytest.hookimpl(hookwrapper=True)  # the form that pluggy before 1.2 knows, too
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pluggy.Result[pytest.TestReport], None]:
    outcome = yield
    log = item.stash.get(_LOG_KEY, None)
    if log is None:
        return
    report = outcome.get_result()
    # What was said in a phase that passed stays, to explain a later one.
    if report.failed:
        text = log.take()
        if text:
            # pytest shows a teardown's own sections only, and knows them by that word.
            report.sections.append((f"{LOG}, teardown" if call.when == "teardown" else LOG, text))
