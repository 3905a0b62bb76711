"""`litebox-ta board`: list, info, console, run and guest, each imported when it is used."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

from boards.ending import Interrupted, interruptible
from boards.errors import TargetError
from south.errors import UsageError
from ta_loader.cli.failure import Failure, report
from ta_loader.cli.options import Command, Option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ta_loader.cli.options import Arguments

BOARD_FAILED = 125
"""Exit code: the board did not get so far that a command could fail; `git bisect run` skips such a commit."""
TIMED_OUT = 124
"""Exit code: a command on the board did not end in time; timeout(1) has the same."""

ACTIONS = {
    "list": "ta_loader.cli.board.list_",
    "info": "ta_loader.cli.board.info",
    "console": "ta_loader.cli.board.console",
    "run": "ta_loader.cli.board.run",
    "test": "ta_loader.cli.board.test_",
    "put": "ta_loader.cli.board.put",
    "get": "ta_loader.cli.board.get",
    "guest": "ta_loader.cli.board.guest",
}

BOARD_OPTIONS = (
    Option("--var", "NAME=VALUE", "value of one of the board's variables (board info shows them)", many=True),
)


class Group(Command):
    """A subcommand with subcommands."""

    def actions(self) -> dict[str, Command]:
        return {name: action(name) for name in ACTIONS}

    def main(self, argv: Sequence[str]) -> int:
        if not argv or argv[0] in ("-h", "--help", "help"):
            print(overview())
            return 0 if argv else 2
        name, *rest = argv
        if name not in ACTIONS:
            raise UsageError(f"board {name}: there are {', '.join(ACTIONS)}")
        with interruptible():
            try:
                return action(name).main(rest)
            except TargetError as problem:
                failure = Failure("board", str(problem), BOARD_FAILED)
            except Interrupted as problem:
                failure = Failure("interrupted", str(problem), problem.exit_code)
            return report(failure, rest, action(name))


def say(text: str) -> None:
    """To a person, who may have gone (the terminal was closed): that must not keep a board's power on."""
    show(f"litebox-ta: {text}")


def show(text: str) -> None:
    try:
        print(text, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        pass


def action(name: str) -> Command:
    command: Command = importlib.import_module(ACTIONS[name]).COMMAND
    return command


def overview() -> str:
    lines = ["usage: litebox-ta board ACTION ...", "", SUMMARY, "", "actions:"]
    lines += [f"  {name:12}{action(name).summary}" for name in ACTIONS]
    lines += ["", "litebox-ta board ACTION --help says more, with examples."]
    lines += [f"exit codes: 0 success, 2 usage, {TIMED_OUT} a command took too long, {BOARD_FAILED} the board failed,"]
    lines += ["            else the command's own (board run), pytest's (board test)"]
    return "\n".join(lines)


def variables(arguments: Arguments) -> dict[str, str]:
    """Of `--var NAME=VALUE`."""
    out: dict[str, str] = {}
    for word in arguments.many("--var"):
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise UsageError(f"--var {word}: write --var NAME=VALUE")
        out[name] = value
    return out


def _unused(_: Arguments) -> int:
    raise AssertionError("a group runs its actions")


SUMMARY = "Boot boards and virtual machines through their stages, over serial lines."
COMMAND = Group(name="board", summary=SUMMARY, words=("ACTION",), options=(), run=_unused)
