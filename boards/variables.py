"""Values of a board's variables: given, by default, or made by a command when they are first used."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from boards import hooks
from boards.catalogue_read import VARIABLE, suggest
from south.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from boards.catalogue import BoardEntry, Variable

MAKE_SECONDS = 3600.0
"""For one command; it may have to fetch a lot. It tells on standard error what it does."""


class Values(dict[str, str]):
    """By name. One that is made is not in it before it has been asked for; UsageError if that fails."""

    def __init__(self, board: str) -> None:
        super().__init__()
        self._board = board
        self.made: dict[str, Variable] = {}

    def __missing__(self, name: str) -> str:
        self[name] = value = self._make(self.made[name])
        return value

    def _make(self, variable: Variable) -> str:
        words = [expand(word, self) for word in variable.make]
        try:
            done = hooks.run(words, MAKE_SECONDS, show=True)
        except subprocess.TimeoutExpired:
            raise self._failure(variable, f"took more than {MAKE_SECONDS:g} s") from None
        except OSError as problem:
            raise self._failure(variable, f"cannot be run: {problem.strerror}") from None
        if done.status:
            raise self._failure(variable, f"ended with status {done.status}")
        value = os.fsdecode(done.out).rstrip("\n").rpartition("\n")[2]
        if not value:
            raise self._failure(variable, "printed nothing")
        return value

    def _failure(self, variable: Variable, problem: str) -> UsageError:
        command = " ".join(expand(word, self) for word in variable.make)
        return UsageError(
            f"{self._board}: {variable.name} was to be made, but {command} {problem}; "
            f"without it: --var {variable.name}=..., {variable.help}"
        )


def resolve(board: BoardEntry, given: Mapping[str, str], run: Path) -> Values:
    """The values of all variables. UsageError for one that is unknown, or missing."""
    known = {variable.name: variable for variable in board.variables}
    for name in given:
        if name not in known:
            has = f"; it has {', '.join(known)}" if known else "; it has none"
            raise UsageError(f"{board.name} has no variable {name}{suggest(name, list(known)) or has}")
    values = Values(board.name)
    values |= {"run": str(run), "board": board.name, "python": sys.executable}
    for name, variable in known.items():
        value = given.get(name, variable.default)
        if value is not None:
            values[name] = value
        elif variable.make:
            values.made[name] = variable
        else:
            raise UsageError(f"{board.name} needs --var {name}=...: {variable.help}")
    return values


def expand(text: str, values: Mapping[str, str]) -> str:
    return VARIABLE.sub(lambda found: values[found[1]], text)
