"""OP-TEE's test PTA, which xtest calls: how parameters reach a PTA, and self tests of the core.

The self tests are of this core's own parts (`tee.pta.selftest`), and imported when a command first asks for them.
Source: optee_os core/pta/tests/invoke.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee.abi import results
from tee.abi.pta_invoke_tests import PTA_INVOKE_TESTS_UUID, InvokeTestsCommand, MutexTestKind
from tee.abi.ta_head import TA_FLAG_CONCURRENT, TA_FLAG_DEVICE_ENUM, TA_FLAG_SECURE_DATA_PATH
from tee.errors import TeeError
from tee.params import Kind, Value
from tee.pta.base import Sessionless
from tee.pta.kinds import expect, memref, served, value
from tee.pta.registry import PTA_DEFAULT_FLAGS
from tee.pta.selftest.mutex import MutexTest

if TYPE_CHECKING:
    from collections.abc import Callable

    from south.platform import Platform
    from tee.params import BaseMemref
    from tee.pta.base import Caller, Params

_WORD = 0xFFFFFFFF
_SUM_KINDS = [Kind.VALUE_INPUT, Kind.VALUE_INPUT, Kind.VALUE_INPUT, Kind.VALUE_OUTPUT]
"""In any order: the output becomes the sum of the inputs."""


class InvokeTestsPta(Sessionless):
    """htree_self_test: tests trusted storage's hash tree, and raises whatever it likes if it is broken; None: this
    world has no such storage, and the command is unknown, as it is to OP-TEE without CFG_REE_FS.
    """

    uuid = PTA_INVOKE_TESTS_UUID
    name = "invoke_tests.pta"
    flags = PTA_DEFAULT_FLAGS | TA_FLAG_SECURE_DATA_PATH | TA_FLAG_CONCURRENT | TA_FLAG_DEVICE_ENUM

    def __init__(self, platform: Platform, htree_self_test: Callable[[], None] | None = None) -> None:
        self._platform = platform
        self._htree = htree_self_test
        self._mutex = MutexTest()
        """One for all sessions: they meet at its lock."""

    def invoke(self, session: object, command: int, params: Params, caller: Caller | None) -> None:
        served(_SERVED, command, "the test PTA", results.BAD_PARAMETERS)(self, params)

    def trace(self, params: Params) -> None:
        self._platform.console.write(f'I/TC: pseudo TA "{self.name}" says "Hello world !"\n')

    def self_tests(self, params: Params) -> None:
        from tee.pta.selftest import core, kit, memory

        kit.run(self._platform.console, (*core.TESTS, *memory.tests(self._platform)))

    def dt_driver_tests(self, params: Params) -> None:
        from tee.pta.selftest import devices, kit

        kit.run(self._platform.console, devices.tests(self._platform))

    def lockdep(self, params: Params) -> None:
        from tee.pta.selftest import kit, lockdep

        kit.run(self._platform.console, lockdep.TESTS)

    def fs_htree(self, params: Params) -> None:
        if self._htree is None:
            raise TeeError(results.BAD_PARAMETERS, "this secure world has no hash trees")
        if any(param is not None for param in params):
            raise TeeError(results.BAD_PARAMETERS, "the hash tree's test takes no parameters")
        from tee.pta.selftest import kit

        kit.run(self._platform.console, (("hash tree", self._htree),))

    def mutex(self, params: Params) -> None:
        """value[0].a: writer or reader, .b: rounds under the lock; value[1]: threads before the lock, and in it."""
        expect(params, Kind.VALUE_INPUT, Kind.VALUE_OUTPUT)
        what, counts = value(params, 0), value(params, 1)
        if what.a == MutexTestKind.WRITER:
            counts.a, counts.b = self._mutex.write(what.b)
        elif what.a == MutexTestKind.READER:
            counts.a, counts.b = self._mutex.read(what.b)
        else:
            raise TeeError(results.BAD_PARAMETERS, f"there is no mutex test {what.a}")

    def aes_perf(self, params: Params) -> None:
        from tee.pta.selftest.aes import aes_perf

        aes_perf(params)

    def copy_to_secure(self, params: Params) -> None:
        _copy(params, to_secure=True)

    def copy_from_secure(self, params: Params) -> None:
        _copy(params, to_secure=False)

    def modify_secure(self, params: Params) -> None:
        """Every byte becomes its two's complement."""
        expect(params, Kind.MEMREF_INOUT)
        ref = memref(params, 0)
        _require(ref, secure=True)
        if ref.size:
            ref.put(bytes(-byte & 0xFF for byte in ref.read()))

    def transfer_list_tests(self, params: Params) -> None:
        # Newer xtest asks; this is what an OP-TEE without CFG_TRANSFER_LIST_TEST says (core/pta/tests/misc.h).
        raise TeeError(results.NOT_SUPPORTED, "this secure world is handed no transfer list")

    def params(self, params: Params) -> None:
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

    def memref_null(self, params: Params) -> None:
        expect(params, Kind.MEMREF_INOUT)
        ref = memref(params, 0)
        if not ref.null or ref.size:
            raise TeeError(results.BAD_PARAMETERS, "the memref is not NULL and empty")


_SERVED: dict[int, Callable[[InvokeTestsPta, Params], None]] = {
    InvokeTestsCommand.TRACE: InvokeTestsPta.trace,
    InvokeTestsCommand.PARAMS: InvokeTestsPta.params,
    InvokeTestsCommand.SELF_TESTS: InvokeTestsPta.self_tests,
    InvokeTestsCommand.COPY_NSEC_TO_SEC: InvokeTestsPta.copy_to_secure,
    InvokeTestsCommand.READ_MODIFY_SEC: InvokeTestsPta.modify_secure,
    InvokeTestsCommand.COPY_SEC_TO_NSEC: InvokeTestsPta.copy_from_secure,
    InvokeTestsCommand.FS_HTREE: InvokeTestsPta.fs_htree,
    InvokeTestsCommand.MUTEX: InvokeTestsPta.mutex,
    InvokeTestsCommand.LOCKDEP: InvokeTestsPta.lockdep,
    InvokeTestsCommand.AES_PERF: InvokeTestsPta.aes_perf,
    InvokeTestsCommand.MEMREF_NULL: InvokeTestsPta.memref_null,
    InvokeTestsCommand.DT_DRIVER_TESTS: InvokeTestsPta.dt_driver_tests,
    InvokeTestsCommand.TRANSFER_LIST_TESTS: InvokeTestsPta.transfer_list_tests,
}


def _copy(params: Params, *, to_secure: bool) -> None:
    """memref[0] to memref[1], one of them the normal world's memory and the other not (Secure Data Path)."""
    expect(params, Kind.MEMREF_INPUT, Kind.MEMREF_OUTPUT)
    source, target = memref(params, 0), memref(params, 1)
    if target.size < source.size:
        target.size = source.size
        raise TeeError(results.SHORT_BUFFER, "the copy does not fit")
    _require(source, secure=not to_secure)
    _require(target, secure=to_secure)
    if source.size:
        size = target.size  # OP-TEE leaves it as it was offered
        target.put(source.read())
        target.size = size


def _require(ref: BaseMemref, *, secure: bool) -> None:
    """The check that no data cross over in silence: core_vbuf_is(CORE_MEM_SDP_MEM or CORE_MEM_NON_SEC)."""
    if ref.null or ref.secure is not secure:
        raise TeeError(results.BAD_PARAMETERS, "not secure memory" if secure else "not memory of the normal world")
