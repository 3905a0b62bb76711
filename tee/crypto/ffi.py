"""The way into `tee._native`, for every module of this package: buffers, results, pointers.

Buffers are read and written in place, never copied. C keeps none of them after a call, unless the call says so. A
pointer from here keeps Python's object alive; a structure that was made of pointers does not, so that its maker's
caller has to hold the objects. Importing this sets libcrypto up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from tee._native import ffi, lib
from tee.errors import TeeError

if TYPE_CHECKING:
    from tee._native import Room, Span, TaskPointer

__all__ = ["NO_TASK", "Data", "check", "ffi", "lib", "octets", "output", "writable"]

Data = bytes | bytearray | memoryview
"""What a buffer argument may be; a memoryview must be contiguous."""

NO_TASK = cast("TaskPointer", ffi.NULL)
"""Where C takes a task that there need not be."""


def check(rc: int, detail: str = "") -> None:
    """TeeError if the TEE_Result `rc` is one. detail: what was refused, for logs."""
    if rc:
        raise TeeError(rc, detail)


def octets(data: Data) -> Span:
    """(pointer, bytes) of a buffer that C reads: two arguments, or a `struct tee_span`."""
    pointer = ffi.from_buffer("uint8_t[]", data)
    return pointer, len(pointer)


def writable(data: bytearray | memoryview) -> Room:
    """A pointer to a buffer that C writes."""
    return ffi.from_buffer("uint8_t[]", data, require_writable=True)


def output(size: int) -> tuple[bytearray, Room]:
    """A new buffer of `size` bytes that C writes, and a pointer to it."""
    out = bytearray(size)
    return out, writable(out)


check(lib.tee_native_ready(), "libcrypto >= 3.0 could not be set up")
