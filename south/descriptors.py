"""Closing what nothing was written through."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def shut(descriptor: int) -> None:
    """Close a folder, a lock, a file that was read. An error says nothing there, and it is closed all the same
    (close(2)); what else is to be closed must not stay open for it."""
    try:
        os.close(descriptor)
    except OSError:
        pass


@contextmanager
def closed_after(descriptor: int) -> Iterator[None]:
    """`shut` at the end of a `with`."""
    try:
        yield
    finally:
        shut(descriptor)
