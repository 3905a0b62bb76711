"""Options that name where results go: looked at before the command runs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ta_loader.cli.options import is_path
from ta_loader.outputs import refuse_same, require_file, require_folder

if TYPE_CHECKING:
    from ta_loader.cli.options import Arguments, Command

_FOLDERS = ("DIR", "ROOT", "FOLDER")
STDOUT = "-"


def check_outputs(command: Command, arguments: Arguments) -> None:
    """UsageError if one cannot be written, or is a file that the command reads or writes otherwise."""
    files: list[tuple[str, str]] = []
    for option in command.options:
        for path in arguments.many(option.key) if option.out else ():
            if option.metavar in _FOLDERS:
                require_folder(path, option.key)
            elif path != STDOUT:
                require_file(path, option.key)
                files.append((option.key, path))
    inputs = inputs_of(command, arguments)
    for index, (key, path) in enumerate(files):
        refuse_same(path, key, (*inputs, *(other for _, other in files[:index])))


def inputs_of(command: Command, arguments: Arguments) -> list[str]:
    """The files on a command line that a command reads."""
    last = len(command.words) - 1
    words = [word for at, word in enumerate(arguments.words) if last >= 0 and is_path(command.words[min(at, last)])]
    for option in command.options:
        if is_path(option.metavar) and not option.out:
            words += arguments.many(option.key)
    return [word for word in words if os.path.isfile(word)]
