"""Parameters on their way to a pseudo TA or from one TA to another.

A TA names its memory by address. For a user TA that becomes a `Memref` over the same pages; a
pseudo TA borrows the caller's mapping and gets a `TaMemref`, with checked access.
Source: optee_os 4.5 core/tee/tee_svc.c (tee_svc_copy_param, utee_param_to_param).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from south.platform import RegionFlag
from tee.abi import results
from tee.abi.results import Origin
from tee.call import Outcome
from tee.errors import TeeError
from tee.mapping import PARAMS, kinds
from tee.params import BaseMemref, Kind, Memref, TaMemref, Value
from tee.shortage import PTA_RESULTS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tee.call import Call
    from tee.instance import TaInstance
    from tee.params import AnyParam
    from tee.pta.base import PseudoTa

_NOTHING = (None,) * PARAMS
_MEMREFS = (Kind.MEMREF_INPUT, Kind.MEMREF_OUTPUT, Kind.MEMREF_INOUT)


def from_ta(caller: TaInstance, words: tuple[int, ...], *, lend: bool) -> list[AnyParam]:
    """Parameters from a copy of a TA's struct utee_params. lend: to a pseudo TA, which may use private memory, too."""
    given = [(kind, words[1 + 2 * i], words[2 + 2 * i]) for i, kind in enumerate(kinds(words[0]))]
    for kind, a, b in given:  # all of them, before any is looked at as what the callee can have
        if kind in _MEMREFS:
            if a:
                caller.memory.check(a, b, kind != Kind.MEMREF_INPUT)
            elif b:
                raise TeeError(results.BAD_PARAMETERS, "a NULL memref has size 0")
        elif kind > Kind.VALUE_INOUT:
            raise TeeError(results.BAD_PARAMETERS, f"no parameter kind {kind}")
    return [_param(caller, Kind(kind), a, b, lend) for kind, a, b in given]


def _param(caller: TaInstance, kind: Kind, a: int, b: int, lend: bool) -> AnyParam:
    if kind in _MEMREFS:
        if lend:
            return TaMemref(kind, caller.memory, a, b, secure=_secure(caller, a, b))
        return _shared(kind, caller, a, b)
    if kind is Kind.NONE:
        return None
    return Value(kind) if kind is Kind.VALUE_OUTPUT else Value(kind, a & 0xFFFFFFFF, b & 0xFFFFFFFF)


def _secure(caller: TaInstance, va: int, size: int) -> bool:
    """False as soon as one byte of it is the normal world's."""
    end = va + max(size, 1)
    return not any(r.flags & RegionFlag.NONSECURE and r.va < end and va < r.end for r in caller.space)


def _shared(kind: Kind, caller: TaInstance, va: int, size: int) -> Memref:
    """As memory another TA can be given: never the caller's private memory."""
    if not size:
        return Memref(kind, None, 0)
    region = caller.space.find(va)
    if not va or region is None or region.flags & RegionFlag.PRIVATE or va + size > region.end:
        raise TeeError(results.BAD_PARAMETERS, "a TA cannot expose its private memory")
    return Memref(kind, region.pages, size, region.offset + va - region.va, secure=_secure(caller, va, size))


def open_session(pta: PseudoTa, call: Call, log: Callable[[str], None]) -> tuple[Outcome, object]:
    """How it ended, and the session's context. log: takes why the host failed."""
    context: object = None
    session = call.session
    logins = getattr(pta, "logins", None)
    if logins is not None and session.client.login not in logins:
        return Outcome(results.ACCESS_DENIED, Origin.TRUSTED_APP), None

    def run(used: Sequence[AnyParam]) -> None:
        nonlocal context
        context = pta.open(session.owner, used)

    return _call(call.params, run, _name_of(pta), log), context


def invoke(pta: PseudoTa, call: Call, log: Callable[[str], None]) -> Outcome:
    """log: takes why the host failed."""
    session = call.session

    def run(used: Sequence[AnyParam]) -> None:
        pta.invoke(session.context, call.command, used, session.owner)

    return _call(call.params, run, _name_of(pta), log)


def _name_of(pta: PseudoTa) -> str:
    return getattr(pta, "name", "") or str(pta.uuid)


def _call(
    params: Sequence[AnyParam], run: Callable[[Sequence[AnyParam]], None], name: str, log: Callable[[str], None]
) -> Outcome:
    """What a pseudo TA answers comes from a TA, as far as its client can tell (core/kernel/pseudo_ta.c); libutee
    counts on it: TEE_InvokeTACommand panics on most errors of origin TEE.
    """
    memrefs = [param for param in params if isinstance(param, BaseMemref)]
    sizes = [memref.size for memref in memrefs]
    begun = False
    try:
        for memref in memrefs:
            memref.offer()
        begun = True
        run([*params, *_NOTHING[len(params) :]])
    except TeeError as error:
        if begun and error.result in PTA_RESULTS and error.detail and not error.logged:
            log(f"pseudo TA {name}: {error.detail}")
        return Outcome(error.result, Origin.TRUSTED_APP if begun else Origin.TEE)
    finally:
        for memref, size in zip(memrefs, sizes, strict=True):
            if not begun or memref.kind is Kind.MEMREF_INPUT:
                memref.size = size
    return Outcome(results.SUCCESS, Origin.TRUSTED_APP)
