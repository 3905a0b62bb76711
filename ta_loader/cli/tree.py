"""All commands with their actions, as one table: what completion and manual pages are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ta_loader.cli.options import Command


class Node(NamedTuple):
    """words: of the command line, ("board", "run"). actions: names of its subcommands; () if it runs by itself."""

    words: tuple[str, ...]
    command: Command
    actions: tuple[str, ...]


def nodes() -> Iterator[Node]:
    """Every command that can be loaded, an action after its group. One of another package that cannot is left out."""
    from ta_loader.cli.dispatch import find, names

    for name in names():
        try:
            command = find(name)
        except Exception:  # a broken package must not hide the others
            continue
        actions = command.actions()
        yield Node((name,), command, tuple(actions))
        for action, below in actions.items():
            yield Node((name, action), below, ())
