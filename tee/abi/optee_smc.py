"""Secure monitor calls between a normal world's kernel and OP-TEE.

Source: optee_os 4.5 core/arch/arm/include/sm/optee_smc.h; ARM DEN 0028 (SMC Calling Convention) §2.5 for the fields
of a function identifier. Registers are read as 32 bits, on arm64 too.
"""

from __future__ import annotations

import enum

_TRUSTED_OS = 50 << 24
_TRUSTED_OS_API = 63 << 24
FAST = 1 << 31
"""Fast calls never block and never suspend; the others are yielding."""


class Smc(enum.IntEnum):
    """Function identifiers (x0)."""

    CALLS_UID = FAST | _TRUSTED_OS_API | 0xFF01
    CALLS_REVISION = FAST | _TRUSTED_OS_API | 0xFF03
    GET_OS_UUID = FAST | _TRUSTED_OS | 0
    GET_OS_REVISION = FAST | _TRUSTED_OS | 1
    GET_SHM_CONFIG = FAST | _TRUSTED_OS | 7
    EXCHANGE_CAPABILITIES = FAST | _TRUSTED_OS | 9
    DISABLE_SHM_CACHE = FAST | _TRUSTED_OS | 10
    ENABLE_SHM_CACHE = FAST | _TRUSTED_OS | 11
    GET_THREAD_COUNT = FAST | _TRUSTED_OS | 15
    ENABLE_ASYNC_NOTIF = FAST | _TRUSTED_OS | 16
    GET_ASYNC_NOTIF_VALUE = FAST | _TRUSTED_OS | 17
    RETURN_FROM_RPC = _TRUSTED_OS | 3
    CALL_WITH_ARG = _TRUSTED_OS | 4
    CALL_WITH_RPC_ARG = _TRUSTED_OS | 18
    CALL_WITH_REGD_ARG = _TRUSTED_OS | 19


UID = (0x384FB3E0, 0xE7F811E3, 0xAF630002, 0xA5D5C51B)
"""OPTEE_MSG_UID_0 to 3: the message protocol without extensions."""
REVISION = (2, 0)
"""OPTEE_MSG_REVISION_MAJOR, _MINOR."""
OS_UUID = (0x486178E0, 0xE7F811E3, 0xBC5E0002, 0xA5D5C51B)
"""OPTEE_MSG_OS_OPTEE_UUID_0 to 3."""

NSEC_CAP_UNIPROCESSOR = 1 << 0


class Capability(enum.IntFlag):
    """OPTEE_SMC_SEC_CAP_*."""

    HAVE_RESERVED_SHM = 1 << 0
    UNREGISTERED_SHM = 1 << 1
    DYNAMIC_SHM = 1 << 2
    MEMREF_NULL = 1 << 4
    ASYNC_NOTIF = 1 << 5
    RPC_ARG = 1 << 6


MODERN = (
    Capability.UNREGISTERED_SHM
    | Capability.DYNAMIC_SHM
    | Capability.MEMREF_NULL
    | Capability.ASYNC_NOTIF
    | Capability.RPC_ARG
)
"""What OP-TEE 4.5 has as a rule."""
RESERVED_ONLY = Capability.MEMREF_NULL | Capability.ASYNC_NOTIF | Capability.RPC_ARG
"""The same built without CFG_CORE_DYN_SHM; with a piece of memory set aside."""
OLD = Capability(0)
"""OP-TEE before 3.0: such a piece, and nothing else."""

SHM_CACHED = 1
"""OPTEE_SMC_SHM_CACHED."""
ASYNC_NOTIF_VALID = 1 << 0
ASYNC_NOTIF_PENDING = 1 << 1

# OPTEE_SMC_RETURN_*, in x0.
OK = 0
ETHREAD_LIMIT = 1
EBUSY = 2
ERESUME = 3
EBADADDR = 4
EBADCMD = 5
ENOMEM = 6
ENOTAVAIL = 7
UNKNOWN_FUNCTION = 0xFFFFFFFF

# OPTEE_SMC_RETURN_RPC_*, in x0: the call is suspended.
RPC_ALLOC = 0xFFFF0000
"""x1: bytes. Comes back with a physical address in x1:x2 and a cookie in x4:x5."""
RPC_FREE = 0xFFFF0002
"""x1:x2: the cookie."""
RPC_FOREIGN_INTR = 0xFFFF0004
RPC_CMD = 0xFFFF0005
"""x1:x2: the cookie of the RPC's message; not looked at if the call supplied the message's place."""
