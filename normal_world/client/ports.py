"""What a way to a TEE offers to `normal_world.api`, whichever it is: in this process, a daemon, or the kernel.

All of it may be called from several threads at once. Failures of the way itself are
`TeeError` with origin COMMS or API; what the TEE or a TA answers is an `Outcome`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from normal_world.died import Death
    from tee.abi.results import Origin, Result
    from tee.params import Kind


class Memory(Protocol):
    """An object of shared memory."""

    @property
    def view(self) -> memoryview:
        """Its bytes, writable, as many as were asked for; the TA sees this very memory."""

    def close(self) -> None:
        """Once; a call under way keeps it."""


class Argument(NamedTuple):
    """One of the four parameters. Values: a, b. Memrefs: memory (None: a NULL memref), offset and size in bytes."""

    kind: Kind
    a: int = 0
    b: int = 0
    memory: Memory | None = None
    offset: int = 0
    size: int = 0


class Outcome(NamedTuple):
    """answers: for each argument its (a, b) after the call; of a memref a is the size that the TA reports.

    deaths: of TAs that the call found dead or that died of it, as far as the way tells.
    """

    result: Result
    origin: Origin
    answers: tuple[tuple[int, int], ...]
    deaths: tuple[Death, ...] = ()


class Way(Protocol):
    """A connection to a TEE."""

    @property
    def null_memrefs(self) -> bool:
        """Whether a NULL memref and an empty one differ (TEEC_Context.imp.memref_null)."""

    @property
    def most_memory(self) -> int | None:
        """Bytes that the parameters of one call may have; None: the TEE refuses them when they are allocated."""

    def allocate(self, size: int) -> Memory:
        """TeeError(OUT_OF_MEMORY), before anything is used of what there is not enough of."""

    def open_session(
        self, uuid: UUID, login: int, login_data: int, arguments: Sequence[Argument], call: int
    ) -> tuple[int, Outcome]:
        """The session's number, meaningless unless the result is SUCCESS. call: a name for `cancel`, unique among
        the calls under way.
        """

    def invoke(self, session: int, command: int, arguments: Sequence[Argument], call: int) -> Outcome: ...

    def close_session(self, session: int) -> None: ...

    def cancel(self, call: int) -> bool:
        """Whether the TEE was told: False if no such call is under way (yet)."""

    def abandon(self, call: int) -> None:
        """Nobody waits for the call any more: it is ended as soon as this way can, and `close_session` of its session
        returns at once. Never waits for the TA.
        """

    def resolve(self, ta: str) -> UUID:
        """The TA that the text names. ValueError."""

    def close(self) -> None:
        """All sessions and memory of this way with it."""
