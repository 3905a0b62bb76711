"""Reading TOML tables such that every mistake is told at once, each with its key and what to do about it."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

from boards.pattern import compile_pattern
from south.errors import UsageError
from ta_loader.inputs import parse_toml

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MAX_FILE = 1 << 20
"""Bytes; a board's description has a few kilobytes."""
VARIABLE = re.compile(r"\$\{([^${}]*)\}")


class Mistakes:
    """What is wrong with one file."""

    def __init__(self, file: str, variables: frozenset[str] = frozenset()) -> None:
        self.file = file
        self.variables = variables
        """That `${...}` may name."""
        self.found: list[str] = []

    def add(self, key: str, problem: str) -> None:
        self.found.append(f"{self.file}: {key}: {problem}" if key else f"{self.file}: {problem}")


class Table:
    """One table of a file; each getter notes that its key is known, and `finish` complains of the rest."""

    def __init__(self, data: object, path: str, mistakes: Mistakes) -> None:
        self._path = path
        self.mistakes = mistakes
        self._known: set[str] = set()
        self._data: dict[str, object] = {}
        if isinstance(data, dict):
            self._data = data
        else:
            mistakes.add(path, f"is {_kind(data)}; write it as a table, [{path}]")

    def key(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name

    def wrong(self, name: str, problem: str) -> None:
        self.mistakes.add(self.key(name), problem)

    def has(self, name: str) -> bool:
        self._known.add(name)
        return name in self._data

    def names(self) -> list[str]:
        return list(self._data)

    def text(self, name: str, default: str | None = None, *, expand: bool = True) -> str:
        """default None: it must be there. expand: `${...}` is a variable in it."""
        if not self.has(name):
            if default is None:
                self.wrong(name, "is missing; it needs a string")
            return default or ""
        return self._text(name, self._data[name], expand)

    def _text(self, name: str, value: object, expand: bool = True) -> str:
        if not isinstance(value, str):
            self.wrong(name, f"is {_kind(value)}; write a string, in quotes")
            return ""
        for variable in VARIABLE.findall(value) if expand else ():
            if variable not in self.mistakes.variables:
                self.wrong(name, f"names no variable: ${{{variable}}}{suggest(variable, self.mistakes.variables)}")
        return value

    def texts(self, name: str, default: Sequence[str] | None = None) -> tuple[str, ...]:
        """A list of strings."""
        if not self.has(name):
            if default is None:
                self.wrong(name, 'is missing; it needs a list of strings, ["program", "argument"]')
            return tuple(default or ())
        value = self._data[name]
        if not isinstance(value, list):
            self.wrong(name, f'is {_kind(value)}; write a list of strings, ["program", "argument"]')
            return ()
        out = tuple(self._text(f"{name}[{index}]", item) for index, item in enumerate(value))
        if default is None and not out:
            self.wrong(name, "is empty; it needs at least one string")
        return out

    def pattern(self, name: str, default: str | None = None) -> str:
        """A regular expression, for bytes."""
        value = self.text(name, default, expand=False)
        try:
            compile_pattern(value)
        except (re.error, OverflowError, RecursionError, UnicodeError) as problem:
            self.wrong(name, f"{value!r} is no regular expression: {problem}; in '...' TOML leaves \\ alone")
            return ""
        return value

    def number(self, name: str, default: float | None, low: float, high: float, unit: str = "seconds") -> float:
        if not self.has(name):
            if default is None:
                self.wrong(name, f"is missing; it needs a number of {unit}")
            return low if default is None else default
        value = self._data[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            shown = value if isinstance(value, int | float) else _kind(value)
            self.wrong(name, f"is {shown}; write a number of {unit} between {low:g} and {high:g}")
            return low
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        if not self.has(name):
            return default
        value = self._data[name]
        if not isinstance(value, bool):
            self.wrong(name, f"is {_kind(value)}; write true or false")
            return default
        return value

    def choice(self, name: str, default: str | None, among: Sequence[str]) -> str:
        value = self.text(name, default, expand=False)
        if value not in among and (value or self.has(name)):
            self.wrong(name, f"{value!r} is none of {', '.join(among)}{suggest(value, among)}")
            return among[0]
        return value or among[0]

    def table(self, name: str) -> Table:
        """Empty if it is not there."""
        return Table(self._data[name] if self.has(name) else {}, self.key(name), self.mistakes)

    def tables(self, name: str) -> list[tuple[str, Table]]:
        """The tables in a table, by name."""
        parent = self.table(name)
        return [(child, parent.table(child)) for child in parent.names()]

    def list_of_tables(self, name: str) -> list[Table]:
        """Tables in a list, `[{ ... }, { ... }]` or [[name]]; none if it is not there."""
        value = self._data[name] if self.has(name) else []
        if not isinstance(value, list):
            self.wrong(name, f"is {_kind(value)}; write a list of tables, [{{ ... }}]")
            return []
        return [Table(item, self.key(f"{name}[{index}]"), self.mistakes) for index, item in enumerate(value)]

    def finish(self) -> None:
        for name in self._data:
            if name not in self._known:
                hint = suggest(name, self._known) or f"; known are {', '.join(sorted(self._known))}"
                self.wrong(name, f"is not known here{hint}")


def suggest(name: str, among: Sequence[str] | set[str] | frozenset[str]) -> str:
    close = difflib.get_close_matches(name, list(among), 1)
    return f"; did you mean {close[0]}?" if close else ""


def _kind(value: object) -> str:
    kinds: tuple[tuple[type, str], ...] = (
        (bool, "true or false"),
        (int, "a number"),
        (float, "a number"),
        (str, "a string"),
        (list, "a list"),
        (dict, "a table"),
    )
    return next((name for kind, name in kinds if isinstance(value, kind)), "a date or time")


def load(path: Path, mistakes: Mistakes) -> dict[str, object]:
    """The file's tables; empty, with the mistake noted, if it is no TOML."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
        if len(data) > MAX_FILE:
            mistakes.add("", f"has more than {MAX_FILE} bytes; is it a board's description?")
            return {}
        return parse_toml(data)
    except OSError as problem:
        mistakes.add("", f"cannot be read: {problem.strerror}")
    except UsageError as problem:
        mistakes.add("", str(problem))
    return {}
