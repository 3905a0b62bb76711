"""The agent on a pty, without a board or a shell: a line whose faults are chosen, and what speaks over it."""

from __future__ import annotations

import contextlib
import shlex
from typing import TYPE_CHECKING

from boards.board_tee import ConsoleLine
from boards.console import Console
from boards.console_link import link_maker
from boards.console_log import Log
from boards.testing import FakeLine, Faults
from normal_world.agent.build import ensure
from normal_world.agent.connection import SILENCE, Connection
from normal_world.libteec import ensure as ensure_libteec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

TOKEN = "0123456789abcdef"


@contextlib.contextmanager
def agent(
    socket: str,
    faults: Faults = Faults(),  # noqa: B008 (immutable)
    seed: int = 0,
    *,
    machine: str | None = None,
    program: Path | None = None,
    before: Sequence[str] = (),
    silence: float = SILENCE,
) -> Iterator[Connection]:
    """before: words in front of the program's, an emulator's for one. The daemon is the one at `socket`."""
    libteec = f"LITEBOX_LIBTEEC={ensure_libteec(machine)}"
    words = ["env", f"LITEBOX_SOCKET={socket}", libteec, *before, str(program or ensure(machine)), TOKEN]
    with FakeLine(link_maker(f"process:{shlex.join(words)}"), faults, seed) as line:
        with Console("agent", line.make, Log()) as console:
            console.wait_connected()
            connection = Connection(ConsoleLine(console), TOKEN, silence)
            console.take_lines(connection.feed)
            try:
                yield connection
            finally:
                connection.close()
