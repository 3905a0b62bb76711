"""Rows of the system-call table: persistent objects and their enumerators.

Arguments: optee_os lib/libutee/include/utee_syscalls.h; meaning: core/tee/tee_svc_storage.c.
"""

from __future__ import annotations

from north.syscalls.declare import Argument, Cell, Handle, InPieces, Pointer, Syscall, Value
from tee.syscalls.arguments import ChunkPieces, InPrivate, OutFixed

_SOURCE = "core/tee/tee_svc_storage.c"


def _row(number: int, name: str, *args: Argument, module: str = "storage") -> Syscall:
    return Syscall(number, name, args, f"{module}.{name}", _SOURCE)


def _stream(number: int, name: str, *args: Argument) -> Syscall:
    return _row(number, name, Handle("object"), *args, module="storage_streams")


ROWS: tuple[Syscall, ...] = (
    _row(41, "storage_obj_open", Value("storage"), InPrivate("object_id"), Value("flags"), Cell("object")),
    _row(
        42,
        "storage_obj_create",
        Value("storage"),
        InPrivate("object_id"),
        Value("flags"),
        Handle("attributes"),
        ChunkPieces("data"),
        Cell("object"),
    ),
    _row(43, "storage_obj_del", Handle("object")),
    _row(44, "storage_obj_rename", Handle("object"), InPrivate("new_object_id")),
    _row(45, "storage_alloc_enum", Cell("enumerator")),
    _row(46, "storage_free_enum", Handle("enumerator")),
    _row(47, "storage_reset_enum", Handle("enumerator")),
    _row(48, "storage_start_enum", Handle("enumerator"), Value("storage")),
    # The length is for output alone: a TA need not have set it.
    _row(49, "storage_next_enum", Handle("enumerator"), Pointer("info"), Pointer("object_id"), Cell("length", size=8)),
    _stream(50, "storage_obj_read", OutFixed("data"), Cell("count", size=8)),
    _stream(51, "storage_obj_write", InPieces("data")),
    _stream(52, "storage_obj_trunc", Value("size")),
    _stream(53, "storage_obj_seek", Value("offset"), Value("whence")),
)
