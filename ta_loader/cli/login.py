"""`--login KIND[:DATA]`: as whom a session is opened.

Values: GP TEE Client API v1.0 §4.2.2 (TEEC_LOGIN_*); TEE_IOCTL_LOGIN_REE_KERNEL of Linux's uapi/linux/tee.h.
Client UUIDs: tee/client_uuid.py.
"""

from __future__ import annotations

from uuid import UUID

from south.errors import UsageError
from ta_loader.cli.options import integer
from tee.abi.uuids import parse_uuid
from tee.client_uuid import group_uuid, user_uuid

LOGINS = {
    "public": 0x0,
    "user": 0x1,
    "group": 0x2,
    "application": 0x4,
    "user-application": 0x5,
    "group-application": 0x6,
    "kernel": 0x80000000,
}
_MAX_ID = (1 << 32) - 2
"""uid_t and gid_t have 32 bits, all of them set for nobody (chown(2))."""


def parse_login(text: str) -> tuple[int, UUID]:
    """Login method and client UUID. DATA: a UUID, or for user and group a number or a name of this host."""
    kind, _, data = text.partition(":")
    login = LOGINS.get(kind)
    if login is None:
        raise UsageError(f"--login {text}: not a login method; there are {', '.join(LOGINS)}")
    if kind in ("public", "kernel"):
        if data:
            raise UsageError(f"--login {kind} takes no data")
        return login, UUID(int=0)
    given = parse_uuid(data)
    if given is not None:
        return login, given
    if kind == "user":
        return login, user_uuid(_user(data, text))
    if kind == "group":
        return login, group_uuid(_group(data, text))
    raise UsageError(f"--login {kind} needs the application's UUID: --login {kind}:UUID")


def _user(data: str, text: str) -> int:
    import os
    import pwd

    if not data:
        return os.geteuid()
    if data.isdecimal():
        return integer(data, f"--login {text}", 0, _MAX_ID)
    try:
        return pwd.getpwnam(data).pw_uid
    except KeyError:
        raise UsageError(f"--login {text}: this host has no user {data!r}") from None


def _group(data: str, text: str) -> int:
    import grp

    if data.isdecimal():
        return integer(data, f"--login {text}", 0, _MAX_ID)
    try:
        return grp.getgrnam(data).gr_gid
    except KeyError:
        raise UsageError(f"--login {text}: name a group of this host, or its number") from None
