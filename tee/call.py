"""One call into a session's TA or pseudo TA, and how it ended, as they travel from `SecureWorld` to the instance."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tee.abi.results import Origin, Result
    from tee.activity import Activity, Cancellation
    from tee.params import AnyParam
    from tee.session import Session

ENTRY_OPEN = 0  # enum utee_entry_func, lib/libutee/include/utee_types.h
ENTRY_CLOSE = 1
ENTRY_INVOKE = 2


class Outcome(NamedTuple):
    """How a call ended; a TA's own error has origin TRUSTED_APP."""

    result: Result
    origin: Origin


class Call:
    """Made once and never changed; what its parameters hold comes back in them.

    Not a NamedTuple: a call takes microseconds, and making one and reading it six times takes half as long again.

    function: ENTRY_*.
    command: of an invoke, else 0.
    activity: the client's call that this is, or is nested in.
    timeout: seconds until it counts as cancelled; None: never.
    cancellation: lets another thread cancel it; None: it is cancelled as its activity is.
    """

    __slots__ = ("activity", "cancellation", "command", "function", "params", "session", "timeout")

    def __init__(
        self,
        function: int,
        session: Session,
        command: int,
        params: Sequence[AnyParam],
        activity: Activity,
        timeout: float | None = None,
        cancellation: Cancellation | None = None,
    ) -> None:
        self.function = function
        self.session = session
        self.command = command
        self.params = params
        self.activity = activity
        self.timeout = timeout
        self.cancellation = cancellation
