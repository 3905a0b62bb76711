"""Closing sessions, and ending instances that have none left or died.

An instance that ends closes the sessions it has to other TAs, which may end others in turn. So a session closes, and an
instance is left, in steps that are made here one after the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee.instances import keeps_alive

if TYPE_CHECKING:
    from collections.abc import Callable

    from tee.activity import Activity
    from tee.instance import TaInstance
    from tee.instances import Instances
    from tee.session import Session


class Closing:
    """enter: run a session's close in its TA, whose instance the caller has acquired; nothing if that one is dead."""

    def __init__(self, instances: Instances, enter: Callable[[Session, Activity], object]) -> None:
        self._instances = instances
        self._enter = enter

    def close(self, session: Session, activity: Activity) -> None:
        """Close a session. It may be after this call, if only somebody who waits for `activity` could go on then."""
        instance = self._begin(session, activity)
        if instance is not None:
            self.leave(instance, activity)

    def _begin(self, session: Session, activity: Activity) -> TaInstance | None:
        """The instance, if the caller is inside it now, to `leave` it."""
        session.closed = True
        instance = session.instance
        if instance is None:
            if session.pta is not None:
                with session.lock:
                    session.pta.close(session.context)
            return None
        if not self._instances.acquire(instance, activity, session):
            return None
        try:
            self.inside(session, activity)
        except BaseException:
            self.leave(instance, activity)
            raise
        return instance

    def inside(self, session: Session, activity: Activity) -> None:
        """The caller is inside the instance, and the session counts as leaving (`Instances.leave`)."""
        instance = session.instance
        assert instance is not None
        try:
            instance.known -= 1
            if not instance.known and not keeps_alive(instance):
                instance.finished = True
            self._enter(session, activity)
        finally:
            self._instances.left(instance)

    def leave(self, instance: TaInstance, activity: Activity) -> None:
        """Leave what was acquired; an instance that is to end ends, once all it held is closed.

        A loop, since a chain of TAs that hold sessions to each other may be longer than Python's stack is deep.
        """
        inside = [instance]
        instances = self._instances
        problem: BaseException | None = None
        while inside:
            last = inside[-1]
            try:
                if last.unclosed:
                    self.inside(last.unclosed.pop(), activity)
                elif not instances.ends(last):
                    if instances.release(last):
                        inside.pop()
                elif last.sessions:
                    _, session = last.sessions.popitem()
                    held = self._begin_unkilled(session, activity)
                    if held is not None:
                        inside.append(held)
                else:
                    instances.end(inside.pop())
            except BaseException as raised:  # an interrupt: nothing stays acquired because of it
                problem = raised
        if problem is not None:
            raise problem

    def _begin_unkilled(self, session: Session, activity: Activity) -> TaInstance | None:
        """What killed an instance does not keep the TAs that it used from closing its sessions."""
        cancellation = activity.cancellation
        if cancellation is None or not cancellation.killed:
            return self._begin(session, activity)
        activity.cancellation = None
        try:
            return self._begin(session, activity)
        finally:
            activity.cancellation = cancellation
