"""OP-TEE's test PTA, as far as it tests how parameters reach a PTA; xtest calls it.

Its other commands run tests of OP-TEE's core (mutexes, lock dependencies, hash trees) that have no
counterpart here, and are refused as unknown commands are.
Source: optee_os 4.5 core/pta/tests/invoke.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee.abi import results
from tee.abi.pta_invoke_tests import PTA_INVOKE_TESTS_UUID, InvokeTestsCommand
from tee.errors import TeeError
from tee.params import Kind, Value
from tee.pta.kinds import expect, memref
from tee.pta.registry import PTA_DEFAULT_FLAGS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from south.platform import Console
    from tee.pta.base import Caller, PtaMemref

_WORD = 0xFFFFFFFF
_SUM_KINDS = [Kind.VALUE_INPUT, Kind.VALUE_INPUT, Kind.VALUE_INPUT, Kind.VALUE_OUTPUT]
"""In any order: the output becomes the sum of the inputs."""


class InvokeTestsPta:
    uuid = PTA_INVOKE_TESTS_UUID
    name = "invoke_tests.pta"
    flags = PTA_DEFAULT_FLAGS

    def __init__(self, console: Console) -> None:
        self._console = console

    def open(self, caller: Caller | None, params: Sequence[Value | PtaMemref | None]) -> object:
        return None

    def close(self, session: object) -> None:
        pass

    def invoke(
        self, session: object, command: int, params: Sequence[Value | PtaMemref | None], caller: Caller | None
    ) -> None:
        if command == InvokeTestsCommand.TRACE:
            self._console.write(f'I/TC: pseudo TA "{self.name}" says "Hello world !"\n')
        elif command == InvokeTestsCommand.PARAMS:
            _params(params)
        elif command == InvokeTestsCommand.MEMREF_NULL:
            expect(params, Kind.MEMREF_INOUT)
            ref = memref(params, 0)
            if not ref.null or ref.size:
                raise TeeError(results.BAD_PARAMETERS, "the memref is not NULL and empty")
        else:
            raise TeeError(results.BAD_PARAMETERS, f"the test PTA has no command {command}")


def _params(params: Sequence[Value | PtaMemref | None]) -> None:
    given = [param for param in params if param is not None]
    values = [param for param in given if isinstance(param, Value)]
    if len(given) == 1 and given[0].kind is Kind.VALUE_INOUT and values:
        values[0].a = values[0].a + values[0].b & _WORD
    elif sorted(value.kind for value in values) == _SUM_KINDS:
        inputs = [value for value in values if value.kind is Kind.VALUE_INPUT]
        out = next(value for value in values if value.kind is Kind.VALUE_OUTPUT)
        out.a = sum(value.a for value in inputs) & _WORD
        out.b = sum(value.b for value in inputs) & _WORD
    elif len(given) == 1 and not values and given[0].kind is Kind.MEMREF_INOUT:
        ref = memref(given, 0)
        if ref.null or not ref.size:
            raise TeeError(results.BAD_PARAMETERS, "there is no byte for the sum")
        size = ref.size
        ref.put(bytes([sum(ref.read()) & 0xFF]))
        ref.size = size
    else:
        raise TeeError(results.BAD_PARAMETERS, "no test has these parameter types")
