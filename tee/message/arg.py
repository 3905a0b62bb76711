"""One message of the normal world's: copied once, checked, and answered in place.

Source: optee_os 4.5 core/arch/arm/kernel/thread_optee_smc.c (get_msg_arg).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee.abi.optee_msg import (
    HEADER,
    MAX_PARAMS,
    PARAM,
    RESULT,
    RESULT_AT,
    SESSION,
    SESSION_AT,
    arg_size,
)
from tee.abi.optee_rpc import MAX_PARAMS as RPC_PARAMS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tee.message.shm import Shared

RawParam = tuple[int, int, int, int]
"""attr and the three words of a `struct optee_msg_param`."""
_AT_ONCE = arg_size(4)
"""Bytes that are copied first: most messages have four parameters."""


class Message:
    """A copy of `struct optee_msg_arg` in `shared` at `offset`.

    ValueError unless it is aligned and lies inside, with room for a request behind it if `with_rpc` says so.
    """

    __slots__ = ("cancel_id", "cmd", "end", "func", "offset", "params", "session", "shared")

    def __init__(self, shared: Shared, offset: int, *, with_rpc: bool) -> None:
        if (shared.offset + offset) % 8:
            raise ValueError("the message is not aligned")
        left = shared.size - offset
        data = shared.read(offset, min(_AT_ONCE, max(left, 0)))
        if len(data) < HEADER.size:
            raise ValueError("no room for a message")
        self.cmd, self.func, self.session, self.cancel_id, _, _, _, count = HEADER.unpack_from(data)
        size = arg_size(count) if count <= MAX_PARAMS else left + 1
        if size + (arg_size(RPC_PARAMS) if with_rpc else 0) > left:
            raise ValueError("the message is larger than its memory")
        if size > len(data):
            data += shared.read(offset + len(data), size - len(data))
        self.shared = shared
        self.offset = offset
        self.params: list[RawParam] = [PARAM.unpack_from(data, arg_size(i)) for i in range(count)]
        self.end = offset + size

    def finish(self, result: int, origin: int) -> None:
        self.shared.write(self.offset + RESULT_AT, RESULT.pack(result, origin))

    def set_session(self, session: int) -> None:
        self.shared.write(self.offset + SESSION_AT, SESSION.pack(session))

    def set_words(self, index: int, at: int, words: bytes) -> None:
        """at: first word of the parameter to be written, 1 to 3."""
        self.shared.write(self.offset + arg_size(index) + 8 * at, words)


def request(command: int, params: Sequence[RawParam], result: int) -> bytes:
    """A message of ours. result: what it says if nobody answers."""
    head = HEADER.pack(command, 0, 0, 0, 0, result, 0, len(params))
    return head + b"".join(PARAM.pack(*param) for param in params)


def answered(data: bytes, count: int) -> tuple[int, list[RawParam]]:
    """ret and parameters of a message that came back; `count` is what was asked, whatever it says now."""
    ret = HEADER.unpack_from(data)[5]
    return ret, [PARAM.unpack_from(data, arg_size(i)) for i in range(count)]
