"""Data streams of persistent objects: reading, writing, truncating, and the position.

Source: optee_os 4.5 core/tee/tee_svc_storage.c. One difference: a truncation that fails for want of space says so,
where OP-TEE says GENERIC and the TA panics.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from tee.abi import results
from tee.abi.storage import MAX_POSITION, DataFlag, Whence
from tee.abi.ta_head import TA_FLAG_DONT_CLOSE_HANDLE_ON_CORRUPT_OBJECT
from tee.costs import WHOLE
from tee.errors import TeeError
from tee.storage.objects import persistent

if TYPE_CHECKING:
    from north.syscalls.declare import OutCell, Source
    from tee.services.context import StorageTask
    from tee.storage.pobj import Pobj
    from tee.syscalls.arguments import OutBuffer

_SIZE_MAX = (1 << 64) - 1
_READ = 1 << 20
"""Bytes that are read at once; what others write meanwhile is in a longer read, or is not."""


class _Corruption:
    """A `with` around what reads or changes an object's file: a corrupt object is removed (remove_corrupt_obj)."""

    def __init__(self, task: StorageTask, handle: int, pobj: Pobj) -> None:
        self._task = task
        self._handle = handle
        self._pobj = pobj

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, problem: BaseException | None, trace: object) -> None:
        if not isinstance(problem, TeeError) or problem.result != results.CORRUPT_OBJECT:
            return
        with suppress(TeeError):
            self._pobj.system.remove(self._pobj.key)
        if not self._task.flags & TA_FLAG_DONT_CLOSE_HANDLE_ON_CORRUPT_OBJECT:
            self._task.objects.remove(self._handle)


def storage_obj_read(task: StorageTask, obj: int, data: OutBuffer, count: OutCell) -> None:
    found = persistent(task.objects, obj)
    found.require(DataFlag.ACCESS_READ)
    with _Corruption(task, obj, found.pobj):
        done = 0
        while True:
            most = min(_READ, data.capacity - done)
            raw = found.file.read(found.data_start + found.data_position + done, most)
            data.put_at(done, raw)
            done += len(raw)
            if len(raw) < most or done == data.capacity:
                break
    found.data_position += done
    count.put(done)


def storage_obj_write(task: StorageTask, obj: int, data: Source) -> None:
    found = persistent(task.objects, obj)
    found.require(DataFlag.ACCESS_WRITE)
    if found.data_position + len(data) > MAX_POSITION:
        raise TeeError(results.OVERFLOW, "the position would pass TEE_DATA_MAX_POSITION")
    with _Corruption(task, obj, found.pobj):
        found.file.write(found.data_start + found.data_position, data[:] if len(data) <= WHOLE else data)
    found.data_position += len(data)


def storage_obj_trunc(task: StorageTask, obj: int, size: int) -> None:
    found = persistent(task.objects, obj)
    found.require(DataFlag.ACCESS_WRITE)
    if size + found.data_start > _SIZE_MAX:
        raise TeeError(results.OVERFLOW, "the size would wrap around")
    with _Corruption(task, obj, found.pobj):
        found.file.truncate(found.data_start + size)


def storage_obj_seek(task: StorageTask, obj: int, offset: int, whence: int) -> None:
    """offset: its lower 32 bits are a signed number; what falls before the beginning becomes the beginning."""
    found = persistent(task.objects, obj)
    offset = (offset & 0xFFFFFFFF ^ 0x80000000) - 0x80000000
    if whence == Whence.SET:
        start = 0
    elif whence == Whence.CUR:
        start = found.data_position
    elif whence == Whence.END:
        start = found.stream_size
    else:
        raise TeeError(results.BAD_PARAMETERS, f"whence {whence}")
    position = max(0, start + offset)
    if position > MAX_POSITION:
        raise TeeError(results.BAD_PARAMETERS, "the position is beyond TEE_DATA_MAX_POSITION")
    found.data_position = position
