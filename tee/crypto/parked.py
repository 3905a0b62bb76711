"""Transient objects parked in C (tee/csrc/parked.h), where derivations and the calls around them need no Python.

While an object is parked C alone knows its secret, size and usage: `ObjectTable.get` takes it back before anybody
looks at it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tee.abi.objects import UTEE_OBJECT_INFO
from tee.crypto.ffi import ffi, lib, octets, output

if TYPE_CHECKING:
    from tee._native import TaskPointer
    from tee.crypto.task import Task
    from tee.objects import Object, ObjectTable

_MAX_SECRET = 66


def park(task: Task, objects: ObjectTable, handle: int) -> None:
    """Leave a transient symmetric key to C, if it has room for one more."""
    obj = objects.get(handle)
    if obj.persistent or obj.props is None or len(obj.key) > _MAX_SECRET:
        return
    info = ffi.new("uint32_t[7]", UTEE_OBJECT_INFO.unpack(obj.info()))
    if not lib.tee_task_park(task.pointer, handle, info, obj.props.alloc, octets(obj.key)):
        objects.lend(handle, partial(_take_back, task.pointer, handle))


def _take_back(task: TaskPointer, handle: int, obj: Object) -> None:
    info = ffi.new("uint32_t[7]")
    secret, pointer = output(_MAX_SECRET)
    size = ffi.new("uint64_t *")
    lib.tee_task_unpark(task, handle, info, pointer, size)  # without it, of a closed task: an object of zeros
    _, bits, _, usage, _, _, flags = info
    obj.restore(bytes(secret[: size[0]]), bits, usage, flags)
