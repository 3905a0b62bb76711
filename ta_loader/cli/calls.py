"""Calls into the secure world, one `Step` each: what was asked, what came back, and how the process should end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from north.memory import most_addresses
from ta_loader.cli import exits
from ta_loader.errors import ImageRefused
from tee.abi import results
from tee.abi.results import Origin, Result
from tee.errors import TeeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from normal_world.host.compose import Host
    from ta_loader.cli.params import ParamSpec
    from tee.params import Param
    from tee.records import Crash
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
    """kind: open, invoke or close; offered: bytes of each memref before the call; seconds: how long it took.

    crash: how the TA that was called died, if it did. crashes: of all TAs that died in the call, in order; a TA may
    survive those that it calls. problem: why an image is not available; logged: the log has it.
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
    crashes: tuple[Crash, ...] = ()
    logged: bool = False

    @property
    def title(self) -> str:
        return f"invoke {self.command}" if self.kind == "invoke" else f"{self.kind} {self.uuid}"

    def with_close(self, close: Step) -> Step:
        """With what died as its session closed."""
        if not close.crashes:
            return self
        return self._replace(
            crash=self.crash or close.crash, crashes=self.crashes + close.crashes, exit=self.exit or close.exit
        )


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

    def close(self, session: int, uuid: UUID) -> Step:
        """Its result is SUCCESS, whatever dies of it."""

        def call(params: tuple[Param, ...]) -> tuple[Result, Origin]:
            self._host.world.close_session(session)
            return results.SUCCESS, Origin.TEE

        return self._step("close", uuid, 0, (), call)

    def _step(
        self,
        kind: str,
        uuid: UUID,
        command: int,
        specs: Sequence[ParamSpec],
        call: Callable[[tuple[Param, ...]], tuple[Result, Origin]],
    ) -> Step:
        host = self._host
        most, wanted = most_addresses(host.setup.layout), sum(spec.size for spec in specs)
        params = tuple((spec if wanted <= most else spec.nothing()).build(host.platform.pages) for spec in specs)
        host.watch.crashes.clear()
        host.images.problems.clear()
        start = time.monotonic()
        try:
            if wanted > most:
                raise TeeError(results.OUT_OF_MEMORY, f"{wanted} bytes of memory: a TA has {most} of addresses")
            result, origin = call(params)
        except TeeError as error:
            host.images.problems.append((uuid, error))
            result, origin = error.result, error.origin
        seconds = time.monotonic() - start
        problems = host.images.problems if result else []
        crashes = tuple(host.watch.crashes)
        step = Step(
            kind,
            uuid,
            command,
            result,
            origin,
            params,
            tuple(spec.size for spec in specs),
            seconds,
            next((crash for crash in crashes if crash.caller is None), None),
            "; ".join(dict.fromkeys(explain(problem) for _, problem in problems)),
            crashes=crashes,
            logged=not host.setup.quiet and bool(problems) and all(problem.logged for _, problem in problems),
        )
        step = step._replace(exit=_exit_code(step, [problem for wanted, problem in problems if wanted == uuid]))
        if host.tracer is not None:
            host.tracer.step(step.title, start, seconds, result, origin)
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
    if step.crashes:
        return exits.LIMIT if (step.crash or step.crashes[0]).kind == "limit" else exits.DIED
    if step.result == results.SUCCESS:
        return exits.OK
    if step.kind == "open" and any(isinstance(problem, ImageRefused) for problem in problems):
        return exits.REFUSED
    if step.kind == "open":
        from ta_loader.cli.failure import refused_by_host

        if any(problem.result == results.ITEM_NOT_FOUND or refused_by_host(problem) for problem in problems):
            return exits.USAGE
    if step.result == results.OUT_OF_MEMORY and step.origin is Origin.TEE:
        return exits.LIMIT
    return exits.TA_ERROR
