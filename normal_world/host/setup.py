"""What a secure world is made of, as whoever runs it asks for it."""

from __future__ import annotations

from typing import NamedTuple

from north.memory import Layout
from south.errors import UsageError
from tee.limits import Limits

MIN_MEMORY = 1 << 20
"""Bytes of a TA instance's private memory; with less it holds no TA."""


class Setup(NamedTuple):
    """What a secure world is made of. memory, storage_limit: bytes; timeout: seconds; paths as the user wrote them."""

    ta_dirs: tuple[str, ...] = ()
    trust: tuple[str, ...] = ()
    allow_unsigned: bool = False
    enc_key: bytes | None = None
    state: str | None = None
    memory: int = Limits().memory
    timeout: float | None = None
    elf: tuple[str, ...] = ()
    trace: bool = False
    trace_out: str | None = None
    quiet: bool = False
    rpmb_integrity: bool = False
    layout: Layout = Layout.BOARD
    profile_dir: str | None = None
    storage_limit: int | None = None


def read_layout(text: str | None, name: str) -> Layout:
    """The layout of that name; None: a board's. UsageError."""
    try:
        return Layout.BOARD if text is None else Layout(text)
    except ValueError:
        raise UsageError(f"{name} {text}: say {' or '.join(layout.value for layout in Layout)}") from None
