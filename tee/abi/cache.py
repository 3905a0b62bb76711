"""Cache maintenance. Source: optee_os lib/libutee/include/utee_types.h, `enum utee_cache_operation`."""

from __future__ import annotations

import enum


class CacheOperation(enum.IntEnum):
    """TEE_CACHECLEAN, TEE_CACHEFLUSH, TEE_CACHEINVALIDATE."""

    CLEAN = 0
    FLUSH = 1
    INVALIDATE = 2
