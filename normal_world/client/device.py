"""The kernel's way to a TEE: ioctls on /dev/teeN, as optee_client's libteec makes them.

Source: Linux include/uapi/linux/tee.h, Documentation/userspace-api/tee.rst.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import UUID

from normal_world.client import linux_tee as abi
from normal_world.client.names import uuid_of
from normal_world.client.ports import Outcome
from tee.abi import results
from tee.abi.results import Origin, Result
from tee.errors import TeeError
from tee.params import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from normal_world.client.ports import Argument

    Ioctl = Callable[[int, int, bytearray], int]

DEVICES = tuple(f"/dev/tee{number}" for number in range(10))
"""Where optee_client looks (TEEC_MAX_DEV_SEQ)."""

_RESULTS = {
    errno.ENOMEM: results.OUT_OF_MEMORY,
    errno.EINVAL: results.BAD_PARAMETERS,
    errno.EACCES: results.ACCESS_DENIED,
    errno.EPERM: results.ACCESS_DENIED,
    errno.EBUSY: results.BUSY,
}


class DeviceMemory:
    """Pages of this process that the TEE was told of, or (without GEN_CAP_REG_MEM) pages of the driver's."""

    def __init__(self, fd: int, number: int, pages: mmap.mmap, size: int) -> None:
        self.number = number
        self._fd = fd
        self._pages = pages
        self.view = memoryview(pages)[:size]

    def close(self) -> None:
        """The pages go with the last view of them."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class Device:
    """path: None takes the first OP-TEE of `DEVICES`. ioctl: of a model in tests.

    TeeError: ITEM_NOT_FOUND if there is no such device or no OP-TEE behind it, ACCESS_DENIED.
    """

    most_memory: int | None = None
    """Its limits are the driver's, which refuses memory as it is registered."""

    def __init__(self, path: str | None = None, *, ioctl: Ioctl = fcntl.ioctl) -> None:
        self._ioctl = ioctl
        self._calls: dict[int, int | None] = {}
        self._calls_lock = threading.Lock()
        self._abandoned: set[int] = set()
        """Sessions with a call that nobody waits for; the driver closes them with the file."""
        self._fd, self._caps = self._open(DEVICES if path is None else (path,))
        self.null_memrefs = bool(self._caps & abi.GEN_CAP_MEMREF_NULL)

    def _open(self, paths: Sequence[str]) -> tuple[int, int]:
        problem = TeeError(
            results.ITEM_NOT_FOUND,
            f"no OP-TEE at {', '.join(paths) if len(paths) < 3 else paths[0] + '...'}: is the kernel's driver loaded?",
            Origin.API,
        )
        for path in paths:
            try:
                fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except OSError as failure:
                if failure.errno in (errno.EACCES, errno.EPERM):
                    problem = TeeError(
                        results.ACCESS_DENIED, f"{path}: {failure.strerror}; its group may open it", Origin.API
                    )
                continue
            data = bytearray(abi.VERSION.size)
            try:
                self._ioctl(fd, abi.IOC_VERSION, data)
            except OSError:
                os.close(fd)
                continue
            implementation, _, caps = abi.VERSION.unpack(data)
            if implementation == abi.IMPL_ID_OPTEE and caps & abi.GEN_CAP_GP:
                return fd, caps
            os.close(fd)
        raise problem

    def _call(self, request: int, data: bytearray) -> int:
        if self._fd < 0:
            raise TeeError(results.BAD_STATE, "this way to the TEE was closed", Origin.API)
        try:
            return self._ioctl(self._fd, request, data)
        except OSError as failure:
            result = _RESULTS.get(failure.errno or 0, results.COMMUNICATION)
            raise TeeError(result, f"the TEE driver: {failure.strerror}", Origin.COMMS) from None

    # --- memory

    def allocate(self, size: int) -> DeviceMemory:
        room = max(size, 1)
        if self._caps & abi.GEN_CAP_REG_MEM:
            pages = _pages(-1, room)
            data = bytearray(abi.SHM_REGISTER.pack(_address(pages), room, 0, 0))
            fd = self._call(abi.IOC_SHM_REGISTER, data)
            return DeviceMemory(fd, abi.SHM_REGISTER.unpack(data)[3], pages, size)
        try:
            data = bytearray(abi.SHM_ALLOC.pack(room, 0, 0))
        except OverflowError:
            raise _no_room(size) from None
        fd = self._call(abi.IOC_SHM_ALLOC, data)
        try:
            pages = _pages(fd, room)
        except TeeError:
            os.close(fd)
            raise
        return DeviceMemory(fd, abi.SHM_ALLOC.unpack(data)[2], pages, size)

    # --- sessions and calls

    def open_session(
        self, uuid: UUID, login: int, login_data: int, arguments: Sequence[Argument], call: int
    ) -> tuple[int, Outcome]:
        """login_data: a group's number, in the first octets of the client UUID as the driver takes it."""
        client = (login_data & 0xFFFFFFFF).to_bytes(4, "little") + bytes(12)
        head = abi.OPEN_SESSION.pack(uuid.bytes, client, login, call & 0xFFFFFFFF, 0, 0, 0, abi.PARAMS)
        # The driver finds a call to cancel by its session, which this one has not got yet.
        data = self._exchange(abi.IOC_OPEN_SESSION, head, arguments, call, None)
        words = abi.OPEN_SESSION.unpack_from(data)
        return words[4], _outcome(words[5], words[6], data[abi.OPEN_SESSION.size :], arguments)

    def invoke(self, session: int, command: int, arguments: Sequence[Argument], call: int) -> Outcome:
        head = abi.INVOKE.pack(command, session, call & 0xFFFFFFFF, 0, 0, abi.PARAMS)
        data = self._exchange(abi.IOC_INVOKE, head, arguments, call, session)
        words = abi.INVOKE.unpack_from(data)
        return _outcome(words[3], words[4], data[abi.INVOKE.size :], arguments)

    def _exchange(
        self, request: int, head: bytes, arguments: Sequence[Argument], call: int, session: int | None
    ) -> bytearray:
        data = bytearray(head + b"".join(self._parameter(argument) for argument in arguments))
        data += bytes(len(head) + abi.PARAMS * abi.PARAM.size - len(data))
        buffer = bytearray(abi.BUFFER.pack(_address(data), len(data)))
        with self._calls_lock:
            self._calls[call] = session
        try:
            self._call(request, buffer)
        finally:
            with self._calls_lock:
                del self._calls[call]
        return data

    def _parameter(self, argument: Argument) -> bytes:
        kind = argument.kind
        if kind < Kind.MEMREF_INPUT:
            return abi.PARAM.pack(kind, argument.a, argument.b, 0)
        memory = argument.memory
        if memory is None:
            if not self.null_memrefs:
                raise TeeError(results.NOT_SUPPORTED, "this TEE knows no NULL memrefs", Origin.API)
            return abi.PARAM.pack(kind, 0, 0, abi.MEMREF_NULL)
        if not isinstance(memory, DeviceMemory):
            raise TeeError(results.BAD_PARAMETERS, "memory of another context", Origin.API)
        return abi.PARAM.pack(kind, argument.offset, argument.size, memory.number)

    def close_session(self, session: int) -> None:
        if session in self._abandoned:
            return
        self._call(abi.IOC_CLOSE_SESSION, bytearray(abi.CLOSE_SESSION.pack(session)))

    def cancel(self, call: int) -> bool:
        with self._calls_lock:
            if call not in self._calls:
                return False
            session = self._calls[call]
        if session is None:
            return True
        try:
            self._call(abi.IOC_CANCEL, bytearray(abi.CANCEL.pack(call & 0xFFFFFFFF, session)))
        except TeeError as error:
            if error.result != results.BAD_PARAMETERS:  # EINVAL: the session has ended
                raise
        return True

    def abandon(self, call: int) -> None:
        """No more than a request: the driver waits for the secure world whatever happens."""
        with self._calls_lock:
            session = self._calls.get(call)
        if session is not None:
            self._abandoned.add(session)
        with suppress(TeeError):
            self.cancel(call)

    def resolve(self, ta: str) -> UUID:
        return uuid_of(ta)

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _outcome(result: int, origin: int, params: bytearray, arguments: Sequence[Argument]) -> Outcome:
    answers = []
    for argument, (_, a, b, _) in zip(arguments, abi.PARAM.iter_unpack(params), strict=False):
        if argument.kind < Kind.MEMREF_INPUT:
            answers.append((a & 0xFFFFFFFF, b & 0xFFFFFFFF))
        else:
            answers.append((b, 0))
    try:
        layer = Origin(origin)
    except ValueError:
        layer = Origin.COMMS
    return Outcome(Result.of(result), layer, tuple(answers))


def _no_room(size: int) -> TeeError:
    return TeeError(results.OUT_OF_MEMORY, f"no {size} bytes of shared memory", Origin.API)


def _pages(fd: int, size: int) -> mmap.mmap:
    """Whole pages; shared, so that a fork does not part them from what the TEE sees."""
    rounded = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
    try:
        return mmap.mmap(fd, rounded if fd < 0 else size)
    except (OSError, OverflowError, ValueError):
        raise _no_room(size) from None


def _address(buffer: mmap.mmap | bytearray) -> int:
    import ctypes

    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))
