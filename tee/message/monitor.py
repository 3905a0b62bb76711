"""The secure monitor calls of a normal world's `optee` driver (`south.platform.Monitor`).

Source: optee_os 4.5 core/arch/arm/tee/entry_fast.c, core/arch/arm/kernel/thread_optee_smc.c.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from tee.abi import optee_smc as smc
from tee.abi.optee_rpc import MAX_PARAMS as RPC_PARAMS
from tee.abi.optee_smc import Capability, Smc
from tee.abi.results import GENERIC, Origin
from tee.errors import TeeError
from tee.message.arg import Message
from tee.message.calls import Calls
from tee.message.rpc import Rpc
from tee.message.services import RpcNormalWorld
from tee.message.shm import Shared, SharedMemory, contiguous
from tee.message.threads import SecureThreads

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from south.platform import NormalMachine
    from tee.message.threads import Registers, SecureThread
    from tee.world import SecureWorld

THREADS = 16
"""Calls at a time; OP-TEE has 2 to 8 as a rule."""
_WORD = 0xFFFFFFFF
_CALLS = (Smc.CALL_WITH_ARG, Smc.CALL_WITH_RPC_ARG, Smc.CALL_WITH_REGD_ARG)
"""The first is all that there was without `Capability.RPC_ARG`."""
OS_REVISION = (4, 5)
"""Of the OP-TEE whose behaviour is served."""


class _Life:
    """From one start of the normal world to the next: all that it has here."""

    def __init__(self, monitor: MessageMonitor) -> None:
        machine = monitor.machine
        self.notifications: deque[int] = deque()
        self.shm = SharedMemory(machine.memory, dynamic=bool(monitor.abilities & Capability.DYNAMIC_SHM))
        self.threads = SecureThreads(monitor.thread_count, monitor.post)
        self.rpc = Rpc(self.threads, machine.memory)
        self.world = monitor.make_world(RpcNormalWorld(self.rpc))
        self.calls = Calls(self.world, self.shm, monitor.reserved, monitor.stop_notifications)

    def end(self) -> None:
        """Whatever runs is stopped; returns when the secure world is closed."""
        self.threads.abort()
        self.calls.kill()
        self.shm.close()
        try:
            self.world.close()
        except TeeError:
            pass  # of a service that has gone with the normal world


class MessageMonitor:
    """make_world: a secure world over the services of the normal world's that it is given; one for each start.

    reserved: physical address and bytes of memory set aside for messages, for drivers that want it. abilities: what
    the driver is told that we can, and no more than that we do.
    report: told of errors of our own, one text each.
    """

    def __init__(
        self,
        machine: NormalMachine,
        make_world: Callable[[RpcNormalWorld], SecureWorld],
        *,
        threads: int = THREADS,
        reserved: tuple[int, int] | None = None,
        abilities: Capability = smc.MODERN,
        report: Callable[[str], None] | None = None,
    ) -> None:
        self.machine = machine
        self.make_world = make_world
        self.thread_count = threads
        self.abilities = abilities
        self._calls = frozenset(_CALLS if abilities & Capability.RPC_ARG else _CALLS[:1])
        self.reserved: Shared | None = None
        if reserved is not None:
            self.reserved = contiguous(machine.memory, *reserved, cookie=reserved[0])
            self.abilities |= Capability.HAVE_RESERVED_SHM
        self._report = report
        self._lock = threading.Lock()
        self._notifying = False
        self.bugs = 0
        self._life = _Life(self)

    # --- what South calls

    def call(self, cpu: int, registers: Sequence[int], answer: Callable[[Registers], None]) -> None:
        function = registers[0] & _WORD
        life = self._life
        try:
            if function & smc.FAST:
                answer(self._fast(life, function, registers))
            elif function == Smc.RETURN_FROM_RPC:
                if not life.threads.resume(registers[3] & _WORD, cpu, answer, registers[1:6]):
                    answer((smc.ERESUME, 0, 0, 0))
            elif function in self._calls:
                self._yielding(life, cpu, function, registers, answer)
            else:
                answer((smc.UNKNOWN_FUNCTION, 0, 0, 0))
        except Exception as bug:
            self._bug(bug)
            raise

    def may_block(self, function: int) -> bool:
        return not function & smc.FAST and function & _WORD != Smc.RETURN_FROM_RPC

    def interrupted(self, cpu: int) -> None:
        self._life.threads.interrupted(cpu)

    def reset(self) -> None:
        """A new secure world; the old one ends beside it."""
        with self._lock:
            self._notifying = False
        old, self._life = self._life, _Life(self)
        threading.Thread(target=old.end, name="litebox-reset", daemon=True).start()

    def close(self) -> None:
        """The machine has stopped."""
        self._life.end()

    # --- calls that suspend

    def _yielding(
        self,
        life: _Life,
        cpu: int,
        function: int,
        registers: Sequence[int],
        answer: Callable[[Registers], None],
    ) -> None:
        thread = life.threads.begin(cpu, answer)
        if thread is None:
            answer((smc.ETHREAD_LIMIT, 0, 0, 0))
            return
        code = smc.EBADADDR
        try:
            code = self._message(life, thread, function, registers)
        finally:
            life.threads.end(thread, (code, 0, 0, 0))

    def _message(self, life: _Life, thread: SecureThread, function: int, registers: Sequence[int]) -> int:
        """What x0 says at the end."""
        address = (registers[1] & _WORD) << 32 | registers[2] & _WORD
        used: Shared | None = None
        offset = 0
        if function == Smc.CALL_WITH_REGD_ARG:
            used = shared = life.shm.use(address)
            offset = registers[3] & _WORD
            if shared is None:
                return smc.EBADADDR
        else:
            found = self._by_address(address)
            if found is None:
                return smc.EBADADDR
            shared, offset = found
        try:
            with_rpc = function != Smc.CALL_WITH_ARG
            try:
                message = Message(shared, offset, with_rpc=with_rpc)
            except ValueError:
                return smc.EBADADDR
            if with_rpc:
                thread.place = shared, message.end
            return self._serve(life, thread, message)
        finally:
            if used is not None:
                life.shm.leave(used)

    def _serve(self, life: _Life, thread: SecureThread, message: Message) -> int:
        try:
            known = life.calls.serve(message)
        except Exception as bug:
            self._bug(bug)
            message.finish(GENERIC, Origin.TEE)
            known = True
        life.rpc.give_back(thread)
        return smc.OK if known else smc.EBADCMD

    def _by_address(self, address: int) -> tuple[Shared, int] | None:
        """A message in reserved memory, or at the start of any page of the normal world's."""
        reserved = self.reserved
        if reserved is not None and 0 <= address - reserved.cookie < reserved.size:
            return reserved, address - reserved.cookie
        if address % 4096 or not self.abilities & Capability.DYNAMIC_SHM:
            return None
        try:
            return contiguous(self.machine.memory, address, 4096, 0), 0
        except TeeError:
            return None

    # --- calls that do not

    def _fast(self, life: _Life, function: int, registers: Sequence[int]) -> Registers:
        if function == Smc.GET_ASYNC_NOTIF_VALUE:
            return self._notification(life)
        if function == Smc.CALLS_UID:
            return smc.UID
        if function == Smc.CALLS_REVISION:
            return (*smc.REVISION, 0, 0)
        if function == Smc.GET_OS_UUID:
            return smc.OS_UUID
        if function == Smc.GET_OS_REVISION:
            return (*OS_REVISION, 0, 0)
        if function == Smc.GET_THREAD_COUNT:
            return smc.OK, self.thread_count, 0, 0
        if function == Smc.GET_SHM_CONFIG:
            reserved = self.reserved
            if reserved is None:
                return smc.ENOTAVAIL, 0, 0, 0
            return smc.OK, reserved.cookie, reserved.size, smc.SHM_CACHED
        if function == Smc.EXCHANGE_CAPABILITIES:
            return self._capabilities(registers[1] & _WORD)
        if function == Smc.ENABLE_SHM_CACHE:
            # Nothing is kept from call to call, so nothing needs to be given back.
            return smc.EBUSY if life.threads.active else smc.OK, 0, 0, 0
        if function == Smc.DISABLE_SHM_CACHE:
            return smc.EBUSY if life.threads.active else smc.ENOTAVAIL, 0, 0, 0
        if function == Smc.ENABLE_ASYNC_NOTIF and self.abilities & Capability.ASYNC_NOTIF:
            self._notify(life, True)
            return smc.OK, 0, 0, 0
        return smc.UNKNOWN_FUNCTION, 0, 0, 0

    def _capabilities(self, offered: int) -> Registers:
        if offered & ~smc.NSEC_CAP_UNIPROCESSOR:
            return smc.ENOTAVAIL, 0, 0, 0
        return smc.OK, int(self.abilities), self.thread_count, RPC_PARAMS

    # --- asynchronous notifications: secure threads wake the tasks that sleep for them

    def post(self, value: int) -> bool:
        """False if the normal world takes none."""
        life = self._life
        with self._lock:
            if not self._notifying:
                return False
            if value not in life.notifications:
                life.notifications.append(value)
        self.machine.notify()
        return True

    def _notification(self, life: _Life) -> Registers:
        with self._lock:
            if not life.notifications:
                return smc.OK, 0, 0, 0
            value = life.notifications.popleft()
            more = smc.ASYNC_NOTIF_PENDING if life.notifications else 0
        return smc.OK, value, smc.ASYNC_NOTIF_VALID | more, 0

    def _notify(self, life: _Life, on: bool) -> None:
        with self._lock:
            self._notifying = on
            life.threads.sleepy = on
            if not on:
                life.notifications.clear()
        self.machine.notifications(on)

    def stop_notifications(self) -> None:
        self._notify(self._life, False)

    def _bug(self, bug: Exception) -> None:
        import traceback

        self.bugs += 1
        if self._report is not None:
            text = "".join(traceback.format_exception(bug))
            self._report(f"litebox: internal error in a secure monitor call, please report it:\n{text}")
