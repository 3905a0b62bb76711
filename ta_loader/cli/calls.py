"""Calls into the secure world, one `Step` each: what was asked, what came back, and how the process should end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from ta_loader.cli import exits
from ta_loader.errors import ImageRefused
from tee.abi import results
from tee.abi.results import Origin, Result
from tee.errors import TeeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from ta_loader.cli.compose import Host
    from ta_loader.cli.params import ParamSpec
    from tee.observe import Crash
    from tee.params import Param
    from tee.world import Client

_REMEDIES = {
    "signature": "name the key that the vendor signs with: --trust KEY.pem, or --trust FOLDER of a TA development "
    "kit; --allow-unsigned runs it anyway",
    "encryption": "give the key that encrypts the vendor's TAs: --enc-key HEX",
    "version": "a newer version ran before on this device; another --state folder is another device",
    "key": "the signing key is too weak or of a kind that OP-TEE refuses",
    "uuid": "name the file by the UUID that its header holds",
}


class Step(NamedTuple):
    """kind: open or invoke; offered: bytes of each memref before the call; seconds: how long it took.

    crash: set if a TA died, the one that was called first of all. problem: why an image was not to be had.
    """

    kind: str
    uuid: UUID
    command: int
    result: Result
    origin: Origin
    params: tuple[Param, ...]
    offered: tuple[int, ...]
    seconds: float
    crash: Crash | None = None
    problem: str = ""
    exit: int = exits.OK

    @property
    def title(self) -> str:
        return f"open {self.uuid}" if self.kind == "open" else f"invoke {self.command}"


class Caller:
    """A client of one host's secure world."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def open(self, uuid: UUID, specs: Sequence[ParamSpec], client: Client) -> tuple[int | None, Step]:
        """Session number, None if none came to be, and what happened."""
        session: int | None = None

        def call(params: tuple[Param, ...]) -> tuple[Result, Origin]:
            nonlocal session
            opened = self._host.world.open_session(uuid, params, client=client)
            if opened.result == results.SUCCESS:
                session = opened.session
            return opened.result, opened.origin

        step = self._step("open", uuid, 0, specs, call)
        return session, step

    def invoke(self, session: int, uuid: UUID, command: int, specs: Sequence[ParamSpec]) -> Step:
        def call(params: tuple[Param, ...]) -> tuple[Result, Origin]:
            outcome = self._host.world.invoke(session, command, params)
            return outcome.result, outcome.origin

        return self._step("invoke", uuid, command, specs, call)

    def close(self, session: int) -> Crash | None:
        """What died of it, if anything did."""
        self._host.watch.crashes.clear()
        self._host.world.close_session(session)
        return next(iter(self._host.watch.crashes), None)

    def _step(
        self,
        kind: str,
        uuid: UUID,
        command: int,
        specs: Sequence[ParamSpec],
        call: Callable[[tuple[Param, ...]], tuple[Result, Origin]],
    ) -> Step:
        host = self._host
        params = tuple(spec.build(host.platform.pages) for spec in specs)
        host.watch.crashes.clear()
        host.images.problems.clear()
        start = time.monotonic()
        try:
            result, origin = call(params)
        except TeeError as error:
            host.images.problems.append((uuid, error))
            result, origin = error.result, error.origin
        seconds = time.monotonic() - start
        problems = host.images.problems if result else []
        step = Step(
            kind,
            uuid,
            command,
            result,
            origin,
            params,
            tuple(spec.size for spec in specs),
            seconds,
            next(iter(host.watch.crashes), None),
            "; ".join(dict.fromkeys(explain(problem) for _, problem in problems)),
        )
        step = step._replace(exit=_exit_code(step, [problem for wanted, problem in problems if wanted == uuid]))
        if host.tracer is not None:
            host.tracer.step(step, start)
        return step


def explain(problem: TeeError) -> str:
    """What went wrong, and what to do about it."""
    text = problem.detail or str(problem)
    if problem.result == results.ITEM_NOT_FOUND:
        return f"{text} (name the folder that has it with --ta-dir)"
    remedy = _REMEDIES.get(problem.check) if isinstance(problem, ImageRefused) else None
    return f"{text}: {remedy}" if remedy else text


def _exit_code(step: Step, problems: Sequence[TeeError]) -> int:
    """The gravest of what happened decides."""
    if step.crash is not None:
        return exits.LIMIT if step.crash.kind == "limit" else exits.DIED
    if step.result == results.SUCCESS:
        return exits.OK
    if step.kind == "open" and any(isinstance(problem, ImageRefused) for problem in problems):
        return exits.REFUSED
    if step.kind == "open" and any(problem.result == results.ITEM_NOT_FOUND for problem in problems):
        return exits.USAGE
    if step.result == results.OUT_OF_MEMORY and step.origin is Origin.TEE:
        return exits.LIMIT
    return exits.TA_ERROR
