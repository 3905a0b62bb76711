"""What clients and the daemon say to each other: layouts alone.

normal_world/libteec/src/protocol.h is the same for C and says what each field means; a test
compares sizes and offsets. Sequenced packets on AF_UNIX, one a frame, little-endian.
"""

from __future__ import annotations

import enum
import os
import struct

VERSION = 1
FRAME_MAX = 512
"""Bytes; a longer frame ends the connection."""
TOKEN_SIZE = 16
PARAMS = 4
NO_SHM = 0xFFFFFFFF
"""Instead of an object's number: the memref is NULL."""
HAS_DEATHS = 1
"""Of a HELLO's `size`: the daemon answers `DEATHS`."""
NO_TOKEN = bytes(TOKEN_SIZE)
SOCKET_VARIABLE = "LITEBOX_SOCKET"
"""Environment variable that names the daemon's socket, for libteec and Python alike."""
SYSTEM_SOCKET = "/run/litebox/tee.sock"


class Op(enum.IntEnum):
    """enum lb_op"""

    HELLO = 1
    OPEN_SESSION = 2
    INVOKE = 3
    CLOSE_SESSION = 4
    CANCEL = 5
    REGISTER_SHM = 6
    RELEASE_SHM = 7
    STATUS = 8
    DEATHS = 9


_PARAMS = "IIQQ" * PARAMS
HEADER = struct.Struct("<HHI")
"""version, op, length"""
PARAM = struct.Struct("<IIQQ")
"""kind, shm, a, b"""
HELLO = struct.Struct("<HHI16s")
"""header, token"""
OPEN_SESSION = struct.Struct("<HHIQ16sII" + _PARAMS)
"""header, call, uuid, login, login_data, params"""
INVOKE = struct.Struct("<HHIQII" + _PARAMS)
"""header, call, session, command, params"""
HANDLE = struct.Struct("<HHIII")
"""header, id, zero"""
CANCEL = struct.Struct("<HHIQ")
"""header, call"""
REGISTER_SHM = struct.Struct("<HHIQ")
"""header, size"""
REPLY = struct.Struct("<HHIIIIIQ16s" + _PARAMS)
"""header, result, origin, id, zero, size, token, params"""

REQUESTS = {
    Op.HELLO: HELLO,
    Op.OPEN_SESSION: OPEN_SESSION,
    Op.INVOKE: INVOKE,
    Op.CLOSE_SESSION: HANDLE,
    Op.CANCEL: CANCEL,
    Op.REGISTER_SHM: REGISTER_SHM,
    Op.RELEASE_SHM: HANDLE,
    Op.STATUS: HANDLE,
    Op.DEATHS: HANDLE,
}
"""Every request has exactly one size."""


def default_socket() -> str:
    """Where the daemon listens unless told otherwise: $LITEBOX_SOCKET, else the user's runtime folder, else the
    system's.
    """
    given = os.environ.get(SOCKET_VARIABLE)
    if given:
        return given
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.geteuid() != 0:
        return os.path.join(runtime, "litebox", "tee.sock")
    return SYSTEM_SOCKET
