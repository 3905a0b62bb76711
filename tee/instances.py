"""Instances of TAs that are alive: which session gets which, who is inside one, and when it goes.

The rules are OP-TEE's (optee_os 4.5 core/kernel/tee_ta_manager.c; KEEP_CRASHED as in 4.8). One difference: where OP-TEE
lets only one thread at a time into all single instance TAs together, here each instance has a lock of its own, and a
wait that would close a circle is refused, which is what OP-TEE's global lock is there for.
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

_KEEP = TA_FLAG_SINGLE_INSTANCE | TA_FLAG_INSTANCE_KEEP_ALIVE


class Instances:
    """Thread-safe. make: loads a TA; TeeError."""

    def __init__(self, make: Callable[[UUID], TaInstance]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._free = threading.Condition(self._lock)
        self._waiting = 0
        """Threads that wait for `_free`: mostly none, and telling nobody costs as much as a lock."""
        self._single: dict[UUID, TaInstance] = {}
        self._loading: set[UUID] = set()

    def __len__(self) -> int:
        """Single instances alive."""
        return len(self._single)

    def single(self) -> list[TaInstance]:
        with self._lock:
            return list(self._single.values())

    def for_session(self, uuid: UUID) -> TaInstance:
        """The instance a new session goes to, its reference already counted; `drop` it once. TeeError."""
        with self._lock:
            while True:
                instance = self._single.get(uuid)
                if instance is not None:
                    if not instance.flags & TA_FLAG_MULTI_SESSION and instance.references:
                        raise TeeError(results.BUSY, f"TA {uuid} allows one session at a time")
                    instance.references += 1
                    return instance
                if uuid not in self._loading:
                    break
                self._wait()
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

    def acquire(self, instance: TaInstance, activity: Activity) -> bool:
        """Wait until `instance` is free and take it; False if waiting would never end."""
        with self._lock:
            if instance.busy_with is None:
                instance.busy_with = activity
                return True
            while instance.busy_with is not None:
                if closes_circle(activity, instance):
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

    def release(self, instance: TaInstance) -> None:
        """The inverse of `acquire`; an instance that died inside goes, unless it is kept crashed."""
        with self._lock:
            instance.busy_with = None
            if instance.dead and self._single.get(instance.uuid) is instance and not _keeps_crashed(instance):
                del self._single[instance.uuid]
            if self._waiting:
                self._free.notify_all()
        if instance.dead:
            self._free_state(instance)

    def drop(self, instance: TaInstance, activity: Activity) -> None:
        """A session of `instance` is gone; the last one takes the instance with it, unless it stays alive."""
        with self._lock:
            instance.references -= 1
            if instance.references:
                return
            if instance.dead:
                if _keeps_crashed(instance):
                    return
            elif instance.flags & _KEEP == _KEEP:
                return
            if self._single.get(instance.uuid) is instance:
                del self._single[instance.uuid]
        instance.activity = activity
        self._free_state(instance)

    def close(self) -> None:
        """Free every instance that stayed alive."""
        while self._single:
            _, instance = self._single.popitem()
            self._free_state(instance)

    def _free_state(self, instance: TaInstance) -> None:
        """Free an instance's CPU, memory and objects, once; nobody is inside, or will be."""
        with self._lock:
            if instance.releasing:
                return
            instance.releasing = True
        instance.release()


def _keeps_crashed(instance: TaInstance) -> bool:
    return instance.flags & _KEEP == _KEEP and bool(instance.flags & TA_FLAG_INSTANCE_KEEP_CRASHED)
