"""TAs as a personality: the table of OP-TEE's calls, TEE_Results for failures, return and panic.

Source of semantics: optee_os 4.5 core/kernel/scall.c, core/tee/tee_svc.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from north.errors import BadAddress, OutOfMemory, SpaceError
from south.platform import EngineError
from tee.abi import results
from tee.errors import TeeError
from tee.shortage import HOST_RESULTS, STORAGE_CALLS

if TYPE_CHECKING:
    from uuid import UUID

    from north.crash import Death
    from north.personality import Served
    from north.syscalls.declare import Syscall
    from north.task import Task
    from south.platform import Cpu, Platform
    from tee.world import SecureWorld

SCN_RETURN = 0  # lib/libutee/include/tee_syscall_numbers.h
SCN_PANIC = 2

_served: dict[int, Served] = {}


class TaPersonality:
    """What a TA in memory is to its task; `tee.instance.TaInstance` is the rest of it."""

    ends = frozenset((SCN_RETURN, SCN_PANIC))
    served = _served

    cpu: Cpu
    number: int
    platform: Platform
    task: Task
    uuid: UUID
    world: SecureWorld

    def why_panicked(self, code: int) -> str:
        raise NotImplementedError

    def died(self, death: Death) -> None:
        raise NotImplementedError

    @property
    def seconds(self) -> float | None:
        return self.world.limits.call_seconds

    def end(self, number: int) -> int | None:
        """As `syscall_sys_return` and `syscall_panic`."""
        code = self.cpu.first & 0xFFFFFFFF
        if number == SCN_RETURN:
            return code
        from north.crash import Death

        self.task.die(self, Death("panic", code, self.why_panicked(code)))
        return None

    def row(self, number: int) -> Syscall | None:
        from tee.syscalls.table import TABLE

        return TABLE.get(number)

    def serve(self, number: int) -> Served | None:
        """Imported when a TA first makes a call that C does not answer: a short run may end without one."""
        from north.personality import serving, unserved
        from tee import services

        row = self.row(number)
        if row is None:
            return None
        _served[number] = serving(row, services.find(row.handler)) if row.handler else unserved(row, _answer_unserved)
        return _served[number]

    def unknown(self, number: int) -> int:
        return results.NOT_SUPPORTED  # syscall_not_supported, core/kernel/scall.c

    def failed(self, number: int, problem: Exception) -> int:
        world = self.world
        if isinstance(problem, TeeError):
            if problem.result in HOST_RESULTS and number in STORAGE_CALLS and not problem.logged:
                world.log_reason(f"system call {number}: {problem.detail or problem.result}")
            return problem.result
        if isinstance(problem, BadAddress):
            return results.ACCESS_DENIED
        if isinstance(problem, OutOfMemory | MemoryError | EngineError):
            return results.OUT_OF_MEMORY
        if isinstance(problem, SpaceError):
            return results.BAD_PARAMETERS
        if isinstance(problem, OSError):
            otherwise = results.STORAGE_NOT_AVAILABLE if number in STORAGE_CALLS else results.GENERIC
            return world.shortage(problem, f"system call {number}", otherwise)
        # A handler of ours failed. Whatever the TA passed, the host and the other TAs go on.
        world.report_bug(number, problem)
        return results.GENERIC

    def called(
        self,
        row: Syscall | None,
        number: int,
        words: tuple[int, ...],
        texts: tuple[str, ...],
        result: int,
        start: float,
        native: bool,
    ) -> None:
        """Report it to the world's observer."""
        observer = self.world.observer
        if observer is not None:
            from tee.records import CallRecord

            took = self.platform.clock.monotonic() - start
            shown = results.Result(result)
            observer.on_call(CallRecord(self.uuid, self.number, row, number, words, texts, shown, start, took, native))


def _answer_unserved(row: Syscall, instance: TaPersonality) -> int:
    instance.world.log_unserved(row)
    return results.NOT_IMPLEMENTED if row.unserved is None else row.unserved
