"""Sessions from TA to TA, and the calls that C answers unless it cannot.

Source of semantics: optee_os 4.5 core/tee/tee_svc.c.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from tee import pta_call
from tee.abi import results
from tee.abi.results import Origin
from tee.abi.uuids import uuid_from_tee
from tee.errors import TeeError
from tee.mapping import UTEE_PARAMS
from tee.params import Kind, Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from north.syscalls.declare import OutCell
    from tee.abi.results import Result
    from tee.instance import TaInstance
    from tee.params import AnyParam

TIMEOUT_INFINITE = 0xFFFFFFFF  # TEE_TIMEOUT_INFINITE, milliseconds
UUID_SIZE = 16


def _params(task: TaInstance, va: int, *, lend: bool) -> list[AnyParam]:
    """lend: to a pseudo TA, which borrows the caller's mapping; a user TA is given memory."""
    if not va:
        return []
    task.memory.check(va, UTEE_PARAMS.size, True)
    return pta_call.from_ta(task, UTEE_PARAMS.unpack(task.memory.copy_in(va, UTEE_PARAMS.size)), lend=lend)


def _timeout(milliseconds: int) -> float | None:
    return None if milliseconds == TIMEOUT_INFINITE else milliseconds / 1000


def _write_back(task: TaInstance, va: int, params: Sequence[AnyParam]) -> None:
    """Values and sizes into the caller's struct utee_params (tee_svc_update_out_param)."""
    for i, param in enumerate(params):
        if isinstance(param, Value):
            if param.kind is not Kind.VALUE_INPUT:
                task.memory.copy_out(va + 8 + 16 * i, param.a.to_bytes(8, "little") + param.b.to_bytes(8, "little"))
        elif param is not None and param.kind is not Kind.MEMREF_INPUT:
            task.memory.copy_out(va + 16 + 16 * i, param.size.to_bytes(8, "little"))


def _offer(cell: OutCell, value: int) -> None:
    """Into a word the TA may not have: OP-TEE ignores the failure, and libutee passes NULL origins."""
    with suppress(TeeError):
        cell.put(value)


def open_ta_session(
    task: TaInstance, dest: int, timeout: int, params_va: int, session_out: OutCell, origin_out: OutCell
) -> Result | None:
    origin = Origin.TEE
    try:
        uuid = uuid_from_tee(task.memory.copy_in(dest, UUID_SIZE))
        params = _params(task, params_va, lend=task.world.find_pta(uuid) is not None)
        session, outcome = task.world.open_from_ta(task, uuid, params, _timeout(timeout))
        origin = outcome.origin
        if not outcome.result:
            if params_va:
                _write_back(task, params_va, params)
            _offer(session_out, session.number)
        return outcome.result
    except TeeError as error:
        return error.result
    finally:
        _offer(origin_out, origin)


def close_ta_session(task: TaInstance, number: int) -> Result | None:
    session = task.sessions.get(number)
    if session is None:
        return results.ITEM_NOT_FOUND
    task.world.close_from_ta(task, session)
    return None


def invoke_ta_command(
    task: TaInstance, number: int, timeout: int, command: int, params_va: int, origin_out: OutCell
) -> Result | None:
    session = task.sessions.get(number)
    if session is None:
        return results.BAD_PARAMETERS
    origin = Origin.TEE
    try:
        params = _params(task, params_va, lend=session.pta is not None)
        outcome = task.world.invoke_from_ta(task, session, command, params, _timeout(timeout))
        origin = outcome.origin
        if params_va and outcome.result != results.TARGET_DEAD:
            try:
                _write_back(task, params_va, params)
            except TeeError:
                origin = Origin.TEE
                raise
        return outcome.result
    except TeeError as error:
        return error.result
    finally:
        _offer(origin_out, origin)


def log(task: TaInstance, message: str) -> None:
    """A message that C's buffer has no room for: C takes it, and counts it, once the buffer is empty."""
    task.flush_log()
    task.cpu.serve()
