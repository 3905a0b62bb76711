"""`litebox-ta board run BOARD -- COMMAND`: boot, run a command in the target's shell, report."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from boards.board import Board
from boards.catalogue import Stage, find_board
from boards.ending import Interrupted
from boards.errors import CommandTimeout, TargetError
from boards.report import merged, write_report
from boards.shell_files import local_file
from south.errors import UsageError
from ta_loader.cli import exits
from ta_loader.cli.board import BOARD_FAILED, BOARD_OPTIONS, TIMED_OUT, say, show, variables
from ta_loader.cli.board.get import fetch, place
from ta_loader.cli.board.put import send
from ta_loader.cli.options import Command, Option, seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from boards.console_log import Entry
    from ta_loader.cli.options import Arguments

COMMAND_SECONDS = 600.0


def run(arguments: Arguments) -> int:
    name, *words = arguments.words
    entry = find_board(name)
    # One word is a line for the shell as it stands; several are a program's arguments.
    command = words[0] if len(words) == 1 else shlex.join(words)
    limit = arguments.one("--timeout")
    timeout = COMMAND_SECONDS if limit is None else seconds(limit, "--timeout")
    stage = Stage.of(arguments.one("--to") or entry.last_stage.word)
    if command and stage < Stage.SHELL:
        raise UsageError(f"a command needs stage shell or tee, not --to {stage.word}")
    keep = arguments.switch("--keep")
    if keep and stage < Stage.SHELL:
        raise UsageError(f"--keep needs stage shell or tee, not --to {stage.word}")
    puts = [(source, target, *local_file(Path(source))) for source, target in _pairs(arguments, "--put")]
    gets = _pairs(arguments, "--get")
    for source, target in gets:
        place(source, target)
    if (puts or gets) and stage < Stage.SHELL:
        raise UsageError(f"--put and --get need stage shell or tee, not --to {stage.word}")
    report = arguments.one("--report")
    folder = Path(report) if report else None
    with Board(entry, folder, variables(arguments)) as board:
        if arguments.switch("--verbose"):
            board.log.listener = _show
        try:
            board.advance_to(stage)
            code = _work(board, puts, command, timeout, gets)
            if keep:
                _output(arguments, board)
                _keep(board)
        except TargetError as problem:
            say(str(problem))
            code = TIMED_OUT if isinstance(problem, CommandTimeout) and not problem.stage else BOARD_FAILED
        except Interrupted as problem:
            say(str(problem))
            board.interrupted = str(problem)
            code = problem.exit_code
        _tell(arguments, board, folder, code)
    return code


def _work(
    board: Board,
    puts: Sequence[tuple[str, str, bytes, int]],
    command: str,
    timeout: float,
    gets: Sequence[tuple[str, str]],
) -> int:
    """The exit code. A path that is wrong keeps no report from being written."""
    code = exits.OK
    try:
        for source, target, data, mode in puts:
            send(board.shell, data, mode, source, target)
        if command:
            code = board.run(command, timeout, subshell=True).exit_code
        for source, target in gets:
            fetch(board.shell, source, target)
    except UsageError as problem:
        say(str(problem))
        return code or exits.USAGE
    return code


def _pairs(arguments: Arguments, option: str) -> list[tuple[str, str]]:
    out = []
    for word in arguments.many(option):
        source, equals, target = word.rpartition("=")
        if not equals or not source or not target:
            raise UsageError(f"{option} {word}: write {option} FROM=TO")
        out.append((source, target))
    return out


def _keep(board: Board) -> None:
    """A person at the console. Whoever turns the board off from within has done nothing wrong."""
    from ta_loader.cli.board.interact import interact

    try:
        interact(board.console, prompt=True)
    except TargetError as problem:
        say(problem.problem)


def _output(arguments: Arguments, board: Board) -> None:
    if not arguments.switch("--json"):
        for done in board.commands:
            sys.stdout.write(done.output)
        sys.stdout.flush()


def _tell(arguments: Arguments, board: Board, folder: Path | None, code: int) -> None:
    from boards.secure_log import findings
    from ta_loader.inputs import read_input
    from ta_loader.symbolise.finder import ElfFinder

    finder = ElfFinder((), [*map(board.text, board.entry.symbols), *arguments.many("--symbols")])
    core = arguments.one("--core") or board.text(board.entry.core)
    log = merged(board, finder.find, read_input(core, "--core") if core else None)
    if folder is not None:
        try:
            write_report(folder, board, log)
            show(f"report: {folder / 'report.html'}")
        except OSError as problem:
            say(f"the report cannot be written: {problem.filename or folder}: {problem.strerror}")
    found = findings(log)
    if arguments.switch("--json"):
        from ta_loader.cli.output import print_json

        print_json(
            {
                "board": board.name,
                "exit_code": code,
                "stages": [{**r._asdict(), "stage": r.stage.word} for r in board.records],
                "commands": [c._asdict() for c in board.commands],
                "findings": [f._asdict() for f in found],
            }
        )
        return
    if not arguments.switch("--keep"):
        _output(arguments, board)
    if not arguments.switch("--quiet"):
        for record in board.records:
            show(f"{record.stage.word:12}{record.seconds:8.2f} s  {record.problem or 'reached'}")
    for done in board.commands:
        if done.lost:
            say(f"the first {done.lost} bytes of the output are missing: more came than is kept")
    for finding in found:
        show(f"{finding.kind} on {finding.console} at {finding.time:.3f} s:")
        show("\n".join(f"  {line}" for line in finding.lines))
    if trouble := board.log.trouble:
        say(trouble)


def _show(entry: Entry) -> None:
    print(entry, file=sys.stderr)


COMMAND = Command(
    name="board run",
    summary="Boot a board to a stage, and run a command in its shell.",
    words=("BOARD", "[COMMAND...]"),
    options=(
        *BOARD_OPTIONS,
        Option("--to", "STAGE", "rom, firmware, bootloader, kernel, shell or tee (default: the board's last)"),
        Option("--timeout", "SECONDS", f"for the command (default {COMMAND_SECONDS:g})"),
        Option("--put", "FILE=PATH", "before the command send a file to the board", many=True),
        Option("--get", "PATH=FILE", "after the command fetch a file from the board", many=True),
        Option("--report", "DIR", "write report.html, junit.xml, merged.log and console.log", out=True),
        Option("--symbols", "DIR", "folder with UUID.elf files, for panics of TAs", many=True),
        Option("--core", "FILE", "tee.elf, for panics of OP-TEE itself"),
        Option("--keep", "", "afterwards a shell on the board, until Ctrl-] or it goes off"),
        Option("--json", "", "print one JSON object: stages, command, panics"),
        Option("-v, --verbose", "", "show all consoles, merged by time, on standard error"),
        Option("-q, --quiet", "", "do not print the stages' times"),
    ),
    run=run,
    epilog=f"""\
COMMAND stands behind '--': one word is a line for the target's shell, several are a program and its arguments.
It runs in a subshell. The exit code is the command's; {TIMED_OUT} if it did not end in time,
{BOARD_FAILED} if the board failed, 2 for a wrong use.

examples:
  litebox-ta board run qemu-virt-linux -- 'ip addr show lo; uname -a'
  litebox-ta board run qemu-virt-litebox -- xtest -t regression 1004
  litebox-ta board run qemu-virt-litebox --keep --var tas=out/ta --var files=out/root -- mytest
  litebox-ta board run qemu-virt-optee --var firmware=out/bin -- xtest -t regression 1004
  litebox-ta board run ./myboard.toml --to kernel --report out
  litebox-ta board run host --to shell -- 'echo $HOME'""",
)
