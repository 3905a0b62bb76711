"""Persistent objects: opening, making, renaming and removing them, and their data streams.

Source: optee_os 4.5 core/tee/tee_svc_storage.c. Differences: a truncation that fails for want of space says so, where
OP-TEE says GENERIC and the TA panics.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from tee.abi import results
from tee.abi.objects import UTEE_OBJECT_INFO, HandleFlag
from tee.abi.storage import CREATE_FLAGS, MAX_POSITION, OBJECT_ID_MAX, OPEN_FLAGS, DataFlag, Whence
from tee.abi.ta_head import TA_FLAG_DONT_CLOSE_HANDLE_ON_CORRUPT_OBJECT
from tee.errors import TeeError
from tee.storage.dirfile import Key
from tee.storage.objects import PersistentObject
from tee.storage.pobj import Purpose

if TYPE_CHECKING:
    from tee.objects import Object
    from tee.services.context import StorageTask
    from tee.storage.pobj import Pobj
    from tee.syscalls.declare import OutBuffer, OutCell

_SIZE_MAX = (1 << 64) - 1


def _key(task: StorageTask, object_id: bytes) -> Key:
    if len(object_id) > OBJECT_ID_MAX:
        raise TeeError(results.BAD_PARAMETERS, f"an object id of {len(object_id)} bytes")
    return Key(task.uuid, object_id)


def _persistent(task: StorageTask, handle: int) -> PersistentObject:
    """BAD_STATE: no object, or a transient one."""
    found = task.objects.get(handle)
    if not isinstance(found, PersistentObject):
        raise TeeError(results.BAD_STATE, f"object {handle:#x} is not persistent")
    return found


def _require(obj: PersistentObject, flag: DataFlag, otherwise: results.Result = results.ACCESS_CONFLICT) -> None:
    if not obj.flags & flag:
        raise TeeError(otherwise, f"the object was not opened with {flag.name}")


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


# --- objects


def storage_obj_open(task: StorageTask, storage: int, object_id: bytes, flags: int, obj: OutCell) -> None:
    if flags & ~OPEN_FLAGS:
        raise TeeError(results.BAD_PARAMETERS, f"flags {flags:#x}")
    store = task.storage
    system = store.system(storage & 0xFFFFFFFF)
    pobj = store.pobjs.get(system, _key(task, object_id), flags, Purpose.OPEN)
    try:
        found = PersistentObject.stored(store.pobjs, pobj, flags)
        handle = task.objects.add(found)
    except BaseException as error:
        if isinstance(error, TeeError) and error.result == results.CORRUPT_OBJECT:
            with suppress(TeeError):
                system.remove(pobj.key)
        store.pobjs.release(pobj)
        raise
    _tell(task, handle, obj)


def _tell(task: StorageTask, handle: int, obj: OutCell) -> None:
    try:
        obj.put(handle)
    except TeeError:
        task.objects.remove(handle)
        raise


def storage_obj_create(
    task: StorageTask,
    storage: int,
    object_id: bytes,
    flags: int,
    attributes: int,
    data: bytes,
    obj: OutCell,
) -> None:
    """obj NULL: a transient object given for its attributes becomes the persistent one; without such, nothing is left
    open.
    """
    if flags & ~CREATE_FLAGS:
        raise TeeError(results.BAD_PARAMETERS, f"flags {flags:#x}")
    store = task.storage
    system = store.system(storage & 0xFFFFFFFF)
    key = _key(task, object_id)
    pobj = store.pobjs.get(system, key, flags, Purpose.CREATE)
    try:
        source = _initialized(task, attributes)
        task.objects.require_room()
        made = PersistentObject.made(store.pobjs, pobj, flags, source)
        made.write_new(data, overwrite=bool(flags & DataFlag.OVERWRITE))
        if source is None or obj.va or source.persistent:
            handle = task.objects.add(made)
        else:
            handle = attributes
            task.objects.replace(handle, made)
    except BaseException as error:
        if isinstance(error, TeeError) and error.result == results.CORRUPT_OBJECT:
            with suppress(TeeError):
                system.remove(key)
        store.pobjs.release(pobj)
        raise
    store.pobjs.created(pobj)
    if obj.va:
        _tell(task, handle, obj)
    elif handle != attributes:
        task.objects.remove(handle)


def _initialized(task: StorageTask, handle: int) -> Object | None:
    """The object to take attributes from; BAD_PARAMETERS: it has none yet."""
    if not handle:
        return None
    source = task.objects.get(handle)
    if not source.flags & HandleFlag.INITIALIZED:
        raise TeeError(results.BAD_PARAMETERS, "the attributes' object is not initialised")
    return source


def storage_obj_del(task: StorageTask, obj: int) -> None:
    found = task.objects.get(obj)
    if not found.flags & DataFlag.ACCESS_WRITE_META:
        raise TeeError(results.ACCESS_CONFLICT, "the object was not opened with ACCESS_WRITE_META")
    pobj = _persistent(task, obj).pobj
    try:
        pobj.system.remove(pobj.key)
    finally:
        task.objects.remove(obj)


def storage_obj_rename(task: StorageTask, obj: int, new_object_id: bytes) -> None:
    key = _key(task, new_object_id)
    found = _persistent(task, obj)
    _require(found, DataFlag.ACCESS_WRITE_META, results.BAD_STATE)
    pobj, pobjs = found.pobj, task.storage.pobjs
    kept = pobjs.get(pobj.system, key, DataFlag.ACCESS_WRITE_META, Purpose.RENAME)
    try:
        pobj.system.rename(pobj.key, key)
    except BaseException:
        pobjs.release(kept)
        raise
    pobjs.rename(pobj, kept)


# --- enumerators


def storage_alloc_enum(task: StorageTask, enumerator: OutCell) -> None:
    if not enumerator.va:
        raise TeeError(results.BAD_PARAMETERS, "nowhere to put the enumerator")
    handle = task.enumerators.add()
    try:
        enumerator.put(handle)
    except TeeError:
        task.enumerators.remove(handle)
        raise


def storage_free_enum(task: StorageTask, enumerator: int) -> None:
    task.enumerators.remove(enumerator)


def storage_reset_enum(task: StorageTask, enumerator: int) -> None:
    task.enumerators.get(enumerator).system = None


def storage_start_enum(task: StorageTask, enumerator: int, storage: int) -> None:
    """ITEM_NOT_FOUND: the TA has no object there."""
    found = task.enumerators.get(enumerator)
    found.system = None
    system = task.storage.system(storage & 0xFFFFFFFF)
    system.next(task.uuid, -1)
    found.system, found.place = system, -1


def storage_next_enum(task: StorageTask, enumerator: int, info: int, object_id: int, length: OutCell) -> None:
    """info: address of a `struct utee_object_info`; object_id: of OBJECT_ID_MAX bytes."""
    found = task.enumerators.get(enumerator)
    task.memory.check(info, UTEE_OBJECT_INFO.size, True)
    task.memory.check(object_id, OBJECT_ID_MAX, True)
    if found.system is None:
        raise TeeError(results.ITEM_NOT_FOUND, "the enumeration was not started")
    found.place, oid = found.system.next(task.uuid, found.place)
    pobjs = task.storage.pobjs
    pobj = pobjs.get(found.system, Key(task.uuid, oid), 0, Purpose.ENUMERATE)
    try:
        described = PersistentObject.stored(pobjs, pobj, pobj.flags).info()
    finally:
        pobjs.release(pobj)
    task.memory.copy_out(info, described)
    if oid:
        task.memory.copy_out(object_id, oid)
    length.put(len(oid))


# --- data streams


def storage_obj_read(task: StorageTask, obj: int, data: OutBuffer, count: OutCell) -> None:
    found = _persistent(task, obj)
    _require(found, DataFlag.ACCESS_READ)
    with _Corruption(task, obj, found.pobj):
        raw = found.file.read(found.data_start + found.data_position, data.capacity)
    if raw:
        data.put(raw)
    found.data_position += len(raw)
    count.put(len(raw))


def storage_obj_write(task: StorageTask, obj: int, data: bytes) -> None:
    found = _persistent(task, obj)
    _require(found, DataFlag.ACCESS_WRITE)
    if found.data_position + len(data) > MAX_POSITION:
        raise TeeError(results.OVERFLOW, "the position would pass TEE_DATA_MAX_POSITION")
    with _Corruption(task, obj, found.pobj):
        found.file.write(found.data_start + found.data_position, data)
    found.data_position += len(data)


def storage_obj_trunc(task: StorageTask, obj: int, size: int) -> None:
    found = _persistent(task, obj)
    _require(found, DataFlag.ACCESS_WRITE)
    if size + found.data_start > _SIZE_MAX:
        raise TeeError(results.OVERFLOW, "the size would wrap around")
    with _Corruption(task, obj, found.pobj):
        found.file.truncate(found.data_start + size)


def storage_obj_seek(task: StorageTask, obj: int, offset: int, whence: int) -> None:
    """offset: its lower 32 bits are a signed number; what falls before the beginning becomes the beginning."""
    found = _persistent(task, obj)
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
