"""Secure threads: calls that suspend, because they ask the normal world for something or let its interrupts in.

Every yielding call runs on a thread of South's from its start to its end. What Linux sees of it is a secure thread: a
number that comes back with RETURN_FROM_RPC. While the call computes, a CPU of the normal world waits for it. When an
interrupt pends there, the CPU is let go; after `PATIENCE` it is also told to sleep until the thread has something for
it (a NOTIFICATION_WAIT on the thread's behalf), so that a TA which computes for long costs the normal world nothing.
Source: optee_os 4.5 core/arch/arm/kernel/thread_optee_smc.c, core/kernel/notif.c.
"""

from __future__ import annotations

import enum
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from tee.abi.optee_msg import VALUE_INPUT
from tee.abi.optee_rpc import NOTIFICATION_WAIT, RpcCmd
from tee.abi.optee_smc import RPC_CMD, RPC_FOREIGN_INTR
from tee.abi.results import COMMUNICATION, GENERIC
from tee.errors import TeeError
from tee.message import arg

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tee.message.rpc import Buffer
    from tee.message.shm import Shared

Registers = tuple[int, int, int, int]

PATIENCE = 0.001
"""Seconds that a CPU waits before an interrupt makes it sleep instead of come back at once."""
LONGEST_SLEEP = 30_000
"""Milliseconds that Linux sleeps at once: its hung task detector waits for longer."""


class State(enum.Enum):
    """What the normal world knows of a thread."""

    RUNNING = 1
    """A CPU waits for it."""
    INTERRUPTED = 2
    """Suspended by a foreign interrupt."""
    SLEEPING = 3
    """Suspended in the notification wait that we asked for on its behalf."""
    RPC = 4
    """Suspended in a request of its own."""


class _Gate:
    """Lets one thread through for each time it was opened; opened twice is once. `threading.Event` takes 10 us more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def wait(self) -> None:
        self._lock.acquire()

    def open(self) -> None:
        with suppress(RuntimeError):  # open already
            self._lock.release()


class SecureThread:
    """place: where its requests are written, (memory, offset); None: the call brought none."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.place: tuple[Shared, int] | None = None
        self.state = State.RUNNING
        self.cpu = -1
        self.since = 0.0
        self.answer: Callable[[Registers], None] | None = None
        self.outcome: tuple[Registers, bool] | None = None
        """What a CPU gets that comes back, and whether the call has ended."""
        self.place_in_use = False
        """By a request of its own, until its answer was copied."""
        self.returned: Sequence[int] = ()
        """x1 to x5 of the RETURN_FROM_RPC that ended the last request."""
        self.resumed = _Gate()
        """The last request was answered."""
        self.awake = _Gate()
        """Linux has left the sleep that we asked for."""
        self.buffer: Buffer | None = None
        """Memory of the normal world's that the call has borrowed."""
        self.files_checked = False
        """This call has looked whether the supplicant still has our files."""
        self.allocated = False
        """`place` was borrowed for this call."""


class SecureThreads:
    """count: calls at a time. wake: posts an asynchronous notification, False if the normal world takes none."""

    def __init__(self, count: int, wake: Callable[[int], bool]) -> None:
        self.count = count
        self._wake = wake
        self._lock = threading.Lock()
        self._free = list(range(count, 0, -1))
        self._active: dict[int, SecureThread] = {}
        self._waiting: dict[int, SecureThread] = {}
        """By CPU."""
        self._early: set[int] = set()
        """CPUs that were interrupted before the call that they wait for had begun: South tells of each on a thread."""
        self._local = threading.local()
        self.sleepy = False
        """Whether Linux may be told to sleep: it takes asynchronous notifications."""
        self._aborted = False

    @property
    def current(self) -> SecureThread:
        """Of the calling thread. TeeError(COMMUNICATION) outside of a call."""
        thread: SecureThread | None = getattr(self._local, "thread", None)
        if thread is None:
            raise TeeError(COMMUNICATION, "the normal world can be asked during its calls alone")
        return thread

    # --- the calling thread: begin, then requests, then end

    def begin(self, cpu: int, answer: Callable[[Registers], None]) -> SecureThread | None:
        """None: all are in use."""
        with self._lock:
            if not self._free or self._aborted:
                return None
            thread = SecureThread(self._free.pop())
            self._active[thread.number] = thread
            early = cpu in self._early
            self._attach(thread, cpu, answer)
        self._local.thread = thread
        if early:
            self.interrupted(cpu)
        return thread

    def end(self, thread: SecureThread, registers: Registers) -> None:
        self._local.thread = None
        self._deliver(thread, registers, last=True)

    def request(self, thread: SecureThread, registers: Registers, message: bytes | None) -> Sequence[int]:
        """Suspend the call with `registers` (x3 is ours); returns x1 to x5 of its resumption.

        message: what is written to the thread's place first. The caller copies the answer and says `copied`.
        TeeError(COMMUNICATION): the normal world is gone.
        """
        while True:
            with self._lock:
                if self._aborted:
                    raise TeeError(COMMUNICATION, "the normal world has gone")
                if thread.state is not State.SLEEPING:
                    thread.place_in_use = message is not None
                    break
            # Linux still uses the place for the wait that we asked for.
            self._wake(thread.number)
            thread.awake.wait()
        if message is not None:
            assert thread.place is not None
            shared, offset = thread.place
            shared.write(offset, message)
        self._deliver(thread, (*registers[:3], thread.number), last=False)
        thread.resumed.wait()
        if self._aborted:
            raise TeeError(COMMUNICATION, "the normal world has gone")
        return thread.returned

    def copied(self, thread: SecureThread) -> None:
        """The answer to the last request has been read."""
        thread.place_in_use = False

    def _deliver(self, thread: SecureThread, registers: Registers, *, last: bool) -> None:
        with self._lock:
            answer, thread.answer = thread.answer, None
            if answer is not None:
                self._waiting.pop(thread.cpu, None)
                self._told(thread, last)
            else:
                thread.outcome = registers, last
            asleep = thread.state is State.SLEEPING
        if answer is not None:
            answer(registers)
        elif asleep:
            self._wake(thread.number)

    def _told(self, thread: SecureThread, last: bool) -> None:
        if last:
            del self._active[thread.number]
            self._free.append(thread.number)
        else:
            thread.state = State.RPC

    def _attach(self, thread: SecureThread, cpu: int, answer: Callable[[Registers], None]) -> None:
        self._early.discard(cpu)
        thread.state = State.RUNNING
        thread.cpu = cpu
        thread.answer = answer
        thread.since = time.monotonic()
        self._waiting[cpu] = thread

    # --- the normal world's side

    def resume(self, number: int, cpu: int, answer: Callable[[Registers], None], returned: Sequence[int]) -> bool:
        """RETURN_FROM_RPC. False: there is nothing to resume by that number."""
        with self._lock:
            thread = self._active.get(number)
            if thread is None or thread.state is State.RUNNING:
                return False
            outcome = None
            if thread.state is State.RPC:
                thread.returned = returned
                event = thread.resumed
            else:
                outcome, thread.outcome = thread.outcome, None
                event = thread.awake
            if outcome is None:
                self._attach(thread, cpu, answer)
            else:
                thread.cpu = cpu
                self._told(thread, outcome[1])
        if outcome is None:
            event.open()
        else:
            answer(outcome[0])
        return True

    def interrupted(self, cpu: int) -> None:
        """Let go of the CPU that waits, now or when its call begins.

        A CPU that is kept may be the one on which the normal world would go on with what its call waits for. If the
        call has just ended, the CPU's next one is let go for nothing, and comes back at once.
        """
        with self._lock:
            thread = self._waiting.pop(cpu, None)
            if thread is None or thread.answer is None:
                self._early.add(cpu)
                return
            answer, thread.answer = thread.answer, None
            registers = self._sleep(thread)
            thread.state = State.INTERRUPTED if registers is None else State.SLEEPING
        answer(registers or (RPC_FOREIGN_INTR, 0, 0, thread.number))

    def _sleep(self, thread: SecureThread) -> Registers | None:
        """Ask Linux to sleep until the thread has something for it; None: not now."""
        if not self.sleepy or thread.place is None or thread.place_in_use:
            return None
        if time.monotonic() - thread.since < PATIENCE:
            return None
        shared, offset = thread.place
        shared.write(offset, _sleep_message(thread.number))
        return RPC_CMD, 0, 0, thread.number

    @property
    def active(self) -> int:
        return len(self._active)

    def abort(self) -> None:
        """The normal world is gone: requests fail, no CPU waits."""
        with self._lock:
            self._aborted = True
            for thread in self._active.values():
                thread.answer = None
                thread.resumed.open()
                thread.awake.open()
            self._waiting.clear()


def _sleep_message(number: int) -> bytes:
    wait = (VALUE_INPUT, NOTIFICATION_WAIT, number, LONGEST_SLEEP)
    return arg.request(RpcCmd.NOTIFICATION, [wait], GENERIC)
