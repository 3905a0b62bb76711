"""How a command failed: in words for a person, as JSON for a program, and by the process's exit code."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from south.errors import UsageError
from ta_loader.cli import exits
from ta_loader.errors import ImageRefused
from tee.errors import TeeError, reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ta_loader.cli.options import Command

_HINT = "--help shows more)"
_NAME = "litebox-ta: "


class Failure(NamedTuple):
    """kind: `usage`, `refused` (an image), `tee` (an error of the secure world), `system` (the host refused something),
    `interrupted`, `board`. code: the exit code. logged: the message stands in the log of the secure world.
    """

    kind: str
    message: str
    code: int
    logged: bool = False

    def json(self) -> dict[str, Any]:
        """What every command that takes `--json` prints of it."""
        return {"exit": self.code, "error": {"kind": self.kind, "message": self.message}}


def failure_of(problem: BaseException) -> Failure | None:
    """None for what is nobody's fault but ours."""
    from south.platform import EngineError

    if is_interrupt(problem):
        return Failure("interrupted", "interrupted", exits.INTERRUPTED)
    if isinstance(problem, UsageError):
        return Failure("usage", str(problem), exits.USAGE)
    if isinstance(problem, ImageRefused):
        from ta_loader.cli.calls import explain

        return Failure("refused", f"refused: {explain(problem)}", exits.REFUSED)
    if isinstance(problem, TeeError):
        text = problem.detail or str(problem)
        if refused_by_host(problem):
            return Failure("system", text, exits.USAGE, problem.logged)
        return Failure("tee", text, exits.TA_ERROR, problem.logged)
    if isinstance(problem, OSError):
        return Failure("system", reason(problem), exits.USAGE)
    if isinstance(problem, EngineError):
        return Failure("system", str(problem), exits.USAGE)
    return None


def is_interrupt(problem: BaseException | None) -> bool:
    """Or comes of one: until Python 3.12, what is raised while a class is made ends up as a RuntimeError."""
    while problem is not None and not isinstance(problem, KeyboardInterrupt):
        problem = problem.__cause__
    return problem is not None


def refused_by_host(problem: BaseException) -> bool:
    """Whether an error of the secure world comes of a state folder that this host does not take."""
    from south.linux_host.state import StateError

    cause = problem.__cause__
    while cause is not None and not isinstance(cause, StateError | UsageError):
        cause = cause.__cause__
    return cause is not None


def report(failure: Failure, words: Sequence[str], command: Command | None) -> int:
    """Print it as `words`, the command line, ask for; the exit code. command: that they mean, if there is one."""
    options = words[: words.index("--")] if "--" in words else words
    if "--json" in options and command is not None and any(option.key == "--json" for option in command.options):
        from ta_loader.cli.output import print_json

        print_json(failure.json())
        sys.stdout.flush()
    name = f"{command.name} " if command else ""
    if failure.logged and not {"-q", "--quiet"} & {*options}:
        return failure.code
    say(failure.message, f"(litebox-ta {name}{_HINT}" if failure.kind == "usage" else "")
    return failure.code


def say(message: str, hint: str = "") -> None:
    """On standard error, after all that standard output has so far. hint: a line of its own."""
    from north.text import visible
    from south.linux_host.log import STDERR

    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    STDERR.write(f"{_NAME}{visible(message)}\n" + (f"{hint}\n" if hint else ""))


def plain(printed: str) -> str:
    """The messages in what another command of ours printed, for a message of the command that ran it."""
    lines = (line.removeprefix(_NAME) for line in printed.splitlines() if not line.endswith(_HINT))
    return "\n".join(lines).strip()
