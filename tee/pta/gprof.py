"""gprof PTA: what libutee asks for when a TA is built with CFG_TA_GPROF_SUPPORT and -pg.

Source: optee_os core/pta/gprof.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee.abi import results
from tee.abi.profiles import GprofCommand
from tee.abi.pta_uuids import PTA_GPROF_UUID
from tee.errors import TeeError
from tee.normal import ProfileKind
from tee.params import Kind
from tee.pta.base import Sessionless
from tee.pta.kinds import buffer, expect, memref, served, value

if TYPE_CHECKING:
    from collections.abc import Callable

    from tee.profile import ProfileSink
    from tee.pta.base import Caller, Params


class GprofPta(Sessionless):
    """sink: where the data goes."""

    uuid = PTA_GPROF_UUID
    name = "gprof"

    def __init__(self, sink: ProfileSink) -> None:
        self._sink = sink
        self._commands: dict[int, Callable[[Caller, Params], None]] = {
            GprofCommand.SEND: self._send,
            GprofCommand.START_PC_SAMPLING: _start,
            GprofCommand.STOP_PC_SAMPLING: _stop,
        }

    def open(self, caller: Caller | None, params: Params) -> object:
        _only_for_tas(caller)
        return None

    def invoke(self, session: object, command: int, params: Params, caller: Caller | None) -> None:
        ta = _only_for_tas(caller)
        served(self._commands, command, "the gprof PTA", results.NOT_IMPLEMENTED)(ta, params)

    def _send(self, caller: Caller, params: Params) -> None:
        expect(params, Kind.VALUE_INOUT, Kind.MEMREF_INPUT)
        file, data = value(params, 0), buffer(params, 1).read()
        file.a = self._sink.append(ProfileKind.GMON, caller.uuid, data, file.a)


def _only_for_tas(caller: Caller | None) -> Caller:
    if caller is None:
        raise TeeError(results.ACCESS_DENIED, "the gprof PTA serves TAs alone")
    return caller


def _start(caller: Caller, params: Params) -> None:
    expect(params, Kind.MEMREF_INOUT, Kind.VALUE_INPUT)
    counters, how = memref(params, 0), value(params, 1)
    caller.sampling.start(counters.va, counters.size, how.a, how.b)


def _stop(caller: Caller, params: Params) -> None:
    expect(params, Kind.VALUE_OUTPUT)
    value(params, 0).a = caller.sampling.stop()
