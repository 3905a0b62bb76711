"""Find the subcommand, run it, and turn whatever it ends with into a message and an exit code."""

from __future__ import annotations

import gc
import os
import sys
from typing import TYPE_CHECKING

from south.errors import UsageError
from ta_loader.cli import exits
from ta_loader.errors import ImageRefused
from tee.errors import TeeError, reason

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
}
"""Found without a look at the entry points of everything installed, which takes longer than a TA's run."""


def main(argv: Sequence[str] | None = None) -> int:
    """The console script `litebox-ta`. Never raises for what users, images or TAs do."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if argv is None:
            _spare_the_collector(words)
        code = _dispatch(words)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return _fail("interrupted", exits.INTERRUPTED)
    except UsageError as problem:
        name = f" {words[0]}" if words and _known(words[0]) else ""
        return _fail(f"{problem}\n(litebox-ta{name} --help shows more)", exits.USAGE)
    except ImageRefused as problem:
        from ta_loader.cli.calls import explain

        return _fail(f"refused: {explain(problem)}", exits.REFUSED)
    except TeeError as problem:
        return _fail(problem.detail or str(problem), exits.TA_ERROR)
    except BrokenPipeError:
        # Whoever reads our output has left; the interpreter must not complain when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return exits.BROKEN_PIPE
    except OSError as problem:
        return _fail(reason(problem), exits.USAGE)
    except Exception as problem:
        from south.platform import EngineError

        if isinstance(problem, EngineError):
            return _fail(str(problem), exits.USAGE)
        raise


def _spare_the_collector(words: list[str]) -> None:
    """Import the subcommand without garbage collection: modules are no garbage, and looking for some takes 7 ms."""
    gc.disable()
    try:
        if words and words[0] in BUILT_IN:
            find(words[0])
    finally:
        gc.freeze()
        gc.enable()


def _fail(message: str, code: int) -> int:
    from north.text import visible
    from south.linux_host.log import STDERR

    STDERR.write(f"litebox-ta: {visible(message)}\n")
    return code


def _known(name: str) -> bool:
    return name in BUILT_IN or name in _entry_points()


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
            summary = f"(cannot be loaded: {problem})"
        lines.append(f"  {name:12}{summary}")
    lines += ["", "litebox-ta COMMAND --help (or litebox-ta help COMMAND) shows more, with examples.", "", EXIT_CODES]
    return "\n".join(lines)


EXIT_CODES = (
    "exit codes: 0 success, 1 the TA returned an error, 2 usage, 3 panic or fault, 4 image refused, 5 limit, "
    "130 interrupted"
)
