"""What OP-TEE asks of the normal world: commands of its remote procedure calls.

Source: optee_os 4.5 core/include/optee_rpc_cmd.h; core/tee/tee_rpmb_fs.c for the RPMB's request.
"""

from __future__ import annotations

import enum
from struct import Struct
from typing import Final

MAX_PARAMS: Final = 4
"""THREAD_RPC_MAX_NUM_PARAMS: for so many the normal world keeps room behind a call's message."""


class RpcCmd(enum.IntEnum):
    """OPTEE_RPC_CMD_*."""

    LOAD_TA = 0
    RPMB = 1
    FS = 2
    GET_TIME = 3
    NOTIFICATION = 4
    SUSPEND = 5
    SHM_ALLOC = 6
    SHM_FREE = 7
    GPROF = 9
    SOCKET = 10
    FTRACE = 11
    SUPP_PLUGIN = 12


NOTIFICATION_WAIT: Final = 0
NOTIFICATION_SEND: Final = 1

SHM_TYPE_APPL: Final = 0
"""Memory that the normal world's user space (tee-supplicant) sees."""
SHM_TYPE_KERNEL: Final = 1


class Fs(enum.IntEnum):
    """OPTEE_RPC_FS_*."""

    OPEN = 0
    CREATE = 1
    CLOSE = 2
    READ = 3
    WRITE = 4
    TRUNCATE = 5
    REMOVE = 6
    RENAME = 7
    OPENDIR = 8
    CLOSEDIR = 9
    READDIR = 10


class Socket(enum.IntEnum):
    """OPTEE_RPC_SOCKET_*."""

    OPEN = 0
    CLOSE = 1
    CLOSE_ALL = 2
    SEND = 3
    RECV = 4
    IOCTL = 5


SOCKET_TIMEOUT_BLOCKING: Final = 0xFFFFFFFF
SUPP_PLUGIN_INVOKE: Final = 0

RPMB_REQUEST: Final = Struct("<3H")
"""`struct rpmb_req`: cmd, dev_id, block_count; the frames follow."""
RPMB_DATA: Final = 0
RPMB_GET_DEV_INFO: Final = 1
RPMB_DEV_INFO: Final = Struct("<16s3B")
"""`struct rpmb_dev_info`: cid, rpmb_size_mult, rel_wr_sec_c, ret_code."""
