"""Rows of the system-call table: persistent objects and their enumerators.

Nothing answers them yet. A TA meets what GP defines for storage that is not there, which libutee
hands on where GP lets the function report it, and panics on where it does not.
Arguments: optee_os lib/libutee/include/utee_syscalls.h.
"""

from __future__ import annotations

from tee.abi.results import BAD_PARAMETERS, OUT_OF_MEMORY, STORAGE_NOT_AVAILABLE, Result
from tee.syscalls.declare import Argument, Cell, Handle, In, Out, OutFixed, Pointer, Syscall, Value

_SOURCE = "core/tee/tee_svc_storage.c"
_REASON = "there is no trusted storage yet"
_NO_ENUMERATOR = f"{_REASON}, so no enumerator can exist"


def _row(
    number: int, name: str, *args: Argument, unserved: Result = STORAGE_NOT_AVAILABLE, reason: str = _REASON
) -> Syscall:
    return Syscall(number, name, args, "", _SOURCE, reason=reason, unserved=unserved)


ROWS: tuple[Syscall, ...] = (
    _row(41, "storage_obj_open", Value("storage"), In("object_id"), Value("flags"), Cell("object")),
    _row(
        42,
        "storage_obj_create",
        Value("storage"),
        In("object_id"),
        Value("flags"),
        Handle("attributes"),
        In("data", null=True),
        Cell("object"),
    ),
    _row(43, "storage_obj_del", Handle("object")),
    _row(44, "storage_obj_rename", Handle("object"), In("new_object_id")),
    # The only failure GP lets the allocation of an enumerator have.
    _row(45, "storage_alloc_enum", Cell("enumerator"), unserved=OUT_OF_MEMORY),
    _row(46, "storage_free_enum", Handle("enumerator"), unserved=BAD_PARAMETERS, reason=_NO_ENUMERATOR),
    _row(47, "storage_reset_enum", Handle("enumerator"), unserved=BAD_PARAMETERS, reason=_NO_ENUMERATOR),
    _row(48, "storage_start_enum", Handle("enumerator"), Value("storage")),
    _row(49, "storage_next_enum", Handle("enumerator"), Pointer("info"), Out("object_id")),
    _row(50, "storage_obj_read", Handle("object"), OutFixed("data"), Cell("count", size=8)),
    _row(51, "storage_obj_write", Handle("object"), In("data")),
    _row(52, "storage_obj_trunc", Handle("object"), Value("size")),
    _row(53, "storage_obj_seek", Handle("object"), Value("offset"), Value("whence")),
)
