"""System calls 3 and 4: properties (optee_os lib/libutee/include/utee_syscalls.h, core/tee/tee_svc.c)."""

from __future__ import annotations

from north.syscalls.declare import Cell, Pointer, Syscall, Value

_SOURCE = "core/tee/tee_svc.c"

ROWS: tuple[Syscall, ...] = (
    Syscall(
        3,
        "get_property",
        (
            Value("prop_set"),
            Value("index"),
            Pointer("name"),
            Pointer("name_len"),
            Pointer("buf"),
            Pointer("blen"),
            Pointer("prop_type"),
        ),
        "properties.get_property",
        _SOURCE,
    ),
    Syscall(
        4,
        "get_property_name_to_index",
        (Value("prop_set"), Pointer("name"), Value("name_len"), Cell("index")),
        "properties.get_property_name_to_index",
        _SOURCE,
    ),
)
