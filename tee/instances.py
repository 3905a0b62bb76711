"""Instances of TAs that are alive: which session gets which, who is inside one, and when it goes.

The rules are OP-TEE's (optee_os 4.5 core/kernel/tee_ta_manager.c; KEEP_CRASHED as in 4.8). One difference: where OP-TEE
lets only one thread at a time into all single instance TAs together, here each instance has a lock of its own, and a
wait that would close a circle is refused, which is what OP-TEE's global lock is there for.

libutee calls TA_DestroyEntryPoint when the last session it knows of closes, and would serve later sessions without a
TA_CreateEntryPoint. OP-TEE counts a session that is only being opened, and so keeps such an instance in use. Here
`TaInstance.known` counts what libutee counts; an instance that gets to zero is `finished`: its openers, those that
already wait for it included, get a new instance, once this one is gone.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from tee.abi import results
from tee.abi.ta_head import (
    TA_FLAG_INSTANCE_KEEP_ALIVE,
    TA_FLAG_INSTANCE_KEEP_CRASHED,
    TA_FLAG_MULTI_SESSION,
    TA_FLAG_SINGLE_INSTANCE,
)
from tee.activity import closes_circle
from tee.errors import TeeError

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from tee.activity import Activity
    from tee.instance import TaInstance
    from tee.session import Session

_KEEP = TA_FLAG_SINGLE_INSTANCE | TA_FLAG_INSTANCE_KEEP_ALIVE


class Instances:
    """Thread-safe. make: loads a TA; TeeError."""

    def __init__(self, make: Callable[[UUID], TaInstance]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._free = threading.Condition(self._lock)
        self._waiting = 0
        """Threads that wait for `_free`: mostly none, and to notify nobody costs as much as a lock."""
        self._single: dict[UUID, TaInstance] = {}
        self._loading: set[UUID] = set()

    def __len__(self) -> int:
        """Single instances alive."""
        return len(self._single)

    def single(self) -> list[TaInstance]:
        with self._lock:
            return list(self._single.values())

    def clear(self) -> None:
        """Forget the crashed ones that were kept; nothing else is left."""
        with self._lock:
            self._single.clear()

    # --- sessions

    def open(self, uuid: UUID, activity: Activity) -> TaInstance:
        """The instance a new session goes to, acquired, its reference counted: `leave` and `left` once.

        TeeError(BUSY): the TA takes one session, or waiting would never end; or as of `make`.
        """
        while True:
            instance = self._for_session(uuid, activity)
            if not self.acquire(instance, activity):
                with self._lock:
                    instance.references -= 1
                raise TeeError(results.BUSY, f"TA {uuid} is in a call that waits for this one")
            if not _ends(instance) or _keeps_crashed(instance):
                return instance
            # It finished or died while this session waited for it.
            with self._lock:
                instance.references -= 1
            self.release(instance)

    def _for_session(self, uuid: UUID, activity: Activity) -> TaInstance:
        """An instance, its reference counted."""
        with self._lock:
            while True:
                instance = self._single.get(uuid)
                if instance is None:
                    if uuid not in self._loading:
                        break
                    self._wait()
                elif _ends(instance) and not _keeps_crashed(instance):
                    self._wait_for(instance, activity)
                elif instance.flags & TA_FLAG_MULTI_SESSION or not instance.references:
                    instance.references += 1
                    return instance
                elif instance.references > instance.leaving:
                    raise TeeError(results.BUSY, f"TA {uuid} allows one session at a time")
                else:
                    self._wait_for(instance, activity)
            self._loading.add(uuid)
        try:
            instance = self._make(uuid)
            instance.references = 1
        except BaseException:
            instance = None
            raise
        finally:
            with self._lock:
                self._loading.discard(uuid)
                if instance is not None and instance.flags & TA_FLAG_SINGLE_INSTANCE:
                    self._single[uuid] = instance
                self._free.notify_all()
        return instance

    def _wait_for(self, instance: TaInstance, activity: Activity) -> None:
        """Until something changes for `instance`, which somebody is about to leave. TeeError(BUSY): it never would."""
        if closes_circle(activity, instance):
            raise TeeError(results.BUSY, f"TA {instance.uuid} ends in a call that waits for this one")
        activity.waiting_for = instance
        try:
            self._wait()
        finally:
            activity.waiting_for = None

    def leave(self, instance: TaInstance) -> None:
        """A session of it begins to close; `left` once."""
        with self._lock:
            instance.leaving += 1

    def left(self, instance: TaInstance) -> None:
        """That session is gone."""
        with self._lock:
            instance.leaving -= 1
            instance.references -= 1

    # --- being inside

    def acquire(self, instance: TaInstance, activity: Activity, leaving: Session | None = None) -> bool:
        """Wait until `instance` is free and take it; False if waiting would never end.

        leaving: it is for this session's close. If that cannot wait, who is inside closes it (`TaInstance.unclosed`).
        """
        with self._lock:
            if leaving is not None:
                instance.leaving += 1
            while instance.busy_with is not None:
                if closes_circle(activity, instance):
                    if leaving is not None:
                        instance.unclosed.append(leaving)
                    return False
                activity.waiting_for = instance
                try:
                    self._wait()
                finally:
                    activity.waiting_for = None
            instance.busy_with = activity
            return True

    def _wait(self) -> None:
        """Until something is released or loaded; the lock is held before and after."""
        self._waiting += 1
        try:
            self._free.wait()
        finally:
            self._waiting -= 1

    def release(self, instance: TaInstance) -> bool:
        """The inverse of `acquire`. False: it stays acquired, because sessions are to be closed, or it is to end."""
        with self._lock:
            if instance.unclosed or ((instance.finished or instance.dead is not None) and not instance.releasing):
                return False
            instance.busy_with = None
            if self._waiting:
                self._free.notify_all()
        return True

    @staticmethod
    def ends(instance: TaInstance) -> bool:
        """Whether `end` is to follow; the caller is inside."""
        return _ends(instance) and not instance.releasing

    def end(self, instance: TaInstance) -> None:
        """Free its CPU, memory and objects, and release it; its UUID is free unless it is kept crashed."""
        instance.releasing = True
        try:
            instance.release()
        finally:
            with self._lock:
                if self._single.get(instance.uuid) is instance and not _keeps_crashed(instance):
                    del self._single[instance.uuid]
                instance.busy_with = None
                self._free.notify_all()


def _ends(instance: TaInstance) -> bool:
    return instance.finished or instance.dead is not None


def keeps_alive(instance: TaInstance) -> bool:
    """Without sessions, too. libutee calls no TA_DestroyEntryPoint then."""
    return instance.flags & _KEEP == _KEEP


def _keeps_crashed(instance: TaInstance) -> bool:
    return instance.dead is not None and keeps_alive(instance) and bool(instance.flags & TA_FLAG_INSTANCE_KEEP_CRASHED)
