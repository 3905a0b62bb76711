"""pytest plugin `litebox_boards`: tests on boards that `--board` names.

    def test_kernel(shell):                         # at a shell, on each board that was given
        assert "Linux" in shell.run("uname").output

    @pytest.mark.board_stage("kernel")              # how far the board must be
    def test_early(board, console): ...

A board is booted once, for all tests that need it, and goes on from where the last test left it. When it
fails, the first test tells how; the others fail with one line. It is loaded with every run of pytest, so it
imports nothing before a board is asked for.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from boards.board import Board
    from boards.catalogue import BoardEntry
    from boards.console import Console
    from boards.console_shell import Shell
    from normal_world.api import Context

REPORT_LINES = 200
"""Of each board's log, in the report of a test that failed."""
ENDINGS = "litebox_boards_endings"
_BOARD = pytest.StashKey["Board"]()
_BEGAN = pytest.StashKey[float]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("boards", "boards and virtual machines")
    group.addoption(
        "--board",
        action="append",
        default=[],
        metavar="NAME|FILE",
        help="board to run the tests on (litebox-ta board list); given twice, they run on both",
    )
    group.addoption(
        "--board-var", action="append", default=[], metavar="[BOARD:]NAME=VALUE", help="value of a board's variable"
    )
    group.addoption("--board-html", metavar="FILE", help="write each board's page; BOARD-FILE where there are several")
    group.addoption(
        "--board-symbols", action="append", default=[], metavar="DIR", help="folder with UUID.elf, for panics of TAs"
    )
    group.addoption("--board-report", metavar="DIR", help="write each board's report and logs to DIR/BOARD")


def pytest_configure(config: pytest.Config) -> None:
    _check_outputs(config)
    config.addinivalue_line("markers", "board_stage(name): the stage that the board must have reached for this test")
    if config.getoption("--board"):
        _check_given(config)
        # Registered after every other plugin, so that its fixtures take the place of normal_world's.
        config.pluginmanager.register(TeeOfBoards(), "litebox_boards_tee")
        config.pluginmanager.register(Endings(), ENDINGS)


def _check_outputs(config: pytest.Config) -> None:
    """A report that cannot be written is refused before a board is turned on for it."""
    html, report = config.getoption("--board-html"), config.getoption("--board-report")
    if html is None and report is None:
        return
    from south.errors import UsageError
    from ta_loader.outputs import require_file, require_folder

    wrong = ""
    try:
        if report is not None:
            require_folder(report, "--board-report")
        if html is not None:
            require_file(html, "--board-html", parents=True)
    except UsageError as problem:
        wrong = str(problem)
    if wrong:
        raise pytest.UsageError(wrong)


def _check_given(config: pytest.Config) -> None:
    """pytest.UsageError, before a board is switched on, for boards, variables and folders that there are not."""
    from boards.catalogue import find_board
    from south.errors import UsageError

    for folder in config.getoption("--board-symbols"):
        if not Path(folder).is_dir():
            raise pytest.UsageError(f"--board-symbols {folder}: no such folder")
    wrong = ""
    for name in config.getoption("--board"):
        try:
            _variables(config, find_board(name))
        except UsageError as problem:
            wrong = str(problem)
    if wrong:
        raise pytest.UsageError(f"--board: {wrong}")


class Endings:
    """SIGTERM and SIGHUP (a CI system's end, a closed terminal) end a run as Ctrl-C does.

    Reports are written, and the power goes off.
    """

    def __init__(self) -> None:
        from boards.ending import interruptible

        self.boards: list[Board] = []
        self._test = ""
        self._signals = ExitStack()
        self._signals.enter_context(interruptible())

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._test = nodeid

    def pytest_runtest_logfinish(self) -> None:
        self._test = ""

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        problem = str(excinfo.value) or "interrupted"
        for board in self.boards:
            board.interrupted = f"{problem} in {self._test}" if self._test else problem

    def pytest_unconfigure(self) -> None:
        self._signals.close()


class TeeOfBoards:
    """The fixtures of tests of TAs (docs/pytest.md), on the board that --board names."""

    @pytest.fixture
    def tee(self, request: pytest.FixtureRequest, board: Board) -> Iterator[Context]:
        """A connection to the TEE of the board, which is taken as far as it must be."""
        from normal_world.pytest_plugin import connected
        from normal_world.testing import BOARD, Settings

        settings = Settings.read(request.config)._replace(way=BOARD)
        yield from connected(request, settings, lambda _: settings.limited(_tee(board)))

    @pytest.fixture
    def ta(self, request: pytest.FixtureRequest) -> str:
        """The UUID of the TA under test: a board knows TAs by that alone."""
        from normal_world.testing import BOARD, Settings, find_ta

        settings = Settings.read(request.config)._replace(way=BOARD)
        return find_ta(settings, request.node.get_closest_marker("ta"), request.path.parent)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each board that was given."""
    if "board" in metafunc.fixturenames:
        names: list[str] = metafunc.config.getoption("--board")
        metafunc.parametrize("board", names or [None], ids=[Path(n).stem for n in names] or ["none"], indirect=True,
                             scope="session")  # fmt: skip


def _variables(config: pytest.Config, board: BoardEntry) -> dict[str, str]:
    """Those for this board: named with it, or without a board's name and it has one of that name."""
    alone = len(config.getoption("--board")) == 1
    known = [variable.name for variable in board.variables]
    out: dict[str, str] = {}
    for word in config.getoption("--board-var"):
        left, equals, value = word.partition("=")
        owner, _, name = left.rpartition(":")
        if not equals or not name:
            raise pytest.UsageError(f"--board-var {word}: write NAME=VALUE or BOARD:NAME=VALUE")
        if owner == board.name or (not owner and (alone or name in known)):
            out[name] = value
    return out


@pytest.fixture(scope="session")
def board(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    """The board that --board names, in the stage that the test's marker asks for."""
    if request.param is None:
        pytest.skip("no --board was given")
    from boards.board import Board
    from boards.catalogue import find_board
    from south.errors import UsageError

    report = request.config.getoption("--board-report")
    wrong = ""
    try:
        entry = find_board(request.param)
        folder = Path(report) / entry.name if report else tmp_path_factory.mktemp(f"board-{entry.name}")
        opened = Board(entry, folder, _variables(request.config, entry))
    except UsageError as problem:
        wrong = str(problem)
    if wrong:
        pytest.fail(wrong, pytrace=False)
    endings = request.config.pluginmanager.get_plugin(ENDINGS)
    assert isinstance(endings, Endings)
    endings.boards.append(opened)
    with opened as board:
        yield board
        _write_reports(request.config, board, folder)


def _write_reports(config: pytest.Config, board: Board, folder: Path) -> None:
    from boards.report import merged, write_report
    from boards.report_html import page
    from boards.secure_log import findings
    from ta_loader.symbolise.finder import ElfFinder

    html = config.getoption("--board-html")
    if not html and not config.getoption("--board-report"):
        return
    folders = [*map(board.text, board.entry.symbols), *config.getoption("--board-symbols")]
    log = merged(board, ElfFinder((), folders).find)
    problem = ""
    try:
        if config.getoption("--board-report"):
            write_report(folder, board, log)
        if html:
            path = Path(html)
            several = len(config.getoption("--board")) > 1
            path = path.with_name(f"{board.name}-{path.name}") if several else path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(page(board, log, findings(log)), encoding="utf-8")
    except OSError as failure:
        problem = f"the report cannot be written: {failure.filename or folder}: {failure.strerror}"
    if problem:
        pytest.fail(problem, pytrace=False)


def _tee(board: Board) -> Context:
    from boards.errors import TargetError
    from south.errors import UsageError

    failure = ""
    try:
        return board.tee()
    except (TargetError, UsageError) as problem:
        failure = str(problem)
    pytest.fail(failure, pytrace=False)


def _advance(board: Board, stage: str) -> None:
    from boards.catalogue import Stage
    from boards.errors import TargetError
    from south.errors import UsageError

    wanted = Stage.of(stage)
    board.notice()
    if wanted is not Stage.OFF and board.stage >= wanted and board.failure is None:
        return
    if wanted is not Stage.OFF and wanted not in [entry.stage for entry in board.entry.stages]:
        pytest.skip(f"{board.name} has no stage {wanted.word}")
    failure = ""
    try:
        board.advance_to(wanted)
    except (TargetError, UsageError) as problem:
        failure = str(problem)
    if failure:  # outside of the handler, or pytest would show the failure twice
        pytest.fail(failure, pytrace=False)


@pytest.fixture(autouse=True)
def _board_stage(request: pytest.FixtureRequest) -> None:
    """What the marker asks for, before the test's own fixtures look at the board."""
    if "board" not in request.fixturenames:
        return
    from boards.board import HARNESS
    from boards.console_log import Direction

    board: Board = request.getfixturevalue("board")
    request.node.stash[_BOARD] = board
    request.node.stash[_BEGAN] = board.log.now()
    board.log.add(HARNESS, Direction.EVENT, f"test {request.node.nodeid}")
    marker = request.node.get_closest_marker("board_stage")
    if marker is not None:
        _advance(board, *marker.args)


@pytest.fixture
def console(board: Board) -> Console:
    """The board's console that has the shell; `board.consoles` has all."""
    return board.console


@pytest.fixture
def shell(board: Board) -> Shell:
    """At the prompt."""
    _advance(board, "shell")
    return board.shell


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What the consoles said while the test ran: to the terminal and to JUnit's properties."""
    report = yield
    board = item.stash.get(_BOARD, None)
    if board is not None and (report.when == "call" or not report.passed):
        from boards.board import HARNESS, Outcome
        from boards.console_log import Direction

        problem = "" if report.passed else report.longreprtext
        began, ended = item.stash[_BEGAN], board.log.now()
        board.tests.append(Outcome(item.nodeid, report.outcome, report.duration, problem, began, ended))
        board.log.add(HARNESS, Direction.EVENT, f"test {item.nodeid} {report.outcome}")
    if board is not None and report.failed:
        from boards.console_script import PROTOCOL

        began = item.stash[_BEGAN]
        entries = [e for e in board.log.entries() if e.time >= began and not e.text.startswith(f"test {item.nodeid}")]
        lines = [str(entry) for entry in entries if not PROTOCOL.search(entry.text)]
        cut = len(lines) - REPORT_LINES
        first = [f"(the first {cut} lines are in {board.log.path})"] if cut > 0 else []
        text = "\n".join([*first, *lines[-REPORT_LINES:]]) or "(nothing while this test ran)"
        report.sections.append((f"Consoles of board {board.name}", text))
        item.user_properties += [("board", board.name), ("consoles", text)]
        item.user_properties += [("began", board.log.date(began).isoformat(timespec="milliseconds"))]
    return report
