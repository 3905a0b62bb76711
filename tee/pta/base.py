"""What a pseudo TA is: a service of the secure world itself, called like a TA.

Its parameters are already checked against what the caller may touch; a memref's bytes are read and
written through methods, so that a PTA never holds a pointer into anybody's memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    from tee.params import AnyParam
    from tee.profile import Sampling

    Params = Sequence[AnyParam]
    """Of one call: four."""


class Caller(Protocol):
    """Who calls a PTA: a TA's instance, as far as PTAs may use it; absent for the normal world."""

    @property
    def uuid(self) -> UUID: ...

    def map_zeroed(self, size: int, before: int, after: int, at: int, flags: int) -> int:
        """Map zero-initialised private memory into the caller, with `before` and `after` bytes of
        unmapped padding; at 0: anywhere. Address of the memory. TeeError(OUT_OF_MEMORY...)."""

    def unmap(self, va: int, size: int) -> None:
        """Unmap what `map_zeroed` mapped; TeeError(BAD_PARAMETERS, ACCESS_DENIED) for anything else."""

    def immutable(self) -> Iterable[bytes]:
        """Contents of the caller's own memory that it cannot write: code and constants, one piece a region."""

    @property
    def sampling(self) -> Sampling: ...

    def dlopen(self, uuid: UUID, flags: int) -> None: ...

    def dlsym(self, uuid: UUID, name: str) -> int: ...


class PseudoTa(Protocol):
    """A PTA. Methods raise TeeError for any result but success.

    Two attributes are optional: `flags`, TA_FLAG_* (`tee.pta.registry.pta_flags`), and `logins`, the TEE_LOGIN_* of
    who may open a session; others get ACCESS_DENIED.
    """

    uuid: UUID

    def open(self, caller: Caller | None, params: Params) -> object:
        """Accept a session; what it returns comes back as `session`."""

    def invoke(self, session: object, command: int, params: Params, caller: Caller | None) -> None: ...

    def close(self, session: object) -> None: ...


class Sessionless:
    """A PTA, but for its `invoke`, that keeps nothing of a session and lets everybody open one."""

    def open(self, caller: Caller | None, params: Params) -> object:
        return None

    def close(self, session: object) -> None:
        pass
