"""What a subcommand is made of: declared options, their parsing, and the help text made from them.

argparse would do all but keep apart the parameter lists of several `--invoke`s, and costs 5 ms of
the 50 that a whole run may take.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from south.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TEXT = "TEXT"
"""Metavar of the options whose value may be empty."""
_HELP_COLUMN = 26
_WIDTH = 100


PATHS = ("FILE", "DIR", "PEM", "KEY", "ELF", "TA", "ROOT", "SOCKET", "PATH", "FOLDER", "LOG")
"""Metavars and words whose values are names of files or folders, among others."""


def is_path(name: str) -> bool:
    """Whether a metavar or word stands for a file or folder."""
    return name.strip("[].").upper() in PATHS


class Option(NamedTuple):
    """names: `--trust`, or `-q, --quiet`; metavar: "" for a switch; many: it may be given again.

    rest: it takes every word up to the next option, as `--invoke CMD PARAMS...` does. out: the command writes to this
    FILE, or files into this DIR; whether it can is found out before it runs. blank: an empty value counts as none
    given, for the variables of boards.
    """

    names: str
    metavar: str
    help: str
    many: bool = False
    rest: bool = False
    out: bool = False
    blank: bool = False

    @property
    def key(self) -> str:
        """The last of the names: what `Arguments` calls it."""
        return self.names.rpartition(" ")[2]


class Arguments:
    """A parsed command line, by option key."""

    def __init__(self) -> None:
        self.words: list[str] = []
        """What is no option."""
        self._given: dict[str, list[list[str]]] = {}

    def add(self, key: str, values: list[str]) -> None:
        self._given.setdefault(key, []).append(values)

    def switch(self, key: str) -> bool:
        return key in self._given

    def one(self, key: str) -> str | None:
        given = self._given.get(key)
        return given[-1][0] if given else None

    def many(self, key: str) -> list[str]:
        return [values[0] for values in self._given.get(key, ())]

    def lists(self, key: str) -> list[list[str]]:
        """Of a `rest` option: the words of each time it was given."""
        return self._given.get(key, [])


class Command(NamedTuple):
    """A subcommand of `litebox-ta`: what an entry point of group `litebox_ta.commands` must name.

    words: names of what is no option; `[X]` may be missing, a last `X...` takes one or more, `[X...]` any number.
    run: its result is the process's exit code. epilog: examples and whatever else --help should tell. choices: what the
    first word may be, for shells that complete it.
    """

    name: str
    summary: str
    words: tuple[str, ...]
    options: tuple[Option, ...]
    run: Callable[[Arguments], int]
    epilog: str = ""
    choices: tuple[str, ...] = ()

    def actions(self) -> dict[str, Command]:
        """Subcommands by name; none but for a group."""
        return {}

    def main(self, argv: Sequence[str]) -> int:
        """Parse `argv` and run. UsageError if it does not fit the declaration."""
        ours = argv[: argv.index("--")] if "--" in argv else argv
        if "-h" in ours or "--help" in ours:
            print(help_text(self))
            return 0
        arguments = parse(self, argv)
        if any(option.out and arguments.switch(option.key) for option in self.options):
            from ta_loader.cli.outputs import check_outputs

            check_outputs(self, arguments)
        return self.run(arguments)


def parse(command: Command, argv: Sequence[str]) -> Arguments:
    """UsageError, with what to do, for anything the command did not declare."""
    known = {name: option for option in command.options for name in option.names.split(", ")}
    out = Arguments()
    queue = list(argv)
    while queue:
        word = queue.pop(0)
        if word == "--":
            out.words += queue
            break
        if not word.startswith("-") or word == "-":
            out.words.append(word)
            continue
        name, equals, attached = word.partition("=")
        option = known.get(name)
        if option is None:
            raise UsageError(f"{command.name} has no option {name}{_suggestion(name, known)}")
        if not option.many and not option.rest and out.switch(option.key):
            raise UsageError(f"{name} may be given only once")
        values = _values(option, name, [attached] if equals else [], queue)
        if values != [""] or not option.blank:
            out.add(option.key, values)
    _check_words(command, out.words)
    return out


def _values(option: Option, name: str, values: list[str], queue: list[str]) -> list[str]:
    if not option.metavar:
        if values:
            raise UsageError(f"{name} takes no value")
        return []
    if option.rest:
        while queue and not queue[0].startswith("--"):
            values.append(queue.pop(0))
    elif not values and queue and not (queue[0].startswith("-") and queue[0] != "-"):
        values.append(queue.pop(0))
    if not values:
        raise UsageError(f"{name} needs {option.metavar}")
    if values[0] == "" and not (option.blank or option.metavar == TEXT):
        raise UsageError(f"{name} needs {option.metavar}, and not an empty one")
    return values


def _check_words(command: Command, words: Sequence[str]) -> None:
    needed = [word for word in command.words if not word.startswith("[")]
    endless = bool(command.words) and command.words[-1].rstrip("]").endswith("...")
    if len(words) < len(needed):
        missing = needed[len(words)].removesuffix("...")
        hint = ""
        if any(option.rest for option in command.options):
            hint = ", before the first option that takes a list of parameters"
        raise UsageError(f"{command.name} needs {missing}{hint}")
    for index, word in enumerate(words):
        name = command.words[min(index, len(command.words) - 1)] if command.words else ""
        if word == "" and is_path(name):
            raise UsageError(f"{command.name} needs {name.strip('[].')}, and not an empty one")
    if len(words) > len(command.words) and not endless:
        raise UsageError(f"{command.name} does not know what to do with {words[len(command.words)]!r}")


def _suggestion(name: str, known: dict[str, Option]) -> str:
    import difflib  # for a mistyped option alone

    close = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {close[0]}?" if close else ""


def help_text(command: Command) -> str:
    usage = " ".join(("litebox-ta", command.name, *command.words, "[OPTION...]"))
    lines = [f"usage: {usage}", "", command.summary, ""]
    if command.options:
        lines.append("options:")
        for option in command.options:
            left = f"  {option.names} {option.metavar}".rstrip()
            lines += _columns(left, option.help + (" (may be repeated)" if option.many or option.rest else ""))
        lines += _columns("  -h, --help", "show this text")
    if command.epilog:
        lines += ["", command.epilog.strip("\n")]
    return "\n".join(lines)


def _columns(left: str, right: str) -> list[str]:
    lines = [left.ljust(_HELP_COLUMN)] if len(left) < _HELP_COLUMN else [left, " " * _HELP_COLUMN]
    for word in right.split():
        if len(lines[-1]) > _HELP_COLUMN and len(lines[-1]) + 1 + len(word) > _WIDTH:
            lines.append(" " * _HELP_COLUMN)
        lines[-1] += word if len(lines[-1]) == _HELP_COLUMN else f" {word}"
    return lines


def integer(text: str, what: str, low: int, high: int) -> int:
    """A decimal, 0x, 0o or 0b number in [low, high]; UsageError names `what` it was for."""
    try:
        value = int(text, 0)
    except ValueError:
        raise UsageError(f"{what}: {text!r} is not a number; write it as 42 or 0x2a") from None
    if not low <= value <= high:
        raise UsageError(f"{what}: {text} is not between {low} and {high}")
    return value


def size(text: str, what: str, high: int = 1 << 40) -> int:
    """A size in bytes, or with suffix K, M or G (powers of 1024)."""
    shift = {"K": 10, "M": 20, "G": 30}.get(text[-1:].upper(), 0)
    if text[:2].lower() == "0x":
        shift = 0
    return integer(text[:-1] if shift else text, what, 0, high >> shift) << shift


def seconds(text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1e9:
        raise UsageError(f"{what}: {text!r} is not a number of seconds above 0")
    return value
