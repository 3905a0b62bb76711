"""`--login KIND[:DATA]`: as whom a session is opened.

Values: GP TEE Client API v1.0 §4.2.2 (TEEC_LOGIN_*); TEE_IOCTL_LOGIN_REE_KERNEL of Linux's uapi/linux/tee.h.
Client UUIDs: tee_session_calc_client_uuid() of Linux's drivers/tee/tee_core.c.
"""

from __future__ import annotations

from uuid import UUID

from ta_loader.errors import UsageError

LOGINS = {
    "public": 0x0,
    "user": 0x1,
    "group": 0x2,
    "application": 0x4,
    "user-application": 0x5,
    "group-application": 0x6,
    "kernel": 0x80000000,
}
_CLIENT_NAMESPACE = UUID("58ac9ca0-2086-4683-a1b8-ec4bc08e01b6")  # tee_client_uuid_ns


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
        return login, _derived("uid", _user(data, text))
    if kind == "group":
        return login, _derived("gid", _group(data, text))
    raise UsageError(f"--login {kind} needs the application's UUID: --login {kind}:UUID")


def parse_uuid(text: str) -> UUID | None:
    """A UUID in its usual form, with or without hyphens; None if it is none."""
    digits = text.replace("-", "")
    if len(digits) != 32 or len(text) not in (32, 36):
        return None
    try:
        return UUID(digits)
    except ValueError:
        return None


def _derived(name: str, number: int) -> UUID:
    import uuid

    return uuid.uuid5(_CLIENT_NAMESPACE, f"{name}={number:x}")


def _user(data: str, text: str) -> int:
    import os
    import pwd

    if not data:
        return os.geteuid()
    if data.isdecimal():
        return int(data)
    try:
        return pwd.getpwnam(data).pw_uid
    except KeyError:
        raise UsageError(f"--login {text}: this host has no user {data!r}") from None


def _group(data: str, text: str) -> int:
    import grp

    if data.isdecimal():
        return int(data)
    try:
        return grp.getgrnam(data).gr_gid
    except KeyError:
        raise UsageError(f"--login {text}: name a group of this host, or its number") from None
