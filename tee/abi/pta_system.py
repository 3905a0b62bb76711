"""System PTA. Source: optee_os lib/libutee/include/pta_system.h; core/kernel/ldelf_loader.c."""

from __future__ import annotations

import enum

from tee.abi.pta_uuids import PTA_SYSTEM_UUID as PTA_SYSTEM_UUID


class SystemCommand(enum.IntEnum):
    """PTA_SYSTEM_*; 4 to 9 were ldelf's before it got system calls of its own."""

    ADD_RNG_ENTROPY = 0
    DERIVE_TA_UNIQUE_KEY = 1
    MAP_ZI = 2
    UNMAP = 3
    DLOPEN = 10
    DLSYM = 11
    GET_TPM_EVENT_LOG = 12
    SUPP_PLUGIN_INVOKE = 13


TA_DERIVED_KEY_MIN_SIZE = 16
TA_DERIVED_KEY_MAX_SIZE = 32
TA_DERIVED_EXTRA_DATA_MAX_SIZE = 1024
"""Bytes, all three."""

MAP_FLAG_SHAREABLE = 1 << 0
"""The only PTA_SYSTEM_MAP_FLAG_* that MAP_ZI takes."""

BOUNCE_BUFFER_SIZE = 4096
"""Bytes the core copies from a TA in one call at most; longer entropy or names are OUT_OF_MEMORY."""
