"""Profiles of TAs: the gprof pseudo TA, and the buffer in which a TA built for function tracing records its calls.

Source: optee_os 4.10 lib/libutee/include/pta_gprof.h; lib/libutee/include/user_ta_header.h (`struct __ftrace_info`,
`struct ftrace_buf`); ldelf/ftrace.c (the text before the records).
"""

from __future__ import annotations

import enum
from struct import Struct
from typing import Final


class GprofCommand(enum.IntEnum):
    """PTA_GPROF_*."""

    SEND = 0
    START_PC_SAMPLING = 1
    STOP_PC_SAMPLING = 2


FTRACE_INFO_SYMBOL: Final = "__ftrace_info"
FTRACE_INFO: Final = Struct("<3Q")
"""`struct __ftrace_info`: start of the buffer, its end, __ftrace_return. 64 bits each in TAs of either word size."""
MIN_FTRACE_BUF_SIZE: Final = 1024
RETFUNC_DEPTH: Final = 50
"""FTRACE_RETFUNC_DEPTH."""
FTRACE_MAGIC: Final = b"FTRACE\x00\x01"
RECORD: Final = 8
"""Bytes of a record: the top byte is a depth and the rest an address, or zero and nanoseconds."""

# Offsets in struct ftrace_buf.
RET_FUNC_PTR: Final = 0
RET_STACK: Final = 8
RET_IDX: Final = RET_STACK + 8 * RETFUNC_DEPTH
BEGIN_TIME: Final = RET_IDX + 8
SUSPEND_TIME: Final = BEGIN_TIME + 8 * RETFUNC_DEPTH
CURR_IDX: Final = SUSPEND_TIME + 8
MAX_SIZE: Final = CURR_IDX + 4
HEAD_OFF: Final = CURR_IDX + 8
BUF_OFF: Final = CURR_IDX + 12
OVERFLOW_OLD: Final = CURR_IDX + 18
"""Before OP-TEE 4.9, which put a word before the three flags. Whichever of the two a TA does not use stays zero."""
OVERFLOW: Final = CURR_IDX + 22
FTRACE_BUF_SIZE: Final = CURR_IDX + 24
"""sizeof(struct ftrace_buf), of both."""
