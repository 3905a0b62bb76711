"""Find the subcommand, run it, and turn whatever it ends with into a message and an exit code."""

from __future__ import annotations

import gc
import os
import sys
from typing import TYPE_CHECKING

from south.errors import UsageError
from ta_loader.cli import exits

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.metadata import EntryPoint

    from ta_loader.cli.options import Command

GROUP = "litebox_ta.commands"
"""Entry points by which other packages add subcommands."""
BUILT_IN = {
    "run": "ta_loader.cli.run",
    "info": "ta_loader.cli.info",
    "verify": "ta_loader.cli.verify",
    "sign": "ta_loader.cli.sign",
    "encrypt": "ta_loader.cli.encrypt",
    "symbolize": "ta_loader.cli.symbolize",
    "algorithms": "ta_loader.cli.algorithms",
    "demo": "ta_loader.cli.demo",
    "new": "ta_loader.cli.new",
    "completion": "ta_loader.cli.completion",
    "man": "ta_loader.cli.man",
    "docs": "ta_loader.cli.docs",
    "qemu-arm": "ta_loader.cli.qemu_arm",
    "board": "ta_loader.cli.board",
    "kit": "ta_loader.cli.kit",
    "libteec": "ta_loader.cli.libteec",
    "serve": "ta_loader.cli.serve",
    "status": "ta_loader.cli.status",
    "storage": "ta_loader.cli.storage",
    "with": "ta_loader.cli.with_",
}
"""Found without a look at the entry points of everything installed, which takes longer than a TA's run."""


def main(argv: Sequence[str] | None = None) -> int:
    """The console script `litebox-ta`. Never raises for what users, images or TAs do."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        try:
            if argv is None:
                _spare_the_collector(words)
            code = _dispatch(words)
            sys.stdout.flush()
            return code
        except BrokenPipeError:
            raise
        except (Exception, KeyboardInterrupt) as problem:
            from ta_loader.cli.failure import failure_of, report

            failure = failure_of(problem)
            if failure is None:
                raise
            return report(failure, words, meant(words))
    except BrokenPipeError:
        # Whoever reads our output has left; the interpreter must not complain when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return exits.BROKEN_PIPE


def _spare_the_collector(words: list[str]) -> None:
    """Import the subcommand without garbage collection: modules are no garbage, and looking for some takes 7 ms."""
    gc.disable()
    try:
        if words and words[0] in BUILT_IN:
            find(words[0])
    finally:
        gc.freeze()
        gc.enable()


def meant(words: Sequence[str]) -> Command | None:
    """The command that a command line is for, `board run` for one with actions; None if nobody has it."""
    if not words or words[0] not in names():
        return None
    try:
        command = find(words[0])
        return command.actions().get(words[1], command) if words[1:] else command
    except Exception:  # of a package that cannot be loaded: why, is said already
        return None


def _dispatch(words: list[str]) -> int:
    if not words:
        print(overview(), file=sys.stderr)
        return exits.USAGE
    name = words[0]
    if name == "help" and words[1:]:
        return find(words[1]).main([*words[2:], "--help"])
    if name in ("-h", "--help", "help"):
        print(overview())
        return exits.OK
    if name in ("-V", "--version"):
        from importlib.metadata import version

        print(f"litebox-ta {version('litebox-ta')}")
        return exits.OK
    return find(name).main(words[1:])


def find(name: str) -> Command:
    """The subcommand `name`. UsageError if nobody has it."""
    module = BUILT_IN.get(name)
    if module is not None:
        import importlib

        command: Command = importlib.import_module(module).COMMAND
        return command
    points = _entry_points()
    if name in points:
        loaded: Command = points[name].load()
        return loaded
    import difflib

    close = difflib.get_close_matches(name, names(), 1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(sorted(names()))}"
    raise UsageError(f"no command {name!r}; {hint}")


def names() -> list[str]:
    """Of all commands, ours first."""
    return [*BUILT_IN, *sorted(_entry_points())]


def _entry_points() -> dict[str, EntryPoint]:
    """What other packages add; a built-in name stays ours."""
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=GROUP) if point.name not in BUILT_IN}


def overview() -> str:
    """Every subcommand with its summary."""
    lines = [
        "usage: litebox-ta COMMAND ...",
        "",
        "Runs OP-TEE trusted applications (TAs) on this host.",
        "",
        "commands:",
    ]
    for name in names():
        try:
            summary = find(name).summary
        except Exception as problem:  # a broken package must not hide the others
            from ta_loader.cli.failure import is_interrupt

            if is_interrupt(problem):
                raise
            summary = f"(cannot be loaded: {problem})"
        lines.append(f"  {name:12}{summary}")
    lines += ["", "litebox-ta COMMAND --help (or litebox-ta help COMMAND) shows more, with examples.", "", EXIT_CODES]
    return "\n".join(lines)


EXIT_CODES = (
    "exit codes: 0 success, 1 the TA returned an error, 2 usage, 3 panic or fault, 4 image refused, 5 limit, "
    "130 interrupted"
)
