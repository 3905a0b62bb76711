"""Who serves at the daemon's socket, before anything is said to it: a path may have been taken by somebody else.

libteec has the same rule (`server_is_trusted` in libteec/src/context.c).
"""

from __future__ import annotations

import errno
import os
import socket
import struct

UID_VARIABLE = "LITEBOX_SERVER_UID"
"""Environment variable: the uid of a daemon that is neither root's nor one's own."""
_UCRED = struct.Struct("=iII")
"""struct ucred: pid, uid, gid"""


def require_trusted(connection: socket.socket) -> None:
    """The daemon runs as root, as us, or as `UID_VARIABLE` says; else PermissionError.

    The kernel's word (SO_PEERCRED): who called listen(2). Of a socket that systemd holds this is systemd.
    """
    uid = serving_uid(connection)
    given = os.environ.get(UID_VARIABLE, "")
    if uid in (0, os.geteuid()) or (given.isascii() and given.isdigit() and int(given) == uid):
        return
    raise PermissionError(
        errno.EPERM, f"it is served by uid {uid}, neither root nor you; if that is right, set {UID_VARIABLE}={uid}"
    )


def serving_uid(connection: socket.socket) -> int:
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    return int(_UCRED.unpack(raw)[1])
