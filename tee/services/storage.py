"""Persistent objects: opening, making, renaming, removing and enumerating them.

Source: optee_os 4.5 core/tee/tee_svc_storage.c.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from tee.abi import results
from tee.abi.objects import UTEE_OBJECT_INFO, HandleFlag
from tee.abi.storage import CREATE_FLAGS, OBJECT_ID_MAX, OPEN_FLAGS, DataFlag
from tee.errors import TeeError
from tee.storage.dirfile import Key
from tee.storage.objects import PersistentObject, persistent
from tee.storage.pobj import Purpose
from tee.storage.store import Enumerator

if TYPE_CHECKING:
    from north.syscalls.declare import OutCell, Source
    from tee.objects import Object
    from tee.services.context import StorageTask
    from tee.storage.files import FileSystem


def _key(task: StorageTask, object_id: bytes) -> Key:
    if len(object_id) > OBJECT_ID_MAX:
        raise TeeError(results.BAD_PARAMETERS, f"an object id of {len(object_id)} bytes")
    return Key(task.uuid, object_id)


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
    data: Source,
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
        # All that may fail comes before the object is on the medium.
        if obj.va:
            obj.require()
        made = PersistentObject.made(store.pobjs, pobj, flags, source)
        task.objects.require_room(made)
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
    pobj = persistent(task.objects, obj).pobj
    try:
        pobj.system.remove(pobj.key)
    finally:
        task.objects.remove(obj)


def storage_obj_rename(task: StorageTask, obj: int, new_object_id: bytes) -> None:
    key = _key(task, new_object_id)
    found = persistent(task.objects, obj)
    found.require(DataFlag.ACCESS_WRITE_META, results.BAD_STATE)
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
    task.enumerators.hand_out(Enumerator(), enumerator)


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
    place, oid, described = _next(task, found.system, found.place)
    found.place = place
    task.memory.copy_out(info, described)
    if oid:
        task.memory.copy_out(object_id, oid)
    length.put(len(oid))


def _next(task: StorageTask, system: FileSystem, after: int) -> tuple[int, bytes, bytes]:
    """Place, id and `struct utee_object_info` of the TA's next object behind `after`. ITEM_NOT_FOUND: no more.

    Another instance may rename, remove or replace an object between these steps. Whoever finds that looks again, and
    passes over what cannot be found twice.
    """
    pobjs = task.storage.pobjs
    missed: tuple[int, bytes] | None = None
    while True:
        place, oid = system.next(task.uuid, after)
        pobj = pobjs.get(system, Key(task.uuid, oid), 0, Purpose.ENUMERATE)
        try:
            return place, oid, PersistentObject.stored(pobjs, pobj, pobj.flags).info()
        except TeeError as error:
            again = (place, oid) != missed
            if error.result == results.ITEM_NOT_FOUND:
                after = after if again else place
            elif error.result != results.CORRUPT_OBJECT or not again:
                raise
            missed = place, oid
        finally:
            pobjs.release(pobj, Purpose.ENUMERATE)
