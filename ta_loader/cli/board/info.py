"""`litebox-ta board info BOARD`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from boards.catalogue import Stage, find_board
from ta_loader.cli import exits
from ta_loader.cli.options import Command, Option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from boards.catalogue import BoardEntry
    from ta_loader.cli.options import Arguments


def run(arguments: Arguments) -> int:
    board = find_board(arguments.words[0])
    if arguments.switch("--json"):
        from ta_loader.cli.output import print_json

        print_json(_plain(board))
    else:
        print("\n".join(_lines(board)))
    return exits.OK


def _plain(board: BoardEntry) -> dict[str, object]:
    out = dataclasses.asdict(board)
    out["stages"] = [{**stage, "stage": stage["stage"].word} for stage in out["stages"]]
    out["consoles"] = [{**dataclasses.asdict(console), "pace": console.pace._asdict()} for console in board.consoles]
    out["alarms"] = [alarm._asdict() for alarm in board.alarms]
    return out


def _lines(board: BoardEntry) -> Iterator[str]:
    yield f"{board.name}: {board.summary}"
    yield f"file: {board.file}"
    yield "variables:" if board.variables else "variables: none"
    for variable in board.variables:
        default = "must be given" if variable.default is None else f"default {variable.default!r}"
        if variable.make:
            default = f"default: made by {' '.join(variable.make)}"
        yield f"  {variable.name:12}{variable.help} ({default})"
    yield "consoles:"
    for console in board.consoles:
        yield f"  {console.name:12}{console.link}"
    command = " ".join(board.power.on)
    yield f"power: {board.power.kind}" + (f": {command}" if command else "")
    yield "stages:"
    for stage in board.stages:
        what = f"within {stage.timeout:g} s"
        if stage.stage is Stage.SHELL:
            what = f"a prompt {what}"
        elif stage.run:
            what = f"{'; '.join(stage.run)} {what}"
        elif stage.steps:
            what = f"{', '.join(repr(step.expect) for step in stage.steps if step.expect)} {what}"
        else:
            what = f"{stage.pattern!r} {what}"
        yield f"  {stage.stage.word:12}{what} on {stage.console}"


COMMAND = Command(
    name="board info",
    summary="Check a board's description and show it.",
    words=("BOARD",),
    options=(Option("--json", "", "print one JSON object"),),
    run=run,
    epilog="""\
BOARD is the name of a known board or the file of a description; each mistake in it is reported with its key.

examples:
  litebox-ta board info qemu-virt-optee
  litebox-ta board info ./myboard.toml --json""",
)
