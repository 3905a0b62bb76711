"""What the secure world reports to whoever watches it (`tee.observe`); most runs make none of these."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from north.crash import MappedRegion
    from north.syscalls.declare import Syscall
    from tee.abi.results import Result
    from tee.ports import Frame


class CallRecord(NamedTuple):
    """One system call, for a trace. start, duration: seconds (monotonic); result None: it did not return."""

    uuid: UUID
    instance: int
    call: Syscall | None
    number: int
    args: tuple[int, ...]
    texts: tuple[str, ...]
    """The arguments as a person reads them, by name: `name=value`, taken before the call ran."""
    result: Result | None
    start: float
    duration: float
    native: bool
    """Answered in C."""


class Crash(NamedTuple):
    """A TA died. kind: panic, fault, exception, limit or killed; code: TEE_Result of a panic, else 0.

    caller: the TA whose session it served, None: the normal world's. Of the crashes of one call that leaves at most one
    without: the TA that was called.
    address: that a fault could not access, None for other kinds.
    """

    uuid: UUID
    kind: str
    code: int
    detail: str
    registers: dict[str, int]
    regions: Sequence[MappedRegion]
    backtrace: Sequence[Frame]
    caller: UUID | None = None
    address: int | None = None

    @property
    def pc(self) -> int | None:
        """Where the TA was, as far as that is known."""
        return self.registers.get("pc")
