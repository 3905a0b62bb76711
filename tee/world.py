"""The secure world: what every normal world calls, with typed parameters.

Sessions as OP-TEE has them (optee_os 4.5 core/kernel/tee_ta_manager.c); the instances behind them are `tee.instances`'.
"""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, NamedTuple

from north.account import HANDLE
from tee import pta_call
from tee.abi import results
from tee.abi.pta_uuids import STANDARD
from tee.abi.results import Origin, Result
from tee.abi.ta_head import TA_FLAG_SINGLE_INSTANCE
from tee.activity import Activity, Cancellation
from tee.call import ENTRY_CLOSE, ENTRY_INVOKE, ENTRY_OPEN, Call, Outcome
from tee.closing import Closing
from tee.errors import TeeError
from tee.instance import TaInstance
from tee.instances import Instances
from tee.limits import Limits
from tee.logtext import LogText
from tee.session import LOGIN_TRUSTED_APP, PUBLIC, Client, Session
from tee.sharing import Sharing
from tee.shortage import PTA_RESULTS, result_of, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from north.syscalls.declare import Syscall
    from south.platform import Pages, Platform
    from tee.normal import NormalWorld, Profiles
    from tee.observe import Observer
    from tee.params import AnyParam, Param
    from tee.ports import ImageSource
    from tee.profile import ProfileSink
    from tee.pta.base import PseudoTa
    from tee.pta.ports import PtaPorts
    from tee.pta.registry import Registry
    from tee.records import Crash
    from tee.services.properties import Implementation
    from tee.services.time import TaTimes
    from tee.storage.store import TrustedStorage

__all__ = ["PUBLIC", "Cancellation", "Client", "Opened", "Outcome", "SecureWorld"]


SHORTAGES_MOST = 256
"""Reasons of the host's that are logged: each once."""


_DONE = Outcome(results.SUCCESS, Origin.TRUSTED_APP)


class Opened(NamedTuple):
    """session: handle for invoke and close, 0 if it was refused."""

    session: int
    result: Result
    origin: Origin


class SecureWorld:
    """Hosts TAs. Thread-safe: calls into different instances run at the same time.

    images: where TAs come from. limits: per instance. observer: watches calls, logs and crashes.
    normal: the normal world's services, None: there are none. pta_ports: gives what pseudo TAs need beyond this world,
    asked for when the first of them is looked for; None: they have nothing. rpmb_integrity: `TrustedStorage`.
    own_clock: the normal world cannot change the platform's monotonic clock. profiles: takes those of TAs.
    """

    def __init__(
        self,
        platform: Platform,
        images: ImageSource,
        *,
        limits: Limits | None = None,
        observer: Observer | None = None,
        normal: NormalWorld | None = None,
        pta_ports: Callable[[], PtaPorts] | None = None,
        rpmb_integrity: bool = False,
        own_clock: bool = False,
        profiles: Profiles | None = None,
    ) -> None:
        self.platform = platform
        self._rpmb_integrity = rpmb_integrity
        self._own_clock = own_clock
        self._profile_taker = profiles
        self._profiles: ProfileSink | None = None
        self.images = images
        self.limits = limits or Limits()
        self.observer = observer
        self.normal = normal
        self._pta_ports = pta_ports
        self.sharing = Sharing(platform.engine)
        self._making = threading.Lock()
        """Whatever is made on first use is made once: it has state that all sessions share."""
        self._ptas: Registry | None = None
        self._lock = threading.Lock()
        self._sessions: dict[int, Session] = {}
        self._numbers = itertools.count(1)
        self._references = itertools.count(1)
        made = itertools.count(1)
        self._instances = Instances(lambda uuid: TaInstance(self, images.find(uuid), next(made)))
        self._closing = Closing(
            self._instances, lambda session, activity: self._enter(Call(ENTRY_CLOSE, session, 0, (), activity))
        )
        self._unserved: set[int] = set()
        self._log_text = LogText()
        self._shortages: set[str] = set()
        self.bugs = 0
        """System calls that ended in an error of our own (`report_bug`)."""
        self._implementation: Implementation | None = None
        self._times: TaTimes | None = None
        self._storage: TrustedStorage | None = None

    # --- what a normal world calls

    def open_session(
        self,
        uuid: UUID,
        params: Sequence[Param] = (),
        *,
        client: Client = PUBLIC,
        timeout: float | None = None,
        cancellation: Cancellation | None = None,
    ) -> Opened:
        """Open a session to the TA or pseudo TA `uuid`. timeout: seconds until it counts as cancelled."""
        if client.login == LOGIN_TRUSTED_APP:
            return Opened(0, results.ACCESS_DENIED, Origin.TEE)
        session = Session(next(self._numbers), client, None, next(self._references))
        outcome = self._open(uuid, Call(ENTRY_OPEN, session, 0, params, Activity(), timeout, cancellation))
        if outcome.result:
            return Opened(0, *outcome)
        with self._lock:
            self._sessions[session.number] = session
        return Opened(session.number, *outcome)

    def invoke(
        self,
        session: int,
        command: int,
        params: Sequence[Param] = (),
        *,
        timeout: float | None = None,
        cancellation: Cancellation | None = None,
    ) -> Outcome:
        """Invoke `command`; parameters are updated in place, also when the TA answers an error."""
        found = self._sessions.get(session)
        if found is None:
            return Outcome(results.BAD_PARAMETERS, Origin.TEE)
        return self._invoke(Call(ENTRY_INVOKE, found, command, params, Activity(), timeout, cancellation))

    def close_session(self, session: int, *, cancellation: Cancellation | None = None) -> None:
        """TeeError(ITEM_NOT_FOUND) if there is no such session."""
        with self._lock:
            found = self._sessions.pop(session, None)
        if found is None:
            raise TeeError(results.ITEM_NOT_FOUND, f"no session {session}")
        activity = Activity()
        activity.cancellation = cancellation
        self._closing.close(found, activity)

    def close(self) -> None:
        """Close every session, and every instance that would stay alive."""
        while self._sessions:
            _, session = self._sessions.popitem()
            self._closing.close(session, Activity())
        for instance in self._instances.single():
            activity = Activity()
            self._instances.acquire(instance, activity)
            instance.finished = True
            self._closing.leave(instance, activity)
        self._instances.clear()
        if self._storage is not None:
            self._storage.close()

    def __enter__(self) -> SecureWorld:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def instances(self) -> int:
        """Single instances alive."""
        return len(self._instances)

    def alive(self) -> list[TaInstance]:
        """Instances that sessions of the normal world use, and those that stay alive without one."""
        return list({id(instance): instance for instance in self._used() if not instance.releasing}.values())

    def _used(self) -> list[TaInstance]:
        """As `alive`, but some may be there more than once, or on their way out."""
        with self._lock:
            found = [s.instance for s in self._sessions.values() if s.instance is not None]
        return self._instances.single() + found

    def forget(self, pages: Pages) -> None:
        """A client's memory object goes away: no instance keeps it known to its engine. From any thread.

        An instance that a call is inside of forgets when that call ends.
        """
        found = self._used()
        seen: set[int] = set()
        while found:
            instance = found.pop()
            if id(instance) in seen:
                continue
            seen.add(id(instance))
            found += [s.instance for s in tuple(instance.sessions.values()) if s.instance]
            instance.forget(pages)

    # --- what a TA's system calls use

    def open_from_ta(
        self, caller: TaInstance, uuid: UUID, params: Sequence[AnyParam], timeout: float | None
    ) -> tuple[Session, Outcome]:
        activity = caller.activity or Activity()
        session = Session(next(self._numbers) & 0xFFFFFFFF, Client(LOGIN_TRUSTED_APP, caller.uuid), caller,
                          next(self._references))  # fmt: skip
        if len(caller.sessions) >= self.limits.sessions:
            raise TeeError(results.OUT_OF_MEMORY, "too many sessions")
        caller.account.charge(HANDLE)
        outcome = self._open(uuid, Call(ENTRY_OPEN, session, 0, params, activity, timeout))
        if outcome.result:
            caller.account.credit(HANDLE)
        else:
            caller.sessions[session.number] = session
        return session, outcome

    def invoke_from_ta(
        self,
        caller: TaInstance,
        session: Session,
        command: int,
        params: Sequence[AnyParam],
        timeout: float | None,
    ) -> Outcome:
        return self._invoke(Call(ENTRY_INVOKE, session, command, params, caller.activity or Activity(), timeout))

    def close_from_ta(self, caller: TaInstance, session: Session) -> None:
        """Where calls are nested too deep to enter the TA, the session closes when `caller` ends."""
        activity = caller.activity or Activity()
        if activity.depth < self.limits.depth:
            if caller.sessions.pop(session.number, None) is not None:
                caller.account.credit(HANDLE)
            self._closing.close(session, activity)

    # --- the rules

    def _adopt(self, owner: TaInstance, instance: TaInstance) -> bool:
        """Count an instance that was made for a session of `owner` alone; False: there are too many already.

        Each has a quota of its own, so that what a TA may cause is limited by their number, those of its callees and
        their callees included. Single instances are as few as their images.
        """
        if instance.flags & TA_FLAG_SINGLE_INSTANCE:
            return True
        root = owner.root or owner
        with self._lock:
            if root.nested >= self.limits.nested:
                return False
            root.nested += 1
        instance.root = root
        return True

    def disown(self, instance: TaInstance) -> None:
        """It is gone: the inverse of what an open counted."""
        root, instance.root = instance.root, None
        if root is not None:
            with self._lock:
                root.nested -= 1

    def _open(self, uuid: UUID, call: Call) -> Outcome:
        session, activity = call.session, call.activity
        try:
            pta = self.find_pta(uuid)
            if pta is not None:
                session.pta = pta
                outcome, session.context = pta_call.open_session(pta, call, self.log_reason)
                return outcome
            instance = self._instances.open(uuid, activity)
        except TeeError as error:
            if error.result in PTA_RESULTS and error.detail and not error.logged:
                self.log_reason(f"opening a session to {uuid}: {error.detail}")
            return Outcome(error.result, error.origin)
        except (OSError, MemoryError) as problem:
            origin = Origin.TEE if session.pta is None else Origin.TRUSTED_APP
            return Outcome(self.shortage(problem, f"opening a session to {uuid}"), origin)
        session.instance = instance
        opened = False
        try:
            instance.known += 1
            if session.owner is not None and not self._adopt(session.owner, instance):
                return Outcome(results.OUT_OF_MEMORY, Origin.TEE)
            outcome = self._enter(call)
            opened = not outcome.result
            return outcome
        finally:
            if not opened:
                self._instances.leave(instance)
                self._closing.inside(session, activity)
            self._closing.leave(instance, activity)

    def _invoke(self, call: Call) -> Outcome:
        session = call.session
        instance = session.instance
        if instance is None:
            assert session.pta is not None
            with session.lock:
                if session.closed:
                    return Outcome(results.BAD_PARAMETERS, Origin.TEE)
                try:
                    return pta_call.invoke(session.pta, call, self.log_reason)
                except (OSError, MemoryError) as problem:
                    where = f"command {call.command} of a pseudo TA"
                    return Outcome(self.shortage(problem, where), Origin.TRUSTED_APP)
        if not self._instances.acquire(instance, call.activity):
            return Outcome(results.BUSY, Origin.TEE)
        try:
            if session.closed:
                return Outcome(results.BAD_PARAMETERS, Origin.TEE)
            return self._enter(call)
        finally:
            if not self._instances.release(instance):
                self._closing.leave(instance, call.activity)

    def _enter(self, call: Call) -> Outcome:
        instance, cancellation = call.session.instance, call.cancellation
        assert instance is not None
        if instance.dead:
            if cancellation is not None and instance.crash is not None:
                cancellation.died(instance.crash)
            return Outcome(results.TARGET_DEAD, Origin.TEE)
        if cancellation is not None:
            call.activity.cancellation = cancellation
        else:
            cancellation = call.activity.cancellation
        if cancellation is not None and not cancellation.attach(instance):
            return Outcome(results.CANCEL, Origin.TEE)
        try:
            result = instance.enter(call)
        except TeeError as error:
            return Outcome(error.result, error.origin)
        except (OSError, MemoryError) as problem:
            return Outcome(self.shortage(problem, f"a call into {instance.uuid}"), Origin.TEE)
        finally:
            if cancellation is not None:
                cancellation.detach()
        if instance.dead:
            return Outcome(results.TARGET_DEAD, Origin.TEE)
        return Outcome(Result(result), Origin.TRUSTED_APP) if result else _DONE

    # --- telling others

    def report_crash(self, crash: Crash) -> None:
        if end := self._log_text.end_line():
            self.platform.console.write(end)
        if self.observer is None:
            from tee.crash import crash_lines

            self.platform.console.write("\n".join(crash_lines(crash)) + "\n")
        else:
            self.observer.on_crash(crash)

    def log(self, uuid: UUID, text: str, dropped: int) -> None:
        text = self._log_text.of_ta(text)
        if dropped:
            text += self._log_text.end_line() + f"({dropped} messages dropped: the log limit was reached)\n"
        self.platform.console.write(text)
        if self.observer is not None:
            self.observer.on_log(uuid, text)

    def report_bug(self, number: int, bug: Exception) -> None:
        """A handler failed in a way it never should; the TA saw TEE_ERROR_GENERIC."""
        import traceback

        self.bugs += 1
        text = "".join(traceback.format_exception(bug))
        self.platform.console.write(f"litebox: internal error in system call {number}, please report it:\n{text}")

    def shortage(self, problem: OSError | MemoryError, where: str, otherwise: Result = results.GENERIC) -> Result:
        """The result for a TA or client when the host fails or runs short; the reason is logged, once."""
        self.log_reason(f"{where}: {text_of(problem)}")
        return result_of(problem, otherwise)

    def log_reason(self, text: str) -> None:
        """What the host did that a call failed of; a line for each text, once."""
        with self._lock:
            new = text not in self._shortages and len(self._shortages) < SHORTAGES_MOST
            if new:
                self._shortages.add(text)
        if new:
            self.platform.console.write(f"litebox: {text}\n")

    def find_pta(self, uuid: UUID) -> PseudoTa | None:
        """The pseudo TA, or None: then `uuid` may be a user TA's."""
        if self._ptas is None:
            if uuid not in STANDARD:
                return None
            from tee.pta.standard import standard

            with self._making:
                self._ptas = self._ptas or standard(self)
        return self._ptas.find(uuid)

    def pta_ports(self) -> PtaPorts:
        """What the composition root gives to pseudo TAs."""
        if self._pta_ports is not None:
            return self._pta_ports()
        from tee.pta.ports import PtaPorts

        return PtaPorts()

    @property
    def times(self) -> TaTimes:
        if self._times is None:
            from tee.services.time import TaTimes

            with self._making:
                self._times = self._times or TaTimes(self.platform.clock)
        return self._times

    @property
    def implementation(self) -> Implementation:
        """What this world says of itself in gpd.tee.* properties."""
        if self._implementation is None:
            from tee.abi.properties import ProtectionLevel
            from tee.services.properties import Implementation

            levels = (ProtectionLevel.REE, ProtectionLevel.TEE)
            made = Implementation(system_time=levels[self._own_clock], anti_rollback=levels[self._rpmb_integrity])
            with self._making:
                self._implementation = self._implementation or made
        return self._implementation

    @property
    def profiles(self) -> ProfileSink:
        """Where TAs' profiles go."""
        if self._profiles is None:
            from tee.profile import ProfileSink

            with self._making:
                self._profiles = self._profiles or ProfileSink(self._profile_taker, self.platform.console)
        return self._profiles

    @property
    def storage(self) -> TrustedStorage:
        """Trusted storage of this world's TAs."""
        if self._storage is None:
            from tee.storage.store import TrustedStorage

            with self._making:
                self._storage = self._storage or TrustedStorage(
                    self.platform, self.normal, rpmb_integrity=self._rpmb_integrity, limit=self.limits.storage
                )
        return self._storage

    def log_unserved(self, row: Syscall) -> None:
        """Say once that a call exists and is not served."""
        if row.number not in self._unserved:
            self._unserved.add(row.number)
            self.platform.console.write(f"litebox: system call {row.name} is not served: {row.reason}\n")
