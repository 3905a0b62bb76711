"""System PTA, command 13: a TA calls a plugin of tee-supplicant.

Source: optee_os 4.5 core/pta/system.c (system_supp_plugin_invoke) and core/tee/tee_supp_plugin_rpc.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee.abi import results
from tee.errors import TeeError
from tee.normal import PLUGIN_DATA_MAX
from tee.params import Kind
from tee.pta.kinds import expect, memref, tee_uuid, value

if TYPE_CHECKING:
    from collections.abc import Callable

    from tee.normal import NormalWorld, Plugins
    from tee.pta.base import Caller, Params


def invoke_plugin(normal: NormalWorld | None, caller: Caller, params: Params) -> None:
    """memref[0] in: struct TEE_UUID; value[1] in: command, sub-command; memref[2] inout: data; value[3].a out: length.

    An empty memref is NULL to a pseudo TA (copy_in_param, core/kernel/pseudo_ta.c), so data is there or it is not;
    libutee refuses other combinations itself.
    """
    expect(params, Kind.MEMREF_INPUT, Kind.VALUE_INPUT, Kind.MEMREF_INOUT, Kind.VALUE_OUTPUT)
    plugin, command, data, length = tee_uuid(params, 0), value(params, 1), memref(params, 2), value(params, 3)
    if data.null and data.size:
        raise TeeError(results.BAD_PARAMETERS, "the data are NULL")
    length.a = 0
    service = _service(normal, data.size)
    # Copied once: the TA may share its buffer with somebody who changes it.
    buffer = bytearray(data.read() if data.size else b"")
    answer = service.invoke(plugin, command.a, command.b, buffer, _stop(caller))
    length.a = answer.length & 0xFFFFFFFF
    if buffer and answer.length:
        # All of it, however much or little the plugin says that it wrote; and copying back is then the call's
        # result, in place of an error of the plugin's. OP-TEE 4.5 does both.
        data.put(bytes(buffer))
        return
    if answer.result != results.SUCCESS:
        raise TeeError(results.Result.of(answer.result), f"the answer of plugin {plugin}")


def _service(normal: NormalWorld | None, size: int) -> Plugins:
    """Who answers a call with `size` bytes of data, the shared memory for which comes first."""
    if size > PLUGIN_DATA_MAX:
        raise TeeError(results.OUT_OF_MEMORY, f"more than {PLUGIN_DATA_MAX} bytes for a plugin")
    if normal is None:
        if size:
            raise TeeError(results.OUT_OF_MEMORY, "no supplicant offers memory for a plugin's data")
        raise TeeError(results.COMMUNICATION, "no supplicant, so no plugin")
    if normal.plugins is None:
        # As a tee-supplicant built without them says it (tee-supplicant/src/plugin.h).
        raise TeeError(results.NOT_SUPPORTED, "this supplicant has no plugins")
    return normal.plugins


def _stop(caller: Caller) -> Callable[[], bool]:
    """Whether the call is cancelled, over its limit or killed meanwhile."""
    wait = getattr(caller, "wait", None)
    return (lambda: bool(wait(0.0))) if wait is not None else (lambda: False)
