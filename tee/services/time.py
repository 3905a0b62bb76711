"""Times of a TA, and waiting.

System time is monotonic and belongs to the device; a TA's own time is that plus an offset it set;
REE time is what the normal world believes. Source: optee_os core/tee/tee_svc.c,
core/tee/tee_time_generic.c, core/arch/arm/kernel/tee_time_arm_cntpct.c; GP TEE Internal Core API
v1.3.1 §7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from tee.abi import results
from tee.abi.time import MILLIS_BASE, TEE_TIME, TIME_RANGE, TimeCategory
from tee.errors import TeeError

if TYPE_CHECKING:
    from uuid import UUID

    from north.syscalls.declare import UserMemory
    from south.platform import Clock

_SYSTEM, _TA_PERSISTENT, _REE = map(int, TimeCategory)  # enum members are slow to compare
_LONGEST_WAIT = 1 << 42
"""Milliseconds (139 years); hosts cannot wait for the 64 bits a TA may ask for."""


class OffsetStore(Protocol):
    """Where TAs' time offsets are kept: milliseconds, of either sign, to add to the system time.

    A store that outlasts the process needs a system time that does, too.
    """

    def load(self, uuid: UUID) -> int | None: ...

    def save(self, uuid: UUID, offset: int) -> None:
        """TeeError(STORAGE_NO_SPACE, OUT_OF_MEMORY) if it cannot be kept."""


class MemoryOffsets:
    """Offsets for the life of this process, like OP-TEE's."""

    def __init__(self) -> None:
        self._offsets: dict[UUID, int] = {}

    def load(self, uuid: UUID) -> int | None:
        return self._offsets.get(uuid)

    def save(self, uuid: UUID, offset: int) -> None:
        self._offsets[uuid] = offset


class TaTimes:
    """The times of one secure world, in milliseconds.

    origin: seconds of `clock.monotonic()` at which system time is zero.
    """

    def __init__(self, clock: Clock, offsets: OffsetStore | None = None, origin: float = 0.0) -> None:
        self._clock = clock
        self._offsets = offsets or MemoryOffsets()
        self.origin = origin

    def system(self) -> int:
        return max(0, int((self._clock.monotonic() - self.origin) * MILLIS_BASE)) % TIME_RANGE

    def ree(self) -> int:
        return int(self._clock.wall() * MILLIS_BASE) % TIME_RANGE

    def persistent(self, uuid: UUID) -> tuple[int, bool]:
        """The TA's time, and whether it went out of range and wrapped. TeeError(TIME_NOT_SET)."""
        offset = self._offsets.load(uuid)
        if offset is None:
            raise TeeError(results.TIME_NOT_SET, "the TA never set its time")
        time = self.system() + offset
        return time % TIME_RANGE, not 0 <= time < TIME_RANGE

    def set_persistent(self, uuid: UUID, time: int) -> None:
        self._offsets.save(uuid, time - self.system())


class TimeTask(Protocol):
    """What these handlers need of the TA that called."""

    @property
    def uuid(self) -> UUID: ...

    @property
    def memory(self) -> UserMemory: ...

    @property
    def times(self) -> TaTimes: ...

    def wait(self, seconds: float) -> bool:
        """Sleep. True, at once or as soon as it happens: the call is cancelled (its flag is set or its
        time is up) and the TA does not mask that. Also with 0 seconds."""


def get_time(task: TimeTask, category: int, time: int) -> results.Result | None:
    """time: where the TEE_Time goes. OVERFLOW comes with the wrapped time."""
    overflow = False
    if category == _SYSTEM:
        now = task.times.system()
    elif category == _TA_PERSISTENT:
        now, overflow = task.times.persistent(task.uuid)
    elif category == _REE:
        now = task.times.ree()
    else:
        raise TeeError(results.BAD_PARAMETERS, f"there is no time category {category}")
    task.memory.copy_out(time, TEE_TIME.pack(*divmod(now, MILLIS_BASE)))
    return results.OVERFLOW if overflow else None


def set_ta_time(task: TimeTask, time: int) -> None:
    seconds, millis = TEE_TIME.unpack(task.memory.copy_in(time, TEE_TIME.size))
    if millis >= MILLIS_BASE:
        raise TeeError(results.BAD_PARAMETERS, "milliseconds are below 1000")
    task.times.set_persistent(task.uuid, seconds * MILLIS_BASE + millis)


def wait(task: TimeTask, timeout: int) -> None:
    """timeout: milliseconds. A cancelled call does not wait at all, not even 0 ms."""
    if task.wait(min(timeout, _LONGEST_WAIT) / MILLIS_BASE):
        raise TeeError(results.CANCEL, "cancelled while it waited")
