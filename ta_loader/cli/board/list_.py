"""`litebox-ta board list`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from boards.catalogue import read_board, shipped
from south.errors import UsageError
from ta_loader.cli import exits
from ta_loader.cli.options import Command, Option

if TYPE_CHECKING:
    from ta_loader.cli.options import Arguments


def run(arguments: Arguments) -> int:
    places = dict(shipped())
    for folder in os.environ.get("LITEBOX_BOARDS", "").split(":"):
        if folder:
            places |= {path.stem: path for path in sorted(Path(folder).glob("*.toml"))}
    rows = [(name, str(path), *_summary(path)) for name, path in sorted(places.items())]
    if arguments.switch("--json"):
        from ta_loader.cli.output import print_json

        print_json([{"name": n, "file": f, "summary": s, "problem": p} for n, f, s, p in rows])
    else:
        width = max(len(row[0]) for row in rows) + 2
        for name, _, summary, problem in rows:
            print(f"{name:{width}}{problem or summary}")
    return exits.OK


def _summary(path: Path) -> tuple[str, str]:
    """(summary, problem): one bad file must not hide the others."""
    try:
        return read_board(path).summary, ""
    except UsageError as problem:
        return "", f"({str(problem).splitlines()[0]})"


COMMAND = Command(
    name="board list",
    summary="List the boards that are known.",
    words=(),
    options=(Option("--json", "", "print a JSON list"),),
    run=run,
    epilog="""\
Those that come with litebox-ta, and the NAME.toml files in the folders of $LITEBOX_BOARDS (separated by ':').

examples:
  litebox-ta board list
  LITEBOX_BOARDS=~/boards litebox-ta board list --json""",
)
