"""The C side of one TA instance, with types: operation states, cancellation, log, handlers of hot system calls.

Every length is in bytes unless "bits" is said.

Semantics of operation states: optee_os 4.5 core/tee/tee_svc_cryp.c and core/crypto/.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from tee.abi import results
from tee.crypto.ffi import check, ffi, lib, octets, output, writable
from tee.errors import TeeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from south.platform import Cpu
    from tee._native import Octets, Room, TaskPointer
    from tee.crypto.ffi import Data


class StateInfo(NamedTuple):
    """What an operation state is. digest_size: of a digest or MAC, 0 for SHAKE and everything else;
    tag_size: as declared by `Task.ae_init`; initialised: an init call succeeded and no final since."""

    algo: int
    mode: int
    digest_size: int
    tag_size: int
    initialised: bool


class LogText(NamedTuple):
    """Drained log. dropped: messages lost to the rate limit since the last drain."""

    text: str
    dropped: int


def _handlers() -> list[tuple[int, int, int]]:
    """(system-call number, address of its handler, argument words it looks at)."""
    room = 32
    numbers, args = ffi.new("uint32_t[]", room), ffi.new("uint32_t[]", room)
    addresses = ffi.new("uintptr_t[]", room)
    count = lib.tee_native_handlers(numbers, addresses, args, room)
    return [(numbers[i], addresses[i], args[i]) for i in range(count)]


_HANDLERS = _handlers()


class Task:
    """The C side of one TA instance. One thread at a time, except for `cancel` and `take_log`.

    max_states: operation states at once, more: OUT_OF_MEMORY. log_room: bytes of log kept between
    drains; a message that does not fit is left to Python (LB_ASK). log_rate, log_burst: messages
    per second and at once; beyond that they are dropped and counted.

    Must outlive every `Cpu` that its handlers are bound to: the memory goes with this object.
    """

    def __init__(
        self, *, max_states: int = 1024, log_room: int = 1 << 16, log_rate: int = 2000, log_burst: int = 4000
    ) -> None:
        task = lib.tee_task_new(max_states, log_room, log_rate, log_burst)
        if not task:
            raise TeeError(results.OUT_OF_MEMORY, "no memory for a TA instance's states")
        self._task = ffi.gc(task, lib.tee_task_free)
        self.begin: Callable[[], None] = partial(lib.tee_task_begin, self._task)
        """A call begins: not cancelled, and masked."""
        self.log_waits: Callable[[], int] = partial(lib.tee_task_log_waits, self._task)
        """Whether `take_log` would give anything; from any thread."""

    # --- what Cpu.bind needs ---------------------------------------------------------------

    @property
    def owner(self) -> int:
        """Address to bind the handlers with."""
        return int(ffi.cast("uintptr_t", self._task))

    @property
    def pointer(self) -> TaskPointer:
        """The `struct tee_task *`, for the modules that are typed fronts of tee/csrc."""
        return self._task

    @staticmethod
    def handlers() -> dict[int, int]:
        """System-call number -> address of its `lb_handler` (dispatch.h)."""
        return {number: address for number, address, _ in _HANDLERS}

    def bind(self, cpu: Cpu) -> None:
        """Let these handlers answer the system calls of `cpu`, and what computes for long see when it is to stop."""
        lib.tee_task_serve(self._task, cpu.guest)
        for number, address, args in _HANDLERS:
            cpu.bind(number, address, self.owner, args)

    def close(self) -> None:
        """Free every state and take no more. May be called twice; `cancel` and `take_log` still work."""
        lib.tee_task_close(self._task)

    # --- cancellation, time, log -----------------------------------------------------------

    def cancel(self) -> None:
        """Set the session's cancellation flag; from any thread."""
        lib.tee_task_cancel(self._task, 1)

    @property
    def cancelled(self) -> bool:
        """The raw flag, whether masked or not (`get_cancellation_flag` reads false while masked)."""
        return bool(lib.tee_task_cancelled(self._task))

    @cancelled.setter
    def cancelled(self, on: bool) -> None:
        lib.tee_task_cancel(self._task, on)

    @property
    def masked(self) -> bool:
        """Whether the session masks cancellation; true in a new session. Set it at each entry."""
        return bool(lib.tee_task_masked(self._task))

    @masked.setter
    def masked(self, on: bool) -> None:
        lib.tee_task_mask(self._task, on)

    def set_cancel_deadline(self, monotonic: float | None) -> None:
        """From that `time.monotonic()` on, in seconds, the call counts as cancelled; None: never."""
        lib.tee_task_set_deadline(self._task, 0 if monotonic is None else max(1, int(monotonic * 1e9)))

    def set_system_clock(self, origin: float | None) -> None:
        """System time is `time.monotonic()` minus `origin` seconds; None: Python answers get_time."""
        lib.tee_task_set_clock(self._task, origin is not None, int((origin or 0.0) * 1e9))

    def take_log(self) -> LogText:
        """Drain what the TA logged; from any thread."""
        text, pointer = output(lib.tee_task_log_size(self._task))
        dropped = ffi.new("uint64_t *")
        size = lib.tee_task_log_take(self._task, pointer, len(text), dropped)
        return LogText(text[:size].decode("utf-8", "replace"), int(dropped[0]))

    # --- operation states ------------------------------------------------------------------
    # Handles are positive 31-bit integers. An unknown one: BAD_PARAMETERS. A call that is not
    # initialised, or already final: BAD_STATE.

    @property
    def state_count(self) -> int:
        return lib.tee_task_state_count(self._task)

    def state_alloc(self, algo: int, mode: int) -> int:
        """New state for TEE_ALG_* and TEE_MODE_*; returns its handle.

        Asymmetric and derivation algorithms get a handle too, and no C operation works on it.
        TeeError: NOT_IMPLEMENTED or NOT_SUPPORTED as OP-TEE answers for that class, OUT_OF_MEMORY.
        """
        handle = ffi.new("uint32_t *")
        check(lib.tee_task_alloc(self._task, algo, mode, handle))
        return int(handle[0])

    def state_info(self, handle: int) -> StateInfo:
        out = ffi.new("uint32_t[5]")
        check(lib.tee_task_info(self._task, handle, out))
        return StateInfo(out[0], out[1], out[2], out[3], bool(out[4]))

    def state_copy(self, dst: int, src: int) -> None:
        """Copy `src` at whatever point it is over `dst`; BAD_PARAMETERS unless algorithm and mode agree."""
        check(lib.tee_task_copy(self._task, dst, src))

    def state_free(self, handle: int) -> None:
        check(lib.tee_task_drop(self._task, handle))

    def state_reset(self, handle: int) -> None:
        """Back to uninitialised, secrets wiped."""
        check(lib.tee_task_reset(self._task, handle))

    def hash_init(self, handle: int, key: Data = b"") -> None:
        """Start a digest (key unused) or a MAC with `key`. BAD_PARAMETERS: another class."""
        check(lib.tee_task_hash_init(self._task, handle, *octets(key)))

    def hash_update(self, handle: int, data: Data) -> None:
        check(lib.tee_task_hash_update(self._task, handle, *octets(data)))

    def hash_final(self, handle: int, data: Data = b"", room: int = 64) -> bytes:
        """Feed `data`, return the digest or MAC. SHORT_BUFFER (nothing done) if it exceeds `room`.

        SHAKE: exactly `room` bytes of output; call again with no data for the bytes that follow.
        """
        out, dst = output(room)
        size = ffi.new("uint64_t *", room)
        check(lib.tee_task_hash_final(self._task, handle, *octets(data), dst, size))
        return bytes(out[: size[0]])

    def cipher_init(self, handle: int, key1: Data, key2: Data = b"", iv: Data = b"") -> None:
        """key2: XTS tweak key. iv: one block; ignored by ECB."""
        check(lib.tee_task_cipher_init(self._task, handle, *octets(key1), *octets(key2), *octets(iv)))

    def cipher_update(self, handle: int, data: Data) -> bytes:
        """Whole blocks only, except AES-CTR; as many bytes come back."""
        return self._cipher(handle, data, 0)

    def cipher_update_into(self, handle: int, data: Data, out: bytearray | memoryview) -> None:
        """As `cipher_update`, to the start of `out`, which may be `data`. SHORT_BUFFER: it does not fit."""
        self._into(data, out, lambda src, size, dst: lib.tee_task_cipher_update(self._task, handle, 0, src, size, dst))

    def cipher_final(self, handle: int, data: Data = b"") -> bytes:
        """The last piece; ends the operation even when it fails, as OP-TEE does. CTS: at least two blocks."""
        return self._cipher(handle, data, 1)

    def _cipher(self, handle: int, data: Data, last: int) -> bytes:
        src, size = octets(data)
        out, dst = output(size)
        check(lib.tee_task_cipher_update(self._task, handle, last, src, size, dst))
        return bytes(out)

    def ae_init(
        self, handle: int, key: Data, nonce: Data, tag_size: int, aad_size: int = 0, payload_size: int = 0
    ) -> None:
        """aad_size and payload_size: of the whole message; only CCM minds them."""
        check(lib.tee_task_ae_init(self._task, handle, *octets(key), *octets(nonce), tag_size, aad_size, payload_size))

    def ae_update_aad(self, handle: int, aad: Data) -> None:
        check(lib.tee_task_ae_aad(self._task, handle, *octets(aad)))

    def ae_update(self, handle: int, data: Data) -> bytes:
        src, size = octets(data)
        out, dst = output(size)
        check(lib.tee_task_ae_update(self._task, handle, src, size, dst))
        return bytes(out)

    def ae_update_into(self, handle: int, data: Data, out: bytearray | memoryview) -> None:
        """As `ae_update`, to the start of `out`, which may be `data`. SHORT_BUFFER: it does not fit."""
        self._into(data, out, lambda src, size, dst: lib.tee_task_ae_update(self._task, handle, src, size, dst))

    @staticmethod
    def _into(data: Data, out: bytearray | memoryview, call: Callable[[Octets, int, Room], int]) -> None:
        src, size = octets(data)
        dst = writable(out)
        check(results.SHORT_BUFFER if len(dst) < size else call(src, size, dst))

    def ae_enc_final(self, handle: int, data: Data = b"", tag_room: int = 16) -> tuple[bytes, bytes]:
        """Last piece and the tag. SHORT_BUFFER (nothing done) if the tag exceeds `tag_room`."""
        src, size = octets(data)
        out, dst = output(size)
        tag, tag_pointer = output(tag_room)
        tag_size = ffi.new("uint64_t *", tag_room)
        check(lib.tee_task_ae_enc_final(self._task, handle, src, size, dst, tag_pointer, tag_size))
        return bytes(out), bytes(tag[: tag_size[0]])

    def ae_dec_final(self, handle: int, data: Data, tag: Data) -> bytes:
        """Last piece, if `tag` is right; otherwise TeeError(MAC_INVALID)."""
        src, size = octets(data)
        out, dst = output(size)
        check(lib.tee_task_ae_dec_final(self._task, handle, src, size, dst, *octets(tag)))
        return bytes(out)
