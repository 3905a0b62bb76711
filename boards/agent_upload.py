"""Bringing the TEE agent onto a board that does not have it, through its shell."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, NamedTuple

from boards.console_log import Direction
from boards.shell_files import Report, put
from normal_world.agent.build import place
from south.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from boards.board import Board

NAME = "litebox-tee-agent"


class Agent(NamedTuple):
    """program: as a shell takes it. folder: what it was brought in, to be removed in the end; "": it was there."""

    program: str
    folder: str = ""


def agent_on(board: Board) -> Agent:
    """The board's own agent, or ours, brought there. UsageError if there is none for it; TargetError."""
    shell = board.shell
    # Ours in an image may be an older one's, in an image that was made long ago: its name tells.
    found = shell.run(f"command -v {NAME} || command -v {place()}")
    if found.exit_code == 0 and found.output.strip():
        return Agent(shlex.quote(found.output.strip().splitlines()[-1]))
    machine = shell.run("uname -m", check=True).output.strip()
    program = _built(machine).read_bytes()
    folder = shlex.quote(shell.run("mktemp -d /tmp/litebox-XXXXXX", check=True).output.strip())
    path = f"{folder}/{NAME}"

    def say(text: str) -> None:
        board.log.add(board.console.name, Direction.EVENT, text)
        print(text, file=sys.stderr)

    put(shell, program, path, mode=0o755, tell=Report(f"sending {NAME} to {board.name}", say))
    return Agent(path, folder)


def _built(machine: str) -> Path:
    from normal_world.agent.build import ensure
    from normal_world.libteec import BuildError

    try:
        return ensure(machine)
    except BuildError as problem:
        raise UsageError(
            f"{problem}\n(or put {NAME} on the board's PATH; its sources need a C compiler alone)"
        ) from None
