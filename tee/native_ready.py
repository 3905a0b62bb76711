"""Keys made ready in C (tee/csrc/ready.h), with types: for the operations of one TA instance, by handle.

A ready key spares every later operation libcrypto's set-up, and lets system calls be served without Python. It
belongs to the operation's state in C and goes with it; the object whose attributes it was made of has it forgotten
when they change (`tee.objects.Object.watch`). Errors are those of the functions in `tee.native_keys`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tee import native_keys as keys
from tee._native import ffi as _ffi
from tee._native import lib as _lib
from tee.errors import TeeError

if TYPE_CHECKING:
    from tee.native import Task
    from tee.objects import Object

SIGN, VERIFY, AGREE = range(3)
"""What a key is ready for: enum tee_use."""
_MAX_SIGNATURE = 1024
_MAX_COORDINATE = 66

_span = keys._span
_check = keys._check


class Ready:
    """The ready key of one operation, which `obj` is the key of. One thread at a time, as the task."""

    __slots__ = ("_handle", "_obj", "_task")

    def __init__(self, task: Task, handle: int, obj: Object) -> None:
        self._task = task.pointer
        self._handle = handle
        self._obj = obj

    def is_for(self, use: int) -> bool:
        return _lib.tee_task_ready_use(self._task, self._handle) == use

    def rsa(self, use: int, key: keys.RsaKey, scheme: keys.RsaScheme) -> None:
        numbers = _ffi.new("struct tee_span[8]", [_span(number) for number in key])
        way = _ffi.new("struct tee_rsa_scheme *", scheme)
        self._made(_lib.tee_task_ready_rsa(self._task, self._handle, use, numbers, way), "RSA: not a key for this")

    def curve(self, use: int, curve: int, d: bytes = b"", x: bytes = b"", y: bytes = b"") -> None:
        rc = _lib.tee_task_ready_ec(self._task, self._handle, use, curve, _span(d), _span(x), _span(y))
        self._made(rc, f"not a key of curve {curve:#x}")

    def _made(self, rc: int, detail: str) -> None:
        _check(rc, detail)
        self._obj.watch(partial(_lib.tee_task_forget, self._task, self._handle))

    def sign(self, digest: bytes, salt: int = 0) -> bytes:
        """salt: of PSS, octets. A curve's signature is r || s."""
        out, pointer = keys._room(_MAX_SIGNATURE)
        size = _ffi.new("uint64_t *", len(out))
        _check(_lib.tee_task_sign(self._task, self._handle, _span(digest), salt, pointer, size), "not signed")
        return bytes(out[: size[0]])

    def verify(self, digest: bytes, signature: bytes, salt: int = 0) -> None:
        _check(_lib.tee_task_verify(self._task, self._handle, _span(digest), salt, _span(signature)), "signature")

    def agree(self, x: bytes, y: bytes) -> bytes:
        """The x coordinate of the shared point; BAD_PARAMETERS: the peer's is none of the curve."""
        out, pointer = keys._room(_MAX_COORDINATE)
        size = _ffi.new("uint64_t *", len(out))
        rc = _lib.tee_task_agree(self._task, self._handle, _span(x), _span(y), pointer, size)
        if rc:
            raise TeeError(rc, "not a point of the curve")
        return bytes(out[: size[0]])
