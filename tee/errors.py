"""Failures that cross the TEE's API, as values of GP's TEE_Result with their origin."""

from __future__ import annotations

from north.errors import BadAddress
from tee.abi import results
from tee.abi.results import Origin, Result


class TeeError(Exception):
    """A call ended with `result`; `origin` says at which layer (GP TEE Client API v1.0 §4.4.2).

    detail: one sentence for a person; never crosses to the guest. logged: it stands in the world's log already.
    """

    logged = False

    def __init__(self, result: Result | int, detail: str = "", origin: Origin = Origin.TEE) -> None:
        self.result = Result.of(result)
        self.origin = origin
        self.detail = detail
        super().__init__(f"{self.result} ({origin.name})" + (f": {detail}" if detail else ""))

    def __reduce__(self) -> tuple[object, ...]:
        """By what it holds, since subclasses are made of other arguments; a pool's workers pickle what they raise."""
        return _again, (type(self), self.args), self.__dict__


class AccessDenied(TeeError, BadAddress):
    """Memory that a TA may not use: TEE_ERROR_ACCESS_DENIED."""

    def __init__(self, detail: str = "") -> None:
        super().__init__(results.ACCESS_DENIED, detail)


def _again(kind: type[TeeError], args: tuple[object, ...]) -> TeeError:
    return kind.__new__(kind, *args)


def reason(problem: BaseException) -> str:
    """What the system refused, in its own words and without its number: `FILE: No space left on device`."""
    if not isinstance(problem, OSError) or not problem.strerror:
        return str(problem)
    name = problem.filename if isinstance(problem.filename, str) else ""
    return f"{name}: {problem.strerror}" if name else problem.strerror
