"""Rows of the system-call table: return, log, panic, sessions, access rights, cancellation, time, cache.

Arguments: optee_os lib/libutee/include/utee_syscalls.h; numbers: tee_syscall_numbers.h.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from north.syscalls.declare import Cell, Handle, Pointer, Syscall, Text, Value

if TYPE_CHECKING:
    from north.syscalls.declare import Argument

_SVC = "core/tee/tee_svc.c"
_SCALL = "core/kernel/scall.c"
_CACHE = "core/tee/svc_cache.c"


def _row(number: int, handler: str, *args: Argument, source: str = _SVC, native: bool = False) -> Syscall:
    name = handler.partition(".")[2]
    return Syscall(number, name, args, handler, source, native=name if native else "")


def _c_only(number: int, name: str, *args: Argument) -> Syscall:
    """A call that C always answers."""
    return Syscall(number, name, args, "", _SVC, native=name)


ROWS: tuple[Syscall, ...] = (
    _row(0, "instance.return", Value("code"), source=_SCALL),
    _row(1, "core.log", Text("message"), native=True),
    _row(2, "instance.panic", Value("code"), source=_SCALL),
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
    _c_only(8, "check_access_rights", Value("flags"), Pointer("buffer"), Value("size")),
    _c_only(9, "get_cancellation_flag", Cell("cancel")),
    _c_only(10, "unmask_cancellation", Cell("old_mask")),
    _c_only(11, "mask_cancellation", Cell("old_mask")),
    _row(12, "time.wait", Value("timeout")),
    _row(13, "time.get_time", Value("category"), Pointer("time"), native=True),
    _row(14, "time.set_ta_time", Pointer("time")),
    _row(70, "cache.cache_operation", Pointer("buffer"), Value("size"), Value("operation"), source=_CACHE),
)
