"""Parameters on their way to a pseudo TA or from one TA to another.

A TA names its memory by address. For a user TA that becomes a `Memref` over the same pages; a
pseudo TA borrows the caller's mapping and gets a `PtaMemref` with checked access.
Source: optee_os 4.5 core/tee/tee_svc.c (tee_svc_copy_param, utee_param_to_param).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from north.pages import read as read_pages
from north.pages import write as write_pages
from south.platform import RegionFlag
from tee.abi import results
from tee.abi.results import Origin
from tee.errors import TeeError
from tee.mapping import PARAMS, kinds
from tee.params import Kind, Memref, Value

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tee.abi.results import Result
    from tee.instance import TaInstance
    from tee.params import Param
    from tee.pta.base import PseudoTa, PtaMemref


class TaParam:
    """A memref that a TA passes on. va, size: in the caller's memory, already checked."""

    __slots__ = ("caller", "kind", "size", "va")

    def __init__(self, kind: Kind, caller: TaInstance, va: int, size: int) -> None:
        self.kind = kind
        self.caller = caller
        self.va = va
        self.size = size

    def secure(self) -> bool:
        """False as soon as one byte of it is the normal world's."""
        end = self.va + max(self.size, 1)
        return not any(r.flags & RegionFlag.NONSECURE and r.va < end and self.va < r.end for r in self.caller.space)

    def memref(self) -> Memref:
        """As memory another TA can be given: never the caller's private memory."""
        if not self.size:
            return Memref(self.kind, None, 0)
        region = self.caller.space.find(self.va)
        if not self.va or region is None or region.flags & RegionFlag.PRIVATE or self.va + self.size > region.end:
            raise TeeError(results.BAD_PARAMETERS, "a TA cannot expose its private memory")
        return Memref(self.kind, region.pages, self.size, region.offset + self.va - region.va, secure=self.secure())


def from_ta(caller: TaInstance, words: tuple[int, ...]) -> list[Param | TaParam]:
    """Parameters from a copy of a TA's struct utee_params."""
    out: list[Param | TaParam] = []
    for i, kind in enumerate(kinds(words[0])):
        a, b = words[1 + 2 * i], words[2 + 2 * i]
        if kind in (Kind.MEMREF_INPUT, Kind.MEMREF_OUTPUT, Kind.MEMREF_INOUT):
            if a:
                caller.memory.check(a, b, kind != Kind.MEMREF_INPUT)
            elif b:
                raise TeeError(results.BAD_PARAMETERS, "a NULL memref has size 0")
            out.append(TaParam(Kind(kind), caller, a, b))
        elif kind in (Kind.VALUE_INPUT, Kind.VALUE_OUTPUT, Kind.VALUE_INOUT):
            given = kind != Kind.VALUE_OUTPUT
            out.append(Value(Kind(kind), a & 0xFFFFFFFF if given else 0, b & 0xFFFFFFFF if given else 0))
        elif kind == Kind.NONE:
            out.append(None)
        else:
            raise TeeError(results.BAD_PARAMETERS, f"no parameter kind {kind}")
    return out


def plain(params: Sequence[Param | TaParam]) -> Sequence[Param]:
    """Parameters for a user TA. Sizes that come back are taken over by `settle`."""
    for param in params:
        if isinstance(param, TaParam):
            return [p.memref() if isinstance(p, TaParam) else p for p in params]
    return params  # type: ignore[return-value]


def _for_pta(params: Sequence[Param | TaParam]) -> list[Value | PtaMemref | None]:
    out: list[Value | PtaMemref | None] = []
    for p in params:
        if isinstance(p, TaParam):
            out.append(_borrowed(p))
        elif isinstance(p, Memref):
            out.append(_client(p))
        else:
            out.append(p)
    return out + [None] * (PARAMS - len(out))


def _borrowed(p: TaParam) -> PtaMemref:
    from tee.pta.base import PtaMemref

    memory = p.caller.memory
    return PtaMemref(
        p.kind,
        p.size,
        lambda: memory.copy_in(p.va, p.size) if p.size else b"",
        lambda data: memory.copy_out(p.va, data),
        secure=p.secure(),
        null=not p.va,
        va=p.va,
    )


def _client(p: Memref) -> PtaMemref:
    from tee.pta.base import PtaMemref

    pages = p.pages
    if pages is None:
        return PtaMemref(p.kind, 0, lambda: b"", lambda _: None, secure=False, null=True)
    offset, size = p.offset, p.size
    if not 0 <= offset <= offset + size <= pages.size:
        raise TeeError(results.BAD_PARAMETERS, "the memref is larger than its memory")

    def read() -> bytes:
        return read_pages(pages, offset, size)

    def write(data: bytes) -> None:
        write_pages(pages, offset, data)

    return PtaMemref(p.kind, size, read, write, secure=p.secure)


def _settle(params: Sequence[Param | TaParam], used: Sequence[Value | PtaMemref | None]) -> None:
    for p, u in zip(params, used, strict=False):
        if isinstance(p, TaParam | Memref) and u is not None and p.kind is not Kind.MEMREF_INPUT:
            assert not isinstance(u, Value)
            p.size = u.size


def open_session(
    pta: PseudoTa, caller: TaInstance | None, params: Sequence[Param | TaParam], login: int
) -> tuple[tuple[Result, Origin], object]:
    """((result, origin), the session's context). login: TEE_LOGIN_* of who opens it."""
    context: object = None
    logins = getattr(pta, "logins", None)
    if logins is not None and login not in logins:
        return (results.ACCESS_DENIED, Origin.TRUSTED_APP), None

    def call(used: list[Value | PtaMemref | None]) -> None:
        nonlocal context
        context = pta.open(caller, used)

    return _call(params, call), context


def invoke(
    pta: PseudoTa, context: object, command: int, params: Sequence[Param | TaParam], caller: TaInstance | None
) -> tuple[Result, Origin]:
    return _call(params, lambda used: pta.invoke(context, command, used, caller))


def _call(
    params: Sequence[Param | TaParam], call: Callable[[list[Value | PtaMemref | None]], None]
) -> tuple[Result, Origin]:
    """What a pseudo TA answers comes from a TA, as far as its client can tell (core/kernel/pseudo_ta.c); libutee
    counts on it: TEE_InvokeTACommand panics on most errors of origin TEE.
    """
    try:
        used = _for_pta(params)
    except TeeError as error:
        return error.result, Origin.TEE
    try:
        call(used)
    except TeeError as error:
        return error.result, Origin.TRUSTED_APP
    finally:
        _settle(params, used)
    return results.SUCCESS, Origin.TRUSTED_APP
