"""The normal world's services, each method one request to a tee-supplicant (`tee.normal.NormalWorld`).

What comes back is data of the normal world's: sizes are cut to what was asked for, names end at their first zero.
Source: optee_os 4.5 core/tee/tee_fs_rpc.c, tee_rpmb_fs.c, socket.c, tee_supp_plugin_rpc.c.
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
    Fs,
    RpcCmd,
    Socket,
)
from tee.abi.results import BAD_PARAMETERS, COMMUNICATION, ITEM_NOT_FOUND, OUT_OF_MEMORY
from tee.abi.rpmb import FRAME_SIZE
from tee.errors import TeeError
from tee.message.rpc import NO_BUFFER, value
from tee.normal import PLUGIN_DATA_MAX, PluginAnswer, RpmbInfo
from tee.params import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from tee.message.arg import RawParam
    from tee.message.rpc import Rpc

NAME_MAX = 350
"""TEE_FS_NAME_MAX, bytes with the zero at the end."""
PIECE = 1 << 20
"""Bytes that one request reads or writes at most."""
LISTED_MAX = 1 << 16
"""Names of one folder."""
IMAGE_MAX = 64 << 20
"""Bytes of a TA."""
_IN = Kind.VALUE_INPUT


class RpcFiles:
    """`tee.normal.Files` of a tee-supplicant, which has no request that syncs: see docs/qemu-arm.md."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc

    def open(self, name: str) -> int:
        return self._named(Fs.OPEN, name)

    def create(self, name: str) -> int:
        return self._named(Fs.CREATE, name)

    def close(self, file: int) -> None:
        self._rpc.call(RpcCmd.FS, value(_IN, Fs.CLOSE, file))

    def read(self, file: int, offset: int, size: int) -> bytes:
        buffer = self._rpc.buffer(min(size, PIECE))
        parts: list[bytes] = []
        while size > 0:
            wanted = min(size, PIECE)
            back = self._rpc.call(
                RpcCmd.FS, value(_IN, Fs.READ, file, offset), buffer.memref(Kind.MEMREF_OUTPUT, wanted)
            )
            got = min(back[1][2], wanted)
            parts.append(buffer.shared.read(0, got))
            offset += got
            size -= got
            if got < wanted:
                break
        return b"".join(parts)

    def write(self, file: int, offset: int, data: bytes | bytearray | memoryview) -> None:
        rest = memoryview(data)
        while len(rest):
            piece = rest[:PIECE]
            buffer = self._rpc.buffer(len(piece))
            buffer.shared.write(0, piece)
            self._rpc.call(RpcCmd.FS, value(_IN, Fs.WRITE, file, offset), buffer.memref(Kind.MEMREF_INPUT, len(piece)))
            offset += len(piece)
            rest = rest[PIECE:]

    def truncate(self, file: int, size: int) -> None:
        self._rpc.call(RpcCmd.FS, value(_IN, Fs.TRUNCATE, file, size))

    def sync(self, file: int) -> None:
        """Nothing: the protocol has no such request."""

    def remove(self, name: str) -> None:
        self._rpc.call(RpcCmd.FS, value(_IN, Fs.REMOVE), self._name(name))

    def rename(self, old: str, new: str, *, overwrite: bool) -> None:
        first, second = _encoded(old), _encoded(new)
        buffer = self._rpc.buffer(len(first) + len(second))
        buffer.shared.write(0, first + second)
        self._rpc.call(
            RpcCmd.FS,
            value(_IN, Fs.RENAME, int(overwrite)),
            buffer.memref(Kind.MEMREF_INPUT, len(first)),
            buffer.memref(Kind.MEMREF_INPUT, len(second), len(first)),
        )

    def list(self, name: str) -> Sequence[str]:
        folder = self._named(Fs.OPENDIR, name)
        names: list[str] = []
        try:
            while len(names) < LISTED_MAX:
                buffer = self._rpc.buffer(NAME_MAX)
                try:
                    back = self._rpc.call(
                        RpcCmd.FS, value(_IN, Fs.READDIR, folder), buffer.memref(Kind.MEMREF_OUTPUT, NAME_MAX)
                    )
                except TeeError as error:
                    if error.result != ITEM_NOT_FOUND:
                        raise
                    break
                text = buffer.shared.read(0, min(back[1][2], NAME_MAX)).partition(b"\0")[0]
                names.append(text.decode("utf-8", "surrogateescape"))
        finally:
            self._rpc.call(RpcCmd.FS, value(_IN, Fs.CLOSEDIR, folder))
        return names

    def _named(self, operation: Fs, name: str) -> int:
        back = self._rpc.call(RpcCmd.FS, value(_IN, operation), self._name(name), value(Kind.VALUE_OUTPUT))
        return back[2][1]

    def _name(self, name: str) -> RawParam:
        data = _encoded(name)
        buffer = self._rpc.buffer(len(data))
        buffer.shared.write(0, data)
        return buffer.memref(Kind.MEMREF_INPUT, len(data))


def _encoded(name: str) -> bytes:
    data = b"/" + name.encode("utf-8", "surrogateescape") + b"\0"
    if len(data) > NAME_MAX or data.count(b"\0") > 1:
        raise TeeError(BAD_PARAMETERS, "a file's name is too long, or has a zero in it")
    return data


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
