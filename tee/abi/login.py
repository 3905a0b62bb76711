"""Login methods, GP TEE Client API v1.0 §4.4.3 and TEE Internal Core API v1.3.1 §4.2.2.

Source: optee_os lib/libutee/include/tee_api_defines.h, tee_api_defines_extensions.h.
"""

from __future__ import annotations

import enum


class Login(enum.IntEnum):
    """TEE_LOGIN_*."""

    PUBLIC = 0x00000000
    USER = 0x00000001
    GROUP = 0x00000002
    APPLICATION = 0x00000004
    APPLICATION_USER = 0x00000005
    APPLICATION_GROUP = 0x00000006
    REE_KERNEL = 0x80000000
    """The normal world's kernel itself; user space is refused it by the driver."""
    TRUSTED_APP = 0xF0000000
    """Another TA; never accepted from the normal world."""
