"""Where results go, looked at before the work: minutes of it should not end in "no such folder"."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from south.errors import UsageError
from tee.errors import reason

if TYPE_CHECKING:
    from collections.abc import Iterable


def require_file(path: str, what: str, *, parents: bool = False) -> None:
    """UsageError if `replacing` could not write there. what: the option, or whatever the path stood in place of.
    parents: the folder is made as well, if there is none.
    """
    if not path:
        raise UsageError(f"{what}: the name of the file is empty")
    where = f"{what} {path}"
    target = os.path.realpath(path) if os.path.islink(path) else path
    status = _status(target, where)
    folder = os.path.dirname(target) or "."
    if status is None:
        if parents:
            require_folder(folder, what)
            return
        if not os.path.isdir(folder):
            raise UsageError(f"{where}: no folder {folder}")
    elif stat.S_ISDIR(status.st_mode):
        raise UsageError(f"{where}: a folder; name a file")
    elif stat.S_ISSOCK(status.st_mode):
        raise UsageError(f"{where}: a socket; name a file")
    elif os.access(target, os.W_OK):
        return
    elif not stat.S_ISREG(status.st_mode):
        raise UsageError(f"{where}: cannot be written: permission denied")
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise UsageError(f"{where}: cannot be written: the folder {folder} takes no files")


def require_folder(path: str, what: str) -> None:
    """UsageError if files could not be written into it; one that is not there must be one that can be made."""
    where = f"{what} {path}"
    place = os.path.abspath(path)
    while _status(place, where) is None and not os.path.islink(place) and place != os.path.dirname(place):
        place = os.path.dirname(place)
    named = "" if place == os.path.abspath(path) else f"{place} "
    if not os.path.isdir(place):
        raise UsageError(f"{where}: {named}is no folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UsageError(f"{where}: {named}cannot be written to")


def refuse_same(out: str, what: str, others: Iterable[str]) -> None:
    """UsageError if the file `out` is one of `others` as well, also by another name of it."""
    mine = _identity(out)
    for other in others:
        if mine is not None and mine == _identity(other):
            raise UsageError(f"{what} {out}: the same file as {other}, which it would replace")


def _identity(path: str) -> tuple[int, int] | str | None:
    """Of a regular file, or of a name where there is no file yet; None for a device or pipe, which keeps nothing."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return os.path.realpath(path)
    except (OSError, ValueError):
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None


def _status(path: str, where: str) -> os.stat_result | None:
    """None if there is nothing."""
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as problem:
        problem.filename = None
        raise UsageError(f"{where}: cannot be written: {reason(problem)}") from None
