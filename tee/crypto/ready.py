"""Keys made ready in C (tee/csrc/ready.h), with types: for the operations of one TA instance, by handle.

A ready key spares every later operation libcrypto's set-up, and lets system calls be served without Python. It
belongs to the operation's state in C and goes with it; the object whose attributes it was made of has it forgotten
when they change (`tee.objects.Object.watch`). Errors are those of the functions in `tee.crypto.keys`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tee.crypto import keys
from tee.crypto.ffi import check, ffi, lib, octets, output

if TYPE_CHECKING:
    from tee.crypto.task import Task
    from tee.objects import Object

SIGN, VERIFY, AGREE = range(3)
"""What a key is ready for: enum tee_use."""
_MAX_SIGNATURE = 1024
_MAX_COORDINATE = 66


class Ready:
    """The ready key of one operation, which `obj` is the key of. One thread at a time, as the task."""

    __slots__ = ("_handle", "_obj", "_task")

    def __init__(self, task: Task, handle: int, obj: Object) -> None:
        self._task = task.pointer
        self._handle = handle
        self._obj = obj

    def is_for(self, use: int) -> bool:
        return lib.tee_task_ready_use(self._task, self._handle) == use

    def rsa(self, use: int, key: keys.RsaKey, scheme: keys.RsaScheme) -> None:
        numbers, way = keys.rsa_pointers(key, scheme)
        self._made(lib.tee_task_ready_rsa(self._task, self._handle, use, numbers, way), "RSA: not a key for this")

    def curve(self, use: int, curve: int, d: bytes = b"", x: bytes = b"", y: bytes = b"") -> None:
        rc = lib.tee_task_ready_ec(self._task, self._handle, use, curve, octets(d), octets(x), octets(y))
        self._made(rc, f"not a key of curve {curve:#x}")

    def _made(self, rc: int, detail: str) -> None:
        check(rc, detail)
        self._obj.watch(partial(lib.tee_task_forget, self._task, self._handle))

    def sign(self, digest: bytes, salt: int = 0) -> bytes:
        """salt: of PSS, octets. A curve's signature is r || s."""
        out, pointer = output(_MAX_SIGNATURE)
        size = ffi.new("uint64_t *", len(out))
        check(lib.tee_task_sign(self._task, self._handle, octets(digest), salt, pointer, size), "not signed")
        return bytes(out[: size[0]])

    def verify(self, digest: bytes, signature: bytes, salt: int = 0) -> None:
        check(lib.tee_task_verify(self._task, self._handle, octets(digest), salt, octets(signature)), "signature")

    def agree(self, x: bytes, y: bytes) -> bytes:
        """The x coordinate of the shared point; BAD_PARAMETERS: the peer's is none of the curve."""
        out, pointer = output(_MAX_COORDINATE)
        size = ffi.new("uint64_t *", len(out))
        rc = lib.tee_task_agree(self._task, self._handle, octets(x), octets(y), pointer, size)
        check(rc, "not a point of the curve")
        return bytes(out[: size[0]])
