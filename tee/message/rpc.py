"""Requests to the normal world during one of its calls, and memory borrowed from it for them.

Source: optee_os 4.5 core/arch/arm/kernel/thread_optee_smc.c (thread_rpc_cmd, thread_rpc_alloc).
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from south.platform import PAGE
from tee.abi.optee_msg import (
    NONCONTIG,
    RMEM_INPUT,
    TMEM_INPUT,
    TMEM_OUTPUT,
    VALUE_INPUT,
    arg_size,
)
from tee.abi.optee_rpc import MAX_PARAMS, SHM_TYPE_APPL, RpcCmd
from tee.abi.optee_smc import RPC_ALLOC, RPC_CMD, RPC_FREE
from tee.abi.results import COMMUNICATION, GENERIC, OUT_OF_MEMORY, SUCCESS
from tee.errors import TeeError
from tee.message.arg import answered, request
from tee.message.shm import Shared, contiguous, listed
from tee.params import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from south.platform import NormalMemory
    from tee.message.arg import RawParam
    from tee.message.threads import SecureThread, SecureThreads

_PLACE = arg_size(MAX_PARAMS)
"""Bytes of a request's message."""
_WORDS32 = 0xFFFFFFFF
BUFFER_MAX = 64 << 20
"""Bytes that are borrowed at most; a normal world gives less."""


def value(kind: Kind, a: int = 0, b: int = 0, c: int = 0) -> RawParam:
    return int(kind), a, b, c


class Buffer(NamedTuple):
    """Memory of the normal world's, until the call ends. by_address: as temporary memory, else by its cookie."""

    shared: Shared
    by_address: int

    def memref(self, kind: Kind, size: int, offset: int = 0) -> RawParam:
        if self.by_address:
            return TMEM_INPUT + kind - Kind.MEMREF_INPUT, self.by_address + offset, size, self.shared.cookie
        return RMEM_INPUT + kind - Kind.MEMREF_INPUT, offset, size, self.shared.cookie


NO_BUFFER: RawParam = (TMEM_OUTPUT, 0, 0, 0)
"""Asks how large the output would be."""


class Rpc:
    """Used from threads that serve a call; anywhere else, TeeError(COMMUNICATION)."""

    def __init__(self, threads: SecureThreads, memory: NormalMemory) -> None:
        self._threads = threads
        self._memory = memory

    def call(self, command: int, *params: RawParam) -> list[RawParam]:
        """The parameters as they came back. TeeError: what the normal world said."""
        result, back = self.attempt(command, *params)
        if result != SUCCESS:
            raise TeeError(result, f"the normal world's answer to request {command}")
        return back

    def attempt(self, command: int, *params: RawParam) -> tuple[int, list[RawParam]]:
        """As `call`, for whom a failure's parameters matter: its result comes first."""
        return self._call(self._threads.current, command, params)

    def _call(self, thread: SecureThread, command: int, params: Sequence[RawParam]) -> tuple[int, list[RawParam]]:
        cookie = 0
        if thread.place is None:
            thread.place = self._allocate_place(thread), 0
        shared, offset = thread.place
        cookie = shared.cookie
        message = request(command, params, GENERIC)
        registers = (RPC_CMD, cookie >> 32, cookie & _WORDS32, 0)
        self._threads.request(thread, registers, message)
        back = shared.read(offset, len(message))
        self._threads.copied(thread)
        return answered(back, len(params))

    def buffer(self, size: int) -> Buffer:
        """At least `size` bytes that tee-supplicant sees, too. A later call of this may give the same memory again.

        TeeError(OUT_OF_MEMORY).
        """
        thread = self._threads.current
        if thread.buffer is not None:
            if thread.buffer.shared.size >= size:
                return thread.buffer
            self._free(thread, thread.buffer)
            thread.buffer = None
        if size > BUFFER_MAX:
            raise TeeError(OUT_OF_MEMORY, "too large for the normal world")
        size = max(PAGE, size + PAGE - 1 & -PAGE)
        wanted = value(Kind.VALUE_INPUT, SHM_TYPE_APPL, size, 8)
        result, (param,) = self._call(thread, RpcCmd.SHM_ALLOC, [wanted])
        if result != SUCCESS:
            raise TeeError(OUT_OF_MEMORY, f"the normal world gave no memory: {result:#x}")
        thread.buffer = self._borrowed(thread, param, size)
        return thread.buffer

    def _borrowed(self, thread: SecureThread, param: RawParam, size: int) -> Buffer:
        attr, address, given, cookie = param
        try:
            if given < size or not cookie:
                raise TeeError(OUT_OF_MEMORY, "less than was asked for")
            if attr == TMEM_OUTPUT | NONCONTIG:
                return Buffer(listed(self._memory, address, given, cookie), 0)
            if attr == TMEM_OUTPUT:
                return Buffer(contiguous(self._memory, address, given, cookie), address)
            raise TeeError(OUT_OF_MEMORY, f"memory of kind {attr:#x}")
        except TeeError as error:
            self._call(thread, RpcCmd.SHM_FREE, [value(Kind.VALUE_INPUT, SHM_TYPE_APPL, cookie)])
            raise TeeError(OUT_OF_MEMORY, error.detail) from None

    def _free(self, thread: SecureThread, buffer: Buffer) -> None:
        with suppress(TeeError):
            self._call(thread, RpcCmd.SHM_FREE, [value(Kind.VALUE_INPUT, SHM_TYPE_APPL, buffer.shared.cookie)])

    def give_back(self, thread: SecureThread) -> None:
        """Before a call ends: what it borrowed."""
        buffer, thread.buffer = thread.buffer, None
        if buffer is not None:
            self._free(thread, buffer)
        if thread.allocated:
            assert thread.place is not None
            shared, thread.place = thread.place[0], None
            thread.allocated = False
            registers = (RPC_FREE, shared.cookie >> 32, shared.cookie & _WORDS32, 0)
            with suppress(TeeError):
                self._threads.request(thread, registers, None)

    def _allocate_place(self, thread: SecureThread) -> Shared:
        """For a call that brought no room for requests (OPTEE_SMC_CALL_WITH_ARG)."""
        back = self._threads.request(thread, (RPC_ALLOC, _PLACE, 0, 0), None)
        high, low, _, cookie_high, cookie_low = (word & _WORDS32 for word in back)
        address, cookie = high << 32 | low, cookie_high << 32 | cookie_low
        try:
            if not address or address % 8:
                raise TeeError(OUT_OF_MEMORY, "the normal world has no memory")
            place = contiguous(self._memory, address, _PLACE, cookie)
        except TeeError as error:
            if cookie:
                self._threads.request(thread, (RPC_FREE, cookie >> 32, cookie & _WORDS32, 0), None)
            raise TeeError(COMMUNICATION, error.detail) from None
        thread.allocated = True
        return place


assert int(Kind.VALUE_INPUT) == VALUE_INPUT
