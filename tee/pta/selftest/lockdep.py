"""Whether the core sees a deadlock coming, tried on hypothetical calls and instances.

OP-TEE tests its lock dependency checker this way (core/pta/tests/lockdep.c). Here a call waits for TA instances, and
`tee.activity.closes_circle` is what keeps waits from closing a circle; the scenes are OP-TEE's.
"""

from __future__ import annotations

from tee.activity import Activity, closes_circle
from tee.pta.selftest.kit import check


class _Instance:
    """An instance as far as waiting is concerned."""

    def __init__(self) -> None:
        self.busy_with: Activity | None = None


class _Call(Activity):
    """A call that takes instances, or waits for them, as `tee.world.SecureWorld` does it."""

    def acquire(self, instance: _Instance) -> bool:
        """False if waiting would never end."""
        if instance.busy_with is None:
            instance.busy_with = self
            return True
        if closes_circle(self, instance):
            return False
        self.waiting_for = instance
        return True


def one_call() -> None:
    """A call takes what is free, also again after a release and in another order, but not what it holds."""
    call, one, two, three = _Call(), _Instance(), _Instance(), _Instance()
    check(not closes_circle(call, one), "nobody waits for what is free")
    check(call.acquire(one), "a free instance can be taken")
    one.busy_with = None
    check(call.acquire(one) and call.acquire(three) and call.acquire(two), "a call may hold several")
    three.busy_with = None
    check(not call.acquire(two), "a call cannot wait for what it holds")
    check(call.waiting_for is None, "a refused call does not wait")


def three_calls() -> None:
    """1 waits for 2, 2 for 3; 3 may wait for somebody else, but not for 1."""
    calls, held = [_Call() for _ in range(3)], [_Instance() for _ in range(3)]
    for call, instance in zip(calls, held, strict=True):
        check(call.acquire(instance), "a free instance can be taken")
    check(calls[0].acquire(held[1]), "1 may wait for 2")
    check(calls[1].acquire(held[2]), "2 may wait for 3")
    other = _Instance()
    other.busy_with = Activity()
    check(not closes_circle(calls[2], other), "3 may wait for a call that waits for nobody")
    check(not calls[2].acquire(held[0]), "3 may not wait for 1: none of them would ever go on")
    calls[1].waiting_for = None
    check(calls[2].acquire(held[0]), "once 2 does not wait, 3 may")


def two_calls() -> None:
    """1 waits for 2: 2 may not wait for 1, but a third may wait for either."""
    first, second, third = _Call(), _Call(), _Call()
    one, two = _Instance(), _Instance()
    check(first.acquire(one) and second.acquire(two), "free instances can be taken")
    check(first.acquire(two), "1 may wait for 2")
    check(not second.acquire(one), "2 may not wait for 1")
    check(third.acquire(one), "a call that holds nothing closes no circle")


TESTS = (("one call", one_call), ("three calls", three_calls), ("two calls", two_calls))
