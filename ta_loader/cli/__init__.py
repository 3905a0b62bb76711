"""The `litebox-ta` command line, above every other package: none of them imports it.

`start` is the console script, `dispatch` finds the subcommand and turns how it ends into an exit code (`exits`),
`options` is what one is made of. Each subcommand is a module with a `COMMAND`, `board/` a group of them; what several
share has a module of its own. What has nothing to do with a command line lies below: `normal_world.host` makes secure
worlds.

Another distribution adds a subcommand by an entry point of group `litebox_ta.commands` that names a `Command`.
"""

from __future__ import annotations

TYPE_CHECKING = False  # without the module typing, for `start`
if TYPE_CHECKING:
    from typing import Any

    from ta_loader.cli.dispatch import main
    from ta_loader.cli.options import Arguments, Command, Option

_HOMES = {
    "Arguments": "ta_loader.cli.options",
    "Command": "ta_loader.cli.options",
    "Option": "ta_loader.cli.options",
    "main": "ta_loader.cli.dispatch",
}

__all__ = ["Arguments", "Command", "Option", "main"]


def __getattr__(name: str) -> Any:
    """Imported at first use: `start` has to run before anything else is imported."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(home), name)
