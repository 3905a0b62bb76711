"""One TA in memory: its CPU, address space and kernel-side objects, and what happens when it runs.

System calls that C does not answer stop the engine and come here. Whatever a TA does ends in a
defined result; when it dies it dies alone, and everything it held is freed.
Source of semantics: optee_os 4.5 core/kernel/user_ta.c, tee_ta_manager.c, core/tee/tee_svc.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from north.account import Account
from north.errors import OutOfMemory, SpaceError
from north.memory import AddressSpace
from north.task import STOPPED, Task
from south.platform import PAGE, EngineError, Prot, RegionFlag
from tee.abi import results
from tee.crypto.task import Task as NativeTask
from tee.errors import TeeError
from tee.known import KnownMemory
from tee.mapping import UTEE_PARAMS, MappedParams
from tee.personality import TaPersonality
from tee.usermemory import TaMemory

if TYPE_CHECKING:
    from uuid import UUID

    from north.crash import Death
    from south.platform import Pages, Platform
    from tee.activity import Activity
    from tee.call import Call
    from tee.objects import ObjectTable
    from tee.ports import Image
    from tee.profile import Sampling, TraceWriter
    from tee.records import Crash
    from tee.services.properties import Implementation
    from tee.services.time import TaTimes
    from tee.session import Client, Session
    from tee.storage.store import EnumeratorTable, TrustedStorage
    from tee.world import SecureWorld


NEVER = float("inf")  # a start without the module math is quicker
STACK = "stack"
STACK_ALIGNMENT = 16
ABOVE_STACK = PAGE
"""Bytes above the stack that a TA may read. OP-TEE maps a call's temporary buffers there, and TAs came to count on it:
crypt offers 1025 bytes of a 14-byte array on its stack, and expects the system PTA to find that too much."""


class TaInstance(TaPersonality):
    """`busy_with`: the activity inside, guarded by the world's lock. sessions: opened by this TA.

    root: the instance whose calls made this one, None: a client's did; nested: instances whose root this one is.
    """

    def __init__(self, world: SecureWorld, image: Image, number: int) -> None:
        platform = world.platform
        limits = world.limits
        self.world = world
        self.image = image
        self.uuid: UUID = image.uuid
        self.flags = image.flags
        self.number = number
        self.platform: Platform = platform
        self.busy_with: Activity | None = None
        self.references = 0
        """Sessions, those included that are being opened or closed."""
        self.leaving = 0
        """Of these, the ones that are being closed. Not zero: somebody is inside."""
        self.known = 0
        """Sessions that the TA's libutee knows of; changed by who is inside."""
        self.finished = False
        """The last session that libutee knew of closes or has closed: no other may be opened."""
        self.unclosed: list[Session] = []
        """Sessions whose close could not wait for who is inside, and is made when that one leaves."""
        self.root: TaInstance | None = None
        self.nested = 0
        self.crash: Crash | None = None
        """The report of that, for calls that come later."""
        self.sessions: dict[int, Session] = {}
        self.session: Session | None = None
        self.activity: Activity | None = None
        self.releasing = False
        self._cancel_at: float | None = None
        try:
            self._arena = platform.pages.arena(limits.memory)
        except OSError as error:
            why = f"no addresses for {limits.memory} bytes: {error.strerror}"
            raise TeeError(results.OUT_OF_MEMORY, why) from error
        try:
            self._table = platform.engine.space(image.arch, self._arena)
        except EngineError as error:
            self._arena.close()
            raise TeeError(results.OUT_OF_MEMORY, str(error)) from error
        try:
            self.cpu = self._table.cpu()
            self.space = AddressSpace(self._table, self._arena, platform.entropy, limits.memory, limits.layout)
            self.account = Account(self.space)
            self._known = KnownMemory(self.space)
            self.memory = TaMemory(self.space)
            self.native = NativeTask(max_states=limits.handles, log_rate=limits.log_rate, log_burst=2 * limits.log_rate)
            self._objects: ObjectTable | None = None
            self._enumerators: EnumeratorTable | None = None
            self.native.set_system_clock(0.0)
            self.program = image.link(self.space)
            stack = self.space.map(max(image.stack_size, 1) + ABOVE_STACK, Prot.RW, name=STACK)
            top = stack.end - ABOVE_STACK
            self.space.protect(top, ABOVE_STACK, Prot.R)
            self.program.add_stack(stack.va, top - stack.va)
            self._sanitizer = self.program.sanitizer
            self.native.bind(self.cpu)
        except (SpaceError, EngineError, MemoryError) as error:
            self._unmake()
            raise TeeError(results.OUT_OF_MEMORY, str(error)) from error
        except BaseException:
            self._unmake()
            raise
        self._params_va = top - (UTEE_PARAMS.size + STACK_ALIGNMENT - 1 & -STACK_ALIGNMENT)
        self._params_view = self.space.view(self._params_va, UTEE_PARAMS.size)
        self._trace = self._trace_writer()
        self._sampling: Sampling | None = None
        tracing = world.observer is not None and world.observer.tracing
        self.task = Task(self.cpu, self.memory, platform.clock, self, tracing=tracing)

    def _trace_writer(self) -> TraceWriter | None:
        trace = self.program.trace
        if trace is None:
            return None
        from tee.profile import TraceWriter

        return TraceWriter(trace, self.uuid, self.world.profiles)

    def _unmake(self) -> None:
        """What was begun of an instance that cannot be."""
        self._table.close()
        self._arena.close()

    # --- running

    def enter(self, call: Call) -> int:
        """Run one entry of the TA; its TEE_Result. TeeError if it could not be entered.

        The caller holds the instance. `self.dead` is set when the TA did not survive.
        """
        self._known.gate.acquire()
        try:
            return self._enter(call)
        finally:
            self._known.leave()

    def _enter(self, call: Call) -> int:
        session, activity, timeout = call.session, call.activity, call.timeout
        limits = self.world.limits
        if activity.depth >= limits.depth:
            raise TeeError(results.OUT_OF_MEMORY, f"more than {limits.depth} nested calls")
        activity.depth += 1
        native = self.native
        native.begin()
        cancellation = activity.cancellation
        if cancellation is not None and cancellation.requested and activity.depth == 1:
            self.cancel()  # it was asked for before this entry began with clean flags
        if timeout is not None or self._cancel_at is not None:
            self._cancel_at = None if timeout is None else self.platform.clock.monotonic() + timeout
            native.set_cancel_deadline(self._cancel_at)
        self.session = session
        self.activity = activity
        mapped: MappedParams | None = None
        known = self._known
        sharing = self.world.sharing
        shared: list[int] = []
        cpu = self.cpu
        try:
            try:
                mapped = MappedParams(self.space, call.params, known.places, known.keep)
            except (OutOfMemory, EngineError) as error:
                raise TeeError(results.OUT_OF_MEMORY, str(error)) from error
            except SpaceError as error:  # a memref that its memory does not hold: xtest regression_1018
                raise TeeError(results.BAD_PARAMETERS, str(error)) from error
            for region in mapped.regions:
                sharing.enter(region.pages.identity, cpu)
                shared.append(region.pages.identity)
            UTEE_PARAMS.pack_into(self._params_view, 0, *mapped.words)
            if limits.call_seconds is not None:
                self.task.limit(limits.call_seconds)
            try:
                va = self._params_va
                number = cpu.start(self.program.entry, va, call.function, session.reference, va, call.command)
                result = self.task.run(self, number)
            except BaseException:
                from north.crash import Death

                self.task.die(self, Death("killed", 0, STOPPED))
                raise
            if result is None:
                result = results.TARGET_DEAD
            if mapped.answers:
                mapped.update(UTEE_PARAMS.unpack_from(self._params_view, 0))
            if self._trace is not None:
                self._trace.dump()
            return result
        finally:
            for identity in shared:
                sharing.leave(identity, cpu)
            if mapped is not None and mapped.regions:
                mapped.leave(self.space, known.places)
            activity.depth -= 1
            self.session = None
            self.activity = None
            if native.log_waits():
                self.flush_log()

    def why_panicked(self, code: int) -> str:
        """What a panic was about."""
        self.flush_log()
        report = self._sanitizer.report if self._sanitizer is not None else ""
        return report or f"TEE_Panic({results.Result(code)})"

    # --- dying

    @property
    def dead(self) -> Death | None:
        """What it died of."""
        return self.task.dead

    def died(self, death: Death) -> None:
        """Report it to whoever watches; called once."""
        from tee.crash import crash_report

        self.flush_log()
        self.crash = crash_report(self, death)
        if self.activity is not None and self.activity.cancellation is not None:
            self.activity.cancellation.died(self.crash)
        self.world.report_crash(self.crash)

    def release(self) -> None:
        """Free CPU, memory and objects; its sessions to other TAs are closed. Nobody runs in it."""
        self.world.disown(self)
        self._params_view.release()
        if self._objects is not None:
            self._objects.close()
        self._known.close()
        self.native.close()
        self._arena.close()

    # --- for services

    @property
    def objects(self) -> ObjectTable:
        """Transient objects and the operations that use them."""
        if self._objects is None:
            from tee.objects import ObjectTable

            self._objects = ObjectTable(self.world.limits.handles, self.account)
        return self._objects

    @property
    def storage(self) -> TrustedStorage:
        return self.world.storage

    @property
    def enumerators(self) -> EnumeratorTable:
        """Of persistent objects."""
        if self._enumerators is None:
            from tee.storage.store import EnumeratorTable

            self._enumerators = EnumeratorTable(self.world.limits.handles, self.account)
        return self._enumerators

    @property
    def client(self) -> Client:
        """Who opened the session that is running."""
        assert self.session is not None
        return self.session.client

    @property
    def times(self) -> TaTimes:
        return self.world.times

    @property
    def implementation(self) -> Implementation:
        return self.world.implementation

    def touches_private(self, va: int, size: int) -> bool:
        """Whether any byte of [va, va + size) is the TA's own memory and no parameter."""
        return self.memory.touches_private(self.space, va, size)

    def cancel(self) -> None:
        """From any thread: raise the cancellation flag and wake a TEE_Wait."""
        self.native.cancel()
        self.task.wake()

    def kill(self) -> None:
        """From any thread: end the call that runs, and the TA with it."""
        self.task.kill()

    def wait(self, seconds: float) -> bool:
        """Sleep; True if an unmasked cancellation ended it. A call's hard limit ends it too."""
        return self.task.wait(self, seconds, self._cancelled)

    def _cancelled(self, now: float) -> float | None:
        """As `Task.wait` asks."""
        native, at = self.native, self._cancel_at
        if native.masked:
            return NEVER
        if native.cancelled or (at is not None and now >= at):
            return None
        return NEVER if at is None else at

    def go_on(self) -> None:
        """TeeError(CANCEL) unless `Task.go_on`."""
        if not self.task.go_on():
            raise TeeError(results.CANCEL, "the call is to end")

    def map_zeroed(self, size: int, before: int, after: int, at: int, flags: int) -> int:
        return self.memory.map_zeroed(self.space, size, before, after, at, flags)

    def unmap(self, va: int, size: int) -> None:
        self.memory.unmap(self.space, va, size)

    @property
    def sampling(self) -> Sampling:
        if self._sampling is None:
            from tee.profile import Sampling

            self._sampling = Sampling(self.cpu, self.program)
        return self._sampling

    def immutable(self) -> list[bytes]:
        """The page above the stack is as if another call's buffers were there, so it is none of these."""
        return [
            self.space.read(region.va, region.size)
            for region in self.space
            if region.flags & RegionFlag.PRIVATE and not region.prot & Prot.W and region.name != STACK
        ]

    def dlopen(self, uuid: UUID, flags: int) -> None:
        self.program.dlopen(uuid, flags)

    def dlsym(self, uuid: UUID, name: str) -> int:
        return self.program.dlsym(uuid, name)

    def forget(self, pages: Pages) -> None:
        """As `KnownMemory.forget`."""
        self._known.forget(pages)

    def flush_log(self) -> None:
        """Hand on what C kept of the log."""
        if not self.native.log_waits():
            return
        text, dropped = self.native.take_log()
        if self._sanitizer is not None:
            self._sanitizer.heard(text)
        if text or dropped:
            self.world.log(self.uuid, text, dropped)
