"""Rows of the system-call table: return, log, panic, sessions, access rights, cancellation, time, cache.

Arguments: optee_os lib/libutee/include/utee_syscalls.h; numbers: tee_syscall_numbers.h.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee.syscalls.declare import Cell, Handle, Pointer, Syscall, Text, Value

if TYPE_CHECKING:
    from tee.syscalls.declare import Argument

_SVC = "core/tee/tee_svc.c"
_SCALL = "core/kernel/scall.c"
_CACHE = "core/tee/svc_cache.c"


def _row(
    number: int, handler: str, *args: Argument, name: str = "", source: str = _SVC, native: bool = False
) -> Syscall:
    name = name or handler.partition(".")[2]
    return Syscall(number, name, args, handler, source, native=name if native else "")


ROWS: tuple[Syscall, ...] = (
    _row(0, "core.sys_return", Value("code"), name="return", source=_SCALL),
    _row(1, "core.log", Text("message"), native=True),
    _row(2, "core.panic", Value("code"), source=_SCALL),
    _row(
        5,
        "core.open_ta_session",
        Pointer("destination"),
        Value("cancel_timeout"),
        Pointer("params"),
        Cell("session"),
        Cell("origin"),
    ),
    _row(6, "core.close_ta_session", Handle("session")),
    _row(
        7,
        "core.invoke_ta_command",
        Handle("session"),
        Value("cancel_timeout"),
        Value("command"),
        Pointer("params"),
        Cell("origin"),
    ),
    _row(8, "core.check_access_rights", Value("flags"), Pointer("buffer"), Value("size"), native=True),
    _row(9, "core.get_cancellation_flag", Cell("cancel"), native=True),
    _row(10, "core.unmask_cancellation", Cell("old_mask"), native=True),
    _row(11, "core.mask_cancellation", Cell("old_mask"), native=True),
    _row(12, "time.wait", Value("timeout")),
    _row(13, "time.get_time", Value("category"), Pointer("time"), native=True),
    _row(14, "time.set_ta_time", Pointer("time")),
    _row(70, "cache.cache_operation", Pointer("buffer"), Value("size"), Value("operation"), source=_CACHE),
)
