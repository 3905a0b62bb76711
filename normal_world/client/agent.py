"""A TEE at the other end of a terminal, through the agent that runs there: `Context.over(AgentWay(connection))`.

Shared memory is emulated: a call copies what it refers to there, and as much back as the TA reports.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from normal_world.agent import messages
from normal_world.agent.messages import Offer, Op
from normal_world.client.names import uuid_of
from normal_world.client.ports import Outcome
from tee.abi import results
from tee.abi.results import Origin, Result
from tee.errors import TeeError
from tee.params import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from normal_world.agent.connection import Connection
    from normal_world.agent.messages import Answer
    from normal_world.client.ports import Argument
    from normal_world.died import Death


class AgentMemory:
    """Bytes of this process."""

    def __init__(self, way: AgentWay, size: int) -> None:
        self.way = way
        self.view = memoryview(bytearray(size))

    def close(self) -> None:
        pass


class DeathLog(Protocol):
    """What a secure world prints about TAs that die."""

    def now(self) -> float:
        """A moment, for `since`."""

    def since(self, moment: float, ta: UUID) -> Sequence[Death]:
        """Deaths that were printed after it, those of `ta` first; waits a moment for them to arrive."""


class AgentWay:
    """Several may use one connection; closing one closes its sessions, and leaves the agent running.

    deaths: where the TEE reports how TAs die, a board's consoles; None: nowhere.
    TeeError: what the board's libteec says of its TEE, ITEM_NOT_FOUND if there is none; COMMUNICATION.
    """

    most_memory: int | None = messages.MEMORY_MAX

    def __init__(
        self, connection: Connection, closed: Callable[[], None] = lambda: None, deaths: DeathLog | None = None
    ) -> None:
        """closed: called once, when it is."""
        self._deaths = deaths
        self._on_close = closed
        self._connection = connection
        self._lock = threading.Lock()
        self._calls: dict[int, tuple[int, int | None]] = {}
        """By name: the request, and the session that it is for."""
        self._abandoned: set[int] = set()
        """Sessions with a call that nobody waits for; they end with the agent."""
        self._dropped: set[int] = set()
        """Such calls: nothing is copied back for them."""
        self._sessions: dict[int, tuple[UUID, float]] = {}
        """By number: the TA, and when the session was opened."""
        self._closed = False
        answer = connection.ask(Op.HELLO)
        if answer.number >> 1 != messages.VERSION:
            raise TeeError(results.COMMUNICATION, "the agent on the board is of another version", Origin.COMMS)
        if answer.result:
            raise TeeError(Result.of(answer.result), f"no TEE on the board ({answer.text})", Origin.API)
        self.null_memrefs = bool(answer.number & 1)

    def resolve(self, ta: str) -> UUID:
        return uuid_of(ta)

    def allocate(self, size: int) -> AgentMemory:
        if size > messages.MEMORY_MAX:
            text = f"{size} bytes: the agent takes {messages.MEMORY_MAX} in one call"
            raise TeeError(results.OUT_OF_MEMORY, text, Origin.API)
        return AgentMemory(self, size)

    def open_session(
        self, uuid: UUID, login: int, login_data: int, arguments: Sequence[Argument], call: int
    ) -> tuple[int, Outcome]:
        began = 0.0 if self._deaths is None else self._deaths.now()
        head = messages.OPEN.pack(login, login_data & 0xFFFFFFFF, uuid.bytes)
        answer = self._call(Op.OPEN, head, arguments, call)
        if not answer.result:
            with self._lock:
                self._sessions[answer.number] = uuid, began
        return answer.number, self._explained(_outcome(answer, arguments), uuid, began)

    def invoke(self, session: int, command: int, arguments: Sequence[Argument], call: int) -> Outcome:
        answer = self._call(Op.INVOKE, messages.INVOKE.pack(session, command), arguments, call, session)
        uuid, began = self._sessions.get(session, (None, 0.0))
        return self._explained(_outcome(answer, arguments), uuid, began)

    def _explained(self, outcome: Outcome, ta: UUID | None, began: float) -> Outcome:
        if outcome.result != results.TARGET_DEAD or self._deaths is None or ta is None:
            return outcome
        return outcome._replace(deaths=tuple(self._deaths.since(began, ta)))

    def _call(
        self, op: Op, head: bytes, arguments: Sequence[Argument], call: int, session: int | None = None
    ) -> Answer:
        self._check_open()
        offers = [self._offer(argument) for argument in arguments]
        if sum(offer.size for offer in offers if offer.memory is not None) > messages.MEMORY_MAX:
            text = f"the agent takes {messages.MEMORY_MAX} bytes in one call"
            raise TeeError(results.OUT_OF_MEMORY, text, Origin.API)
        sizes = [0 if offer.memory is None else offer.size for offer in offers]
        id, waiting = self._connection.begin(op, head + messages.offers(offers), sizes)
        with self._lock:
            self._calls[call] = id, session
        try:
            answer = self._connection.finish(waiting)
        finally:
            with self._lock:
                del self._calls[call]
        for offer, answered in zip(offers, () if call in self._dropped else answer.params, strict=False):
            if offer.memory is not None and offer.kind & 2:
                size = min(answered.a, offer.size)
                offer.memory[:size] = answered.memory[:size].ljust(size, b"\0")
        return answer

    def _offer(self, argument: Argument) -> Offer:
        kind, memory = argument.kind, argument.memory
        if kind < Kind.MEMREF_INPUT:
            return Offer(kind, argument.a, argument.b)
        if memory is None:
            if not self.null_memrefs and argument.size:
                raise TeeError(results.NOT_SUPPORTED, "this TEE knows no NULL memrefs", Origin.API)
            return Offer(kind, size=argument.size)
        if not isinstance(memory, AgentMemory) or memory.way is not self:
            raise TeeError(results.BAD_PARAMETERS, "memory of another context", Origin.API)
        return Offer(kind, 0, 0, memory.view[argument.offset : argument.offset + argument.size], argument.size)

    def close_session(self, session: int) -> None:
        self._check_open()
        with self._lock:
            self._sessions.pop(session, None)
        if session not in self._abandoned:
            self._let_go(session)

    def _let_go(self, session: int) -> None:
        """With the agent its sessions have gone."""
        try:
            self._connection.ask(Op.CLOSE, messages.NUMBER.pack(session))
        except TeeError as problem:
            if problem.result != results.COMMUNICATION:
                raise

    def cancel(self, call: int) -> bool:
        with self._lock:
            found = self._calls.get(call)
        if found is None:
            return False
        return not self._connection.ask(Op.CANCEL, messages.NUMBER.pack(found[0])).result

    def abandon(self, call: int) -> None:
        """A request to cancel, whose answer nobody waits for either. What the call would have brought is dropped."""
        with self._lock:
            found = self._calls.get(call)
        if found is None:
            return
        self._dropped.add(call)
        if found[1] is not None:
            self._abandoned.add(found[1])
        with suppress(TeeError):
            self._connection.begin(Op.CANCEL, messages.NUMBER.pack(found[0]))

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            left, self._sessions = self._sessions, {}
        try:
            for session in left:
                if session not in self._abandoned:
                    self._let_go(session)
        finally:
            self._on_close()

    def _check_open(self) -> None:
        if self._closed:
            raise TeeError(results.BAD_STATE, "the context was closed", Origin.API)


def _outcome(answer: Answer, arguments: Sequence[Argument]) -> Outcome:
    answers = []
    for argument, answered in zip(arguments, answer.params, strict=False):
        value = argument.kind < Kind.MEMREF_INPUT
        answers.append((answered.a & 0xFFFFFFFF, answered.b & 0xFFFFFFFF) if value else (answered.a, 0))
    try:
        origin = Origin(answer.origin)
    except ValueError:
        origin = Origin.COMMS
    return Outcome(Result.of(answer.result), origin, tuple(answers))
