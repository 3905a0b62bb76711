"""The TEE of a board, as `Board.tee` offers it: through the agent over a console, or this machine's daemon.

The agent is started when it is first asked for and stays until the shell of its console is wanted, so that a row of
tests starts it once.
"""

from __future__ import annotations

import re
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from boards.agent_upload import Agent, agent_on
from boards.console_log import Direction
from boards.console_script import PROTOCOL
from boards.deaths import PrintedDeaths
from boards.errors import TargetError
from south.errors import UsageError

if TYPE_CHECKING:
    from boards.board import Board
    from boards.console import Console
    from boards.console_shell import Running
    from normal_world.agent.connection import Connection
    from normal_world.api import Context

ENDED = "it ended"
_SAID_BY_US = re.compile(r"#[A-Z][0-9A-Za-z]*:[^:]*:[0-9a-f]{8}")
END_SECONDS = 15.0
"""For the shell to be back after the agent was asked to end."""
BREAK = b"\x03\x03\x03\n"
"""So many Ctrl-C end an agent that nobody else speaks to (normal_world/agent/csrc/main.c)."""


class ConsoleLine:
    """A console as the line of an agent. running: the agent as a command of the console's shell."""

    def __init__(self, console: Console, running: Running | None = None) -> None:
        self._console = console
        self._running = running

    def write(self, data: bytes) -> None:
        try:
            self._console.write(data, log=False)
        except TargetError as problem:
            raise OSError(problem.problem) from None

    def trouble(self) -> str:
        try:
            return self._console.alarm or self._console.health() or self._end()
        except TargetError as problem:
            return problem.problem

    def _end(self) -> str:
        """What the agent said last, if it is the shell that speaks again."""
        running = self._running
        if running is None or not self._console.seen(running.markers.end, 0.0):
            return ""
        said = ""
        for line in self._console.tail.splitlines():
            if running.ended_by(line.encode()):
                break
            # What we said to it comes back as well, from a terminal that echoes.
            said = said if PROTOCOL.search(line) or _SAID_BY_US.search(line) else line
        return f"{ENDED}{said and f': {said}'}"


class BoardTee:
    """Of one board."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._agent = Agent("")
        self._connection: Connection | None = None
        self._running: Running | None = None
        self._open = 0

    @property
    def _console(self) -> Console:
        name = self._board.entry.tee.console
        return self._board.consoles[name] if name else self._board.console

    @property
    def _shares(self) -> bool:
        """The console that the shell has."""
        return self._console is self._board.console

    def context(self) -> Context:
        """TargetError, TeeError, UsageError."""
        from normal_world.api import Context
        from normal_world.client.agent import AgentWay

        entry = self._board.entry.tee
        if entry.kind == "daemon":
            return Context.daemon(self._board.text(entry.socket) or None)
        if self._connection is not None and self._connection.lost:
            self._end()
        if self._connection is None:
            self._begin()
        assert self._connection is not None
        self._open += 1
        try:
            return Context.over(AgentWay(self._connection, self._closed, PrintedDeaths(self._board.log)))
        except BaseException:
            self._open -= 1
            raise

    def give_back(self) -> None:
        """The console, for a command in its shell. UsageError while a connection is open."""
        if self._connection is None or not self._shares:
            return
        if self._open and not self._connection.lost:
            raise UsageError(
                f"console {self._console.name} carries a connection to the board's TEE: close it (the fixture tee) "
                "before a command, or give the board a console for its TEE, [tee] console and device"
            )
        self._end()

    def forget(self) -> None:
        """The power goes off, and all that runs there with it."""
        self._agent = Agent("")
        self._running = None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.give_up("the power went off")
            connection.close(0.0)
            self._console.take_lines(None)
        self._open = 0

    def close(self) -> None:
        if self._connection is not None:
            try:
                self._end()
            except TargetError:
                self.forget()
        folder, self._agent = self._agent.folder, Agent("")
        if folder and self._board.failure is None:
            with suppress(TargetError):
                self._board.shell.run(f"rm -r {folder}")

    def _closed(self) -> None:
        self._open = max(0, self._open - 1)

    def _begin(self) -> None:
        from normal_world.agent.connection import Connection

        board, entry = self._board, self._board.entry.tee
        shell = board.shell
        if not self._agent.program:
            own = board.text(entry.agent)
            self._agent = Agent(own) if own else agent_on(board)
        token = secrets.token_hex(8)
        running: Running | None = None
        if self._shares:
            running = shell.start(f"{self._agent.program} {token}")
        else:
            device = board.text(entry.device)
            shell.run(f"{self._agent.program} {token} <{device} >{device} 2>/dev/null &", check=True)
        connection = Connection(ConsoleLine(self._console, running), token)
        self._console.take_lines(connection.feed)
        self._connection, self._running = connection, running
        board.log.add(self._console.name, Direction.EVENT, "the TEE agent has the console")

    def _end(self) -> None:
        """TargetError if the shell does not come back."""
        assert self._connection is not None
        connection, self._connection = self._connection, None
        running, self._running = self._running, None
        lost = connection.lost
        connection.close()
        self._console.take_lines(None)
        self._board.log.add(self._console.name, Direction.EVENT, f"the TEE agent ended{lost and f': {lost}'}")
        if running is None:
            return
        if lost and not lost.startswith(ENDED):
            self._console.write(BREAK)
        self._board.shell.finish(running, END_SECONDS)
