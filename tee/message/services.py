"""The normal world's services, each method one request to a tee-supplicant (`tee.normal.NormalWorld`).

What comes back is data of the normal world's: sizes are cut to what was asked for, names end at their first zero.
Source: optee_os 4.5 core/tee/tee_rpmb_fs.c, socket.c, tee_supp_plugin_rpc.c.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from tee.abi.optee_rpc import (
    RPMB_DATA,
    RPMB_DEV_INFO,
    RPMB_GET_DEV_INFO,
    RPMB_REQUEST,
    SOCKET_TIMEOUT_BLOCKING,
    SUPP_PLUGIN_INVOKE,
    RpcCmd,
    Socket,
)
from tee.abi.results import COMMUNICATION, ITEM_NOT_FOUND, OUT_OF_MEMORY
from tee.abi.rpmb import FRAME_SIZE
from tee.abi.uuids import tee_uuid_bytes
from tee.errors import TeeError
from tee.message.files import RpcFiles
from tee.message.rpc import NO_BUFFER, value
from tee.normal import PLUGIN_DATA_MAX, PluginAnswer, ProfileKind, RpmbInfo
from tee.params import Kind

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from tee.message.arg import RawParam
    from tee.message.rpc import Rpc

IMAGE_MAX = 64 << 20
"""Bytes of a TA."""
PROFILE_PIECE = 1 << 20
"""Bytes of a profile in one request."""
_IN = Kind.VALUE_INPUT


class RpcRpmb:
    """`tee.normal.Rpmb` by way of tee-supplicant (OPTEE_RPC_CMD_RPMB)."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc

    def info(self, device: int) -> RpmbInfo:
        data = self._request(RPMB_GET_DEV_INFO, device, b"", RPMB_DEV_INFO.size)
        cid, size_mult, sectors, code = RPMB_DEV_INFO.unpack(data)
        if code:
            raise TeeError(ITEM_NOT_FOUND, f"the normal world has no RPMB device {device}")
        return RpmbInfo(cid, size_mult, sectors)

    def request(self, device: int, frames: bytes, response_frames: int) -> bytes:
        return self._request(RPMB_DATA, device, frames, response_frames * FRAME_SIZE)

    def _request(self, command: int, device: int, frames: bytes, answer: int) -> bytes:
        head = RPMB_REQUEST.pack(command, device, answer // FRAME_SIZE)
        data = head + frames
        at = len(data) + 7 & -8
        buffer = self._rpc.buffer(at + answer)
        buffer.shared.write(0, data)
        back = self._rpc.call(
            RpcCmd.RPMB,
            buffer.memref(Kind.MEMREF_INPUT, len(data)),
            buffer.memref(Kind.MEMREF_OUTPUT, answer, at),
        )
        if back[1][2] < answer:
            raise TeeError(COMMUNICATION, "the RPMB's answer is too short")
        return buffer.shared.read(at, answer)


class RpcSockets:
    """`tee.normal.Sockets`: the normal world's own, with whatever policy it has."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc

    def open(self, owner: int, ip_version: int, protocol: int, server: str, port: int) -> int:
        name = server.encode("utf-8", "surrogateescape") + b"\0"
        buffer = self._rpc.buffer(len(name))
        buffer.shared.write(0, name)
        back = self._rpc.call(
            RpcCmd.SOCKET,
            value(_IN, Socket.OPEN, owner),
            value(_IN, port, protocol, ip_version),
            buffer.memref(Kind.MEMREF_INPUT, len(name)),
            value(Kind.VALUE_OUTPUT),
        )
        return back[3][1] & 0xFFFFFFFF

    def close(self, owner: int, handle: int) -> None:
        self._rpc.call(RpcCmd.SOCKET, value(_IN, Socket.CLOSE, owner, handle))

    def close_all(self, owner: int) -> None:
        self._rpc.call(RpcCmd.SOCKET, value(_IN, Socket.CLOSE_ALL, owner))

    def send(self, owner: int, handle: int, data: bytes, timeout: float | None) -> int:
        buffer = self._rpc.buffer(len(data))
        buffer.shared.write(0, data)
        back = self._rpc.call(
            RpcCmd.SOCKET,
            value(_IN, Socket.SEND, owner, handle),
            buffer.memref(Kind.MEMREF_INPUT, len(data)),
            value(Kind.VALUE_INOUT, _milliseconds(timeout)),
        )
        return min(back[2][2], len(data))

    def receive(self, owner: int, handle: int, size: int, timeout: float | None) -> bytes:
        memref = NO_BUFFER
        buffer = self._rpc.buffer(size) if size else None
        if buffer is not None:
            memref = buffer.memref(Kind.MEMREF_OUTPUT, size)
        back = self._rpc.call(
            RpcCmd.SOCKET,
            value(_IN, Socket.RECV, owner, handle),
            memref,
            value(_IN, _milliseconds(timeout)),
        )
        return b"" if buffer is None else buffer.shared.read(0, min(back[1][2], size))

    def ioctl(self, owner: int, handle: int, command: int, data: bytes) -> bytes:
        buffer = self._rpc.buffer(len(data))
        buffer.shared.write(0, data)
        back = self._rpc.call(
            RpcCmd.SOCKET,
            value(_IN, Socket.IOCTL, owner, handle),
            buffer.memref(Kind.MEMREF_INOUT, len(data)),
            value(_IN, command),
        )
        return buffer.shared.read(0, min(back[1][2], len(data)))


def _milliseconds(timeout: float | None) -> int:
    return SOCKET_TIMEOUT_BLOCKING if timeout is None else min(int(timeout * 1000), SOCKET_TIMEOUT_BLOCKING - 1)


class RpcPlugins:
    """`tee.normal.Plugins` of a tee-supplicant."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc

    def invoke(
        self, uuid: UUID, command: int, sub_command: int, data: bytearray, stop: Callable[[], bool]
    ) -> PluginAnswer:
        if len(data) > PLUGIN_DATA_MAX:
            raise TeeError(OUT_OF_MEMORY, "too much data for a plugin")
        memref: RawParam = (NO_BUFFER[0] + 1, 0, 0, 0)  # in and out, NULL
        buffer = None
        if data:
            buffer = self._rpc.buffer(len(data))
            buffer.shared.write(0, data)
            memref = buffer.memref(Kind.MEMREF_INOUT, len(data))
        words = [int.from_bytes(uuid.bytes[i : i + 4], "little") for i in range(0, 16, 4)]
        result, back = self._rpc.attempt(
            RpcCmd.SUPP_PLUGIN,
            value(_IN, SUPP_PLUGIN_INVOKE, words[0], words[1]),
            value(_IN, words[2], words[3], command),
            value(Kind.VALUE_INOUT, sub_command),
            memref,
        )
        length = back[2][2]
        if buffer is not None:
            got = min(length, len(data))
            data[:got] = buffer.shared.read(0, got)
        return PluginAnswer(result, length)


class RpcProfiles:
    """`tee.normal.Profiles` of a tee-supplicant, which writes them to its /tmp.

    Source: optee_os core/pta/gprof.c (`gprof_send_rpc`), core/kernel/user_ta.c (`user_ta_dump_ftrace`).
    """

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc

    def append(self, kind: ProfileKind, uuid: UUID, data: bytes, file: int) -> int:
        for at in range(0, len(data) or 1, PROFILE_PIECE):
            file = self._append(kind, uuid, data[at : at + PROFILE_PIECE], file)
        return file

    def _append(self, kind: ProfileKind, uuid: UUID, data: bytes, file: int) -> int:
        name = tee_uuid_bytes(uuid)
        buffer = self._rpc.buffer(len(name) + len(data))
        buffer.shared.write(0, name + data)
        back = self._rpc.call(
            RpcCmd.GPROF if kind is ProfileKind.GMON else RpcCmd.FTRACE,
            value(Kind.VALUE_INOUT, file),
            buffer.memref(Kind.MEMREF_INPUT, len(name)),
            buffer.memref(Kind.MEMREF_INPUT, len(data), len(name)),
        )
        return back[0][1] & 0xFFFFFFFF


class RpcNormalWorld:
    """`tee.normal.NormalWorld`, each service made when it is first used."""

    def __init__(self, rpc: Rpc) -> None:
        self.rpc = rpc

    @cached_property
    def files(self) -> RpcFiles:
        return RpcFiles(self.rpc)

    @cached_property
    def rpmb(self) -> RpcRpmb:
        return RpcRpmb(self.rpc)

    @cached_property
    def sockets(self) -> RpcSockets:
        return RpcSockets(self.rpc)

    @cached_property
    def plugins(self) -> RpcPlugins:
        return RpcPlugins(self.rpc)

    @cached_property
    def profiles(self) -> RpcProfiles:
        return RpcProfiles(self.rpc)

    def load_ta(self, uuid: UUID) -> bytes:
        """The image in the normal world's file system (OPTEE_RPC_CMD_LOAD_TA), unchecked.

        TeeError: ITEM_NOT_FOUND; OUT_OF_MEMORY, it is too large.
        """
        octets = uuid.bytes
        name = value(_IN, int.from_bytes(octets[:8], "little"), int.from_bytes(octets[8:], "little"))
        size = self.rpc.call(RpcCmd.LOAD_TA, name, NO_BUFFER)[1][2]
        if size > IMAGE_MAX:
            raise TeeError(OUT_OF_MEMORY, f"a TA of {size} bytes")
        buffer = self.rpc.buffer(size)
        back = self.rpc.call(RpcCmd.LOAD_TA, name, buffer.memref(Kind.MEMREF_OUTPUT, size))
        return buffer.shared.read(0, min(back[1][2], size))

    def time(self) -> float:
        """Seconds since the Epoch (OPTEE_RPC_CMD_GET_TIME)."""
        _, seconds, nanoseconds, _ = self.rpc.call(RpcCmd.GET_TIME, value(Kind.VALUE_OUTPUT))[0]
        return min(seconds, 1 << 40) + min(nanoseconds, 999_999_999) / 1e9
