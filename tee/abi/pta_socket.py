"""Socket PTA and GP TEE Sockets API. Source: optee_os lib/libutee/include/pta_socket.h, __tee_*socket_defines*.h."""

from __future__ import annotations

import enum

from tee.abi.pta_uuids import PTA_SOCKET_UUID as PTA_SOCKET_UUID
from tee.abi.results import Result


class SocketCommand(enum.IntEnum):
    """PTA_SOCKET_*."""

    OPEN = 1
    CLOSE = 2
    SEND = 3
    RECV = 4
    IOCTL = 5


TIMEOUT_BLOCKING = 0xFFFFFFFF
"""PTA_SOCKET_TIMEOUT_BLOCKING; any other timeout is in milliseconds."""

IP_VERSION_DC, IP_VERSION_4, IP_VERSION_6 = 0, 1, 2  # __tee_ipsocket.h
PROTOCOLID_TCP, PROTOCOLID_UDP = 0x65, 0x66
TCP_SET_RECVBUF, TCP_SET_SENDBUF = 0x65F00000, 0x65F00001
UDP_CHANGEADDR, UDP_CHANGEPORT = 0x66000001, 0x66000002

ISOCKET_TIMEOUT = Result(0xF1007003)
ISOCKET_OUT_OF_RESOURCES = Result(0xF1007004)
ISOCKET_HOSTNAME = Result(0xF1007007)
