"""Parameters of a message as the secure world takes them, and what goes back into the message.

Source: optee_os 4.5 core/tee/entry_std.c (copy_in_params, copy_out_param).
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from tee.abi.optee_msg import (
    META,
    NONCONTIG,
    NONE,
    RMEM_INOUT,
    RMEM_INPUT,
    TMEM_INOUT,
    TMEM_INPUT,
    TYPE_MASK,
    VALUE_INOUT,
    VALUE_INPUT,
)
from tee.abi.results import BAD_PARAMETERS, SECURITY
from tee.errors import TeeError
from tee.message.shm import listed
from tee.params import Kind, Memref, Value

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from south.platform import Pages
    from tee.message.arg import Message, RawParam
    from tee.message.shm import Shared, SharedMemory
    from tee.params import Param

PARAMS = 4
"""TEE_NUM_PARAMS."""
_VALUES = Struct("<2Q")
_SIZE = Struct("<Q")
_WORD = 0xFFFFFFFF
_KINDS = {int(kind): kind for kind in Kind}  # enum members are slow to look up


class CallParams:
    """Parameters of one call. TeeError(BAD_PARAMETERS, SECURITY); then nothing is kept.

    first: of the message's parameters, which the TA sees as its number 0. reserved: the piece of memory that the
    normal world may name by address. forget: told of memory that no later call offers again.
    """

    __slots__ = ("_first", "_forget", "_shm", "_temporary", "_used", "params")

    def __init__(
        self,
        shm: SharedMemory,
        raw: Sequence[RawParam],
        first: int,
        reserved: Shared | None,
        forget: Callable[[Pages], None],
    ) -> None:
        self._shm = shm
        self._first = first
        self._forget = forget
        self._used: list[Shared] = []
        self._temporary: list[Shared] = []
        self.params: list[Param] = []
        if len(raw) - first > PARAMS:
            raise TeeError(BAD_PARAMETERS, "too many parameters")
        try:
            for param in raw[first:]:
                self.params.append(self._take(param, reserved))
        except TeeError:
            self.release()
            raise

    def _take(self, raw: RawParam, reserved: Shared | None) -> Param:
        attr, one, two, three = raw
        kind = attr & TYPE_MASK
        if attr & META:
            raise TeeError(BAD_PARAMETERS, "a meta parameter comes too late")
        if kind == NONE:
            return None
        if VALUE_INPUT <= kind <= VALUE_INOUT:
            return Value(_KINDS[kind], one & _WORD, two & _WORD)
        if RMEM_INPUT <= kind <= RMEM_INOUT:
            shared = self._shm.use(three)
            if shared is None:
                raise TeeError(BAD_PARAMETERS, "no such shared memory")
            self._used.append(shared)
            if one + two > shared.size:
                raise TeeError(SECURITY, "the memref is larger than its memory")
            return Memref(_KINDS[kind], shared.pages, two, shared.offset + one)
        if TMEM_INPUT <= kind <= TMEM_INOUT:
            return self._temporary_memref(_KINDS[kind - TMEM_INPUT + Kind.MEMREF_INPUT], attr, one, two, reserved)
        raise TeeError(BAD_PARAMETERS, f"parameters of kind {kind} are unknown")

    def _temporary_memref(self, kind: Kind, attr: int, address: int, size: int, reserved: Shared | None) -> Memref:
        if not address:
            return Memref(kind, None, 0)
        if attr & NONCONTIG and self._shm.dynamic:
            shared = listed(self._shm.memory, address, size, 0)
            self._temporary.append(shared)
            return Memref(kind, shared.pages, size, shared.offset)
        if reserved is not None and not attr & NONCONTIG:
            offset = address - reserved.cookie
            if 0 <= offset <= offset + max(size, 1) <= reserved.size:
                return Memref(kind, reserved.pages, size, offset)
        raise TeeError(BAD_PARAMETERS, "that memory is not shared")

    def answer(self, message: Message) -> None:
        """What the call left in values and sizes; attributes stay as they came."""
        for i, param in enumerate(self.params, self._first):
            if param is None or param.kind in (Kind.VALUE_INPUT, Kind.MEMREF_INPUT):
                continue
            if isinstance(param, Value):
                message.set_words(i, 1, _VALUES.pack(param.a, param.b))
            else:
                message.set_words(i, 2, _SIZE.pack(param.size))

    def release(self) -> None:
        for shared in self._used:
            self._shm.leave(shared)
        for shared in self._temporary:
            self._forget(shared.pages)
        self._used.clear()
        self._temporary.clear()
