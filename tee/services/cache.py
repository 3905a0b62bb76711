"""Cache maintenance of shared memory: checked as on hardware, then nothing is left to do.

Guests and host see one coherent memory. Source: optee_os core/tee/svc_cache.c,
core/arch/arm/tee/cache.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from tee.abi import results
from tee.abi.cache import CacheOperation
from tee.abi.ta_head import TA_FLAG_CACHE_MAINTENANCE
from tee.errors import TeeError

if TYPE_CHECKING:
    from north.syscalls.declare import UserMemory


class CacheTask(Protocol):
    """What this handler needs of the TA that called."""

    @property
    def flags(self) -> int:
        """TA_FLAG_*."""

    @property
    def memory(self) -> UserMemory: ...

    def touches_private(self, va: int, size: int) -> bool:
        """Whether any of [va, va + size) is the instance's own memory: image, stack, heap."""


def cache_operation(task: CacheTask, va: int, size: int, operation: int) -> None:
    """Only for parameters: a TA's own memory is nobody else's, so its caches are none of its business."""
    if not task.flags & TA_FLAG_CACHE_MAINTENANCE:
        raise TeeError(results.NOT_SUPPORTED, "the TA lacks TA_FLAG_CACHE_MAINTENANCE")
    if task.touches_private(va, size):
        raise TeeError(results.ACCESS_DENIED, "cache maintenance of private memory")
    task.memory.check(va, max(size, 1), False)
    if operation not in tuple(CacheOperation):
        raise TeeError(results.NOT_SUPPORTED, f"there is no cache operation {operation}")
