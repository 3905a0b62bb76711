"""`litebox-ta board test BOARD -- PYTEST ARGUMENTS`: the user's pytest files, on a board."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from boards.catalogue import find_board
from south.errors import UsageError
from ta_loader.cli.board import BOARD_OPTIONS, variables
from ta_loader.cli.options import Command, Option
from ta_loader.outputs import require_file

if TYPE_CHECKING:
    from ta_loader.cli.options import Arguments


def run(arguments: Arguments) -> int:
    name, *words = arguments.words
    entry = find_board(name)
    if find_spec("pytest") is None:
        raise UsageError("board test needs pytest: pip install pytest")
    argv = [sys.executable, "-m", "pytest", "--board", name]
    for variable, value in variables(arguments).items():
        argv += ["--board-var", f"{entry.name}:{variable}={value}"]
    # Where pytest was started, not where its configuration lies.
    for option, pytests in (("--html", "--board-html"), ("--junit", "--junit-xml"), ("--report", "--board-report")):
        if given := arguments.one(option):
            if option != "--report":
                require_file(given, option, parents=True)
            argv += [pytests, str(Path(given).absolute())]
    for folder in arguments.many("--symbols"):
        if not Path(folder).is_dir():
            raise UsageError(f"--symbols {folder}: no such folder")
        argv += ["--board-symbols", str(Path(folder).absolute())]
    sys.stdout.flush()
    sys.stderr.flush()
    # In this process's place: signals and the exit code are pytest's, and it imports its plugins itself.
    os.execv(sys.executable, [*argv, *words])


COMMAND = Command(
    name="board test",
    summary="Run pytest on a board, with an HTML report.",
    words=("BOARD", "[PYTEST...]"),
    options=(
        *BOARD_OPTIONS,
        Option("--html", "FILE", "write a page: stages with their times, results, all consoles merged by time"),
        Option("--junit", "FILE", "write pytest's JUnit XML, with the consoles of tests that failed"),
        Option("--symbols", "DIR", "folder with UUID.elf files, for panics of TAs", many=True),
        Option("--report", "DIR", "write DIR/BOARD: report.html, junit.xml, merged.log and console.log", out=True),
    ),
    run=run,
    epilog="""\
What stands behind '--' is pytest's: files, -k, -x, --litebox-ta, a second --board. Tests of TAs use the same fixtures
as without a board (tee, ta, session); others use board, console and shell. The exit code is pytest's.

examples:
  litebox-ta board test host --html report.html -- tests/
  litebox-ta board test qemu-virt-litebox --var tas=out --var trust=key.pem --html report.html -- tests/ -k hash
  litebox-ta board test ./desk.toml --junit out.xml -- -x test_ta.py""",
)
