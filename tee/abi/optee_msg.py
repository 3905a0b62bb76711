"""Messages between a normal world and OP-TEE: `struct optee_msg_arg` and what it holds.

Source: optee_os 4.5 core/include/optee_msg.h. All fields are little-endian, structures are 8-byte aligned.
"""

from __future__ import annotations

import enum
from struct import Struct
from typing import Final


class MsgCmd(enum.IntEnum):
    """OPTEE_MSG_CMD_*."""

    OPEN_SESSION = 0
    INVOKE_COMMAND = 1
    CLOSE_SESSION = 2
    CANCEL = 3
    REGISTER_SHM = 4
    UNREGISTER_SHM = 5
    DO_BOTTOM_HALF = 6
    STOP_ASYNC_NOTIF = 7


# OPTEE_MSG_ATTR_TYPE_*
NONE: Final = 0
VALUE_INPUT: Final = 1
VALUE_OUTPUT: Final = 2
VALUE_INOUT: Final = 3
RMEM_INPUT: Final = 5
RMEM_OUTPUT: Final = 6
RMEM_INOUT: Final = 7
TMEM_INPUT: Final = 9
TMEM_OUTPUT: Final = 10
TMEM_INOUT: Final = 11
TYPE_MASK: Final = 0xFF
META: Final = 1 << 8
NONCONTIG: Final = 1 << 9

HEADER: Final = Struct("<8I")
"""cmd, func, session, cancel_id, pad, ret, ret_origin, num_params (`struct optee_msg_arg`, 32 bytes)."""
PARAM: Final = Struct("<4Q")
"""attr, then tmem (buf_ptr, size, shm_ref), rmem (offs, size, shm_ref) or value (a, b, c) (32 bytes)."""
RESULT_AT: Final = 20
RESULT: Final = Struct("<2I")
"""ret, ret_origin at byte `RESULT_AT`."""
SESSION_AT: Final = 8
SESSION: Final = Struct("<I")

LIST_PAGE: Final = 4096
"""OPTEE_MSG_NONCONTIG_PAGE_SIZE: of a list of pages, and of the pages listed."""
PAGE_LIST: Final = Struct("<512Q")
LIST_ENTRIES: Final = 511
"""Pages named by one page of a list; the last word names the list's next page."""
MAX_PARAMS: Final = (LIST_PAGE - HEADER.size) // PARAM.size
"""OPTEE_MSG_MAX_NUM_PARAMS."""


def arg_size(params: int) -> int:
    """Bytes of a message (OPTEE_MSG_GET_ARG_SIZE)."""
    return HEADER.size + PARAM.size * params
