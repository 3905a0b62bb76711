"""Crypto and hot system calls in C (`tee._native`, on libcrypto), with types.

Two rooms. `Task` is what one TA instance owns in C: its operation states, cancellation flags, log,
and the handlers that serve hot system calls without Python. `PublicKey` and the functions at the
end are what a TA loader and storage need. Buffers are read in place, never copied. Every length is
in bytes unless "bits" is said.

Semantics of operation states: optee_os 4.5 core/tee/tee_svc_cryp.c and core/crypto/.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple, cast

from tee._native import ffi as _ffi
from tee._native import lib as _lib
from tee.abi import results
from tee.errors import TeeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from south.platform import Cpu
    from tee._native import KeyPointer, Octets, Room, Span, TaskPointer

Data = bytes | bytearray | memoryview
"""What a buffer argument may be; a memoryview must be contiguous."""


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


def _check(rc: int, detail: str = "") -> None:
    if rc:
        raise TeeError(rc, detail)


_check(_lib.tee_native_ready(), "libcrypto >= 3.0 could not be set up")


NO_TASK = cast("TaskPointer", _ffi.NULL)
"""Where C takes a task that there need not be."""


def _in(data: Data) -> Span:
    """(pointer, bytes) of a buffer, in place; it lives as long as the pointer does."""
    pointer = _ffi.from_buffer("uint8_t[]", data)
    return pointer, len(pointer)


def _out(data: bytearray | memoryview) -> Room:
    return _ffi.from_buffer("uint8_t[]", data, require_writable=True)


def _handlers() -> list[tuple[int, int, int]]:
    """(system-call number, address of its handler, argument words it looks at)."""
    room = 32
    numbers, args = _ffi.new("uint32_t[]", room), _ffi.new("uint32_t[]", room)
    addresses = _ffi.new("uintptr_t[]", room)
    count = _lib.tee_native_handlers(numbers, addresses, args, room)
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
        task = _lib.tee_task_new(max_states, log_room, log_rate, log_burst)
        if not task:
            raise TeeError(results.OUT_OF_MEMORY, "no memory for a TA instance's states")
        self._task = _ffi.gc(task, _lib.tee_task_free)
        self.begin: Callable[[], None] = partial(_lib.tee_task_begin, self._task)
        """A call begins: not cancelled, and masked."""
        self.log_waits: Callable[[], int] = partial(_lib.tee_task_log_waits, self._task)
        """Whether `take_log` would give anything; from any thread."""

    # --- what Cpu.bind needs ---------------------------------------------------------------

    @property
    def owner(self) -> int:
        """Address to bind the handlers with."""
        return int(_ffi.cast("uintptr_t", self._task))

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
        _lib.tee_task_serve(self._task, cpu.guest)
        for number, address, args in _HANDLERS:
            cpu.bind(number, address, self.owner, args)

    def close(self) -> None:
        """Free every state and take no more. May be called twice; `cancel` and `take_log` still work."""
        _lib.tee_task_close(self._task)

    # --- cancellation, time, log -----------------------------------------------------------

    def cancel(self) -> None:
        """Set the session's cancellation flag; from any thread."""
        _lib.tee_task_cancel(self._task, 1)

    @property
    def cancelled(self) -> bool:
        """The raw flag, whether masked or not (`get_cancellation_flag` reads false while masked)."""
        return bool(_lib.tee_task_cancelled(self._task))

    @cancelled.setter
    def cancelled(self, on: bool) -> None:
        _lib.tee_task_cancel(self._task, on)

    @property
    def masked(self) -> bool:
        """Whether the session masks cancellation; true in a new session. Set it at each entry."""
        return bool(_lib.tee_task_masked(self._task))

    @masked.setter
    def masked(self, on: bool) -> None:
        _lib.tee_task_mask(self._task, on)

    def set_cancel_deadline(self, monotonic: float | None) -> None:
        """From that `time.monotonic()` on, in seconds, the call counts as cancelled; None: never."""
        _lib.tee_task_set_deadline(self._task, 0 if monotonic is None else max(1, int(monotonic * 1e9)))

    def set_system_clock(self, origin: float | None) -> None:
        """System time is `time.monotonic()` minus `origin` seconds; None: Python answers get_time."""
        _lib.tee_task_set_clock(self._task, origin is not None, int((origin or 0.0) * 1e9))

    def take_log(self) -> LogText:
        """Drain what the TA logged; from any thread."""
        room = bytearray(_lib.tee_task_log_size(self._task))
        dropped = _ffi.new("uint64_t *")
        size = _lib.tee_task_log_take(self._task, _out(room), len(room), dropped)
        return LogText(room[:size].decode("utf-8", "replace"), int(dropped[0]))

    # --- operation states ------------------------------------------------------------------
    # Handles are positive 31-bit integers. An unknown one: BAD_PARAMETERS. A call that is not
    # initialised, or already final: BAD_STATE.

    @property
    def state_count(self) -> int:
        return _lib.tee_task_state_count(self._task)

    def state_alloc(self, algo: int, mode: int) -> int:
        """New state for TEE_ALG_* and TEE_MODE_*; returns its handle.

        Asymmetric and derivation algorithms get a handle too, and no C operation works on it.
        TeeError: NOT_IMPLEMENTED or NOT_SUPPORTED as OP-TEE answers for that class, OUT_OF_MEMORY.
        """
        handle = _ffi.new("uint32_t *")
        _check(_lib.tee_task_alloc(self._task, algo, mode, handle))
        return int(handle[0])

    def state_info(self, handle: int) -> StateInfo:
        out = _ffi.new("uint32_t[5]")
        _check(_lib.tee_task_info(self._task, handle, out))
        return StateInfo(out[0], out[1], out[2], out[3], bool(out[4]))

    def state_copy(self, dst: int, src: int) -> None:
        """Copy `src` at whatever point it is over `dst`; BAD_PARAMETERS unless algorithm and mode agree."""
        _check(_lib.tee_task_copy(self._task, dst, src))

    def state_free(self, handle: int) -> None:
        _check(_lib.tee_task_drop(self._task, handle))

    def state_reset(self, handle: int) -> None:
        """Back to uninitialised, secrets wiped."""
        _check(_lib.tee_task_reset(self._task, handle))

    def hash_init(self, handle: int, key: Data = b"") -> None:
        """Start a digest (key unused) or a MAC with `key`. BAD_PARAMETERS: another class."""
        _check(_lib.tee_task_hash_init(self._task, handle, *_in(key)))

    def hash_update(self, handle: int, data: Data) -> None:
        _check(_lib.tee_task_hash_update(self._task, handle, *_in(data)))

    def hash_final(self, handle: int, data: Data = b"", room: int = 64) -> bytes:
        """Feed `data`, return the digest or MAC. SHORT_BUFFER (nothing done) if it exceeds `room`.

        SHAKE: exactly `room` bytes of output; call again with no data for the bytes that follow.
        """
        out = bytearray(room)
        size = _ffi.new("uint64_t *", room)
        _check(_lib.tee_task_hash_final(self._task, handle, *_in(data), _out(out), size))
        return bytes(out[: size[0]])

    def cipher_init(self, handle: int, key1: Data, key2: Data = b"", iv: Data = b"") -> None:
        """key2: XTS tweak key. iv: one block; ignored by ECB."""
        _check(_lib.tee_task_cipher_init(self._task, handle, *_in(key1), *_in(key2), *_in(iv)))

    def cipher_update(self, handle: int, data: Data) -> bytes:
        """Whole blocks only, except AES-CTR; as many bytes come back."""
        return self._cipher(handle, data, 0)

    def cipher_update_into(self, handle: int, data: Data, out: bytearray | memoryview) -> None:
        """As `cipher_update`, to the start of `out`, which may be `data`. SHORT_BUFFER: it does not fit."""
        self._into(data, out, lambda src, size, dst: _lib.tee_task_cipher_update(self._task, handle, 0, src, size, dst))

    def cipher_final(self, handle: int, data: Data = b"") -> bytes:
        """The last piece; ends the operation even when it fails, as OP-TEE does. CTS: at least two blocks."""
        return self._cipher(handle, data, 1)

    def _cipher(self, handle: int, data: Data, last: int) -> bytes:
        src, size = _in(data)
        out = bytearray(size)
        _check(_lib.tee_task_cipher_update(self._task, handle, last, src, size, _out(out)))
        return bytes(out)

    def ae_init(
        self, handle: int, key: Data, nonce: Data, tag_size: int, aad_size: int = 0, payload_size: int = 0
    ) -> None:
        """aad_size and payload_size: of the whole message; only CCM minds them."""
        _check(_lib.tee_task_ae_init(self._task, handle, *_in(key), *_in(nonce), tag_size, aad_size, payload_size))

    def ae_update_aad(self, handle: int, aad: Data) -> None:
        _check(_lib.tee_task_ae_aad(self._task, handle, *_in(aad)))

    def ae_update(self, handle: int, data: Data) -> bytes:
        src, size = _in(data)
        out = bytearray(size)
        _check(_lib.tee_task_ae_update(self._task, handle, src, size, _out(out)))
        return bytes(out)

    def ae_update_into(self, handle: int, data: Data, out: bytearray | memoryview) -> None:
        """As `ae_update`, to the start of `out`, which may be `data`. SHORT_BUFFER: it does not fit."""
        self._into(data, out, lambda src, size, dst: _lib.tee_task_ae_update(self._task, handle, src, size, dst))

    @staticmethod
    def _into(data: Data, out: bytearray | memoryview, call: Callable[[Octets, int, Room], int]) -> None:
        src, size = _in(data)
        dst = _out(out)
        _check(results.SHORT_BUFFER if len(dst) < size else call(src, size, dst))

    def ae_enc_final(self, handle: int, data: Data = b"", tag_room: int = 16) -> tuple[bytes, bytes]:
        """Last piece and the tag. SHORT_BUFFER (nothing done) if the tag exceeds `tag_room`."""
        src, size = _in(data)
        out, tag = bytearray(size), bytearray(tag_room)
        tag_size = _ffi.new("uint64_t *", tag_room)
        _check(_lib.tee_task_ae_enc_final(self._task, handle, src, size, _out(out), _out(tag), tag_size))
        return bytes(out), bytes(tag[: tag_size[0]])

    def ae_dec_final(self, handle: int, data: Data, tag: Data) -> bytes:
        """Last piece, if `tag` is right; otherwise TeeError(MAC_INVALID)."""
        src, size = _in(data)
        out = bytearray(size)
        _check(_lib.tee_task_ae_dec_final(self._task, handle, src, size, _out(out), *_in(tag)))
        return bytes(out)


class PublicKey:
    """An RSA or NIST-curve public key that checks signatures of TAs."""

    def __init__(self, key: KeyPointer) -> None:
        self._key = key

    @classmethod
    def from_pem(cls, pem: Data) -> PublicKey:
        """From a public or (unencrypted) private key; TeeError(BAD_FORMAT) if it is neither."""
        return cls._own(_lib.tee_key_from_pem(*_in(pem)), "not a PEM key of a kind that signs TAs")

    @classmethod
    def from_rsa(cls, n: Data, e: Data) -> PublicKey:
        """From modulus and public exponent, big-endian; TeeError(BAD_FORMAT) if they make no key."""
        return cls._own(_lib.tee_key_from_rsa(*_in(n), *_in(e)), "not an RSA modulus and exponent")

    @classmethod
    def _own(cls, key: KeyPointer, what: str) -> PublicKey:
        if not key:
            raise TeeError(results.BAD_FORMAT, what)
        return cls(_ffi.gc(key, _lib.tee_key_free))

    @property
    def kind(self) -> str:
        """'rsa' or 'ec'."""
        return "rsa" if _lib.tee_key_kind(self._key) == 1 else "ec"

    @property
    def bits(self) -> int:
        """Size of the modulus or of the curve."""
        return _lib.tee_key_bits(self._key)

    def rsa_numbers(self) -> tuple[bytes, bytes]:
        """(modulus, exponent), big-endian without leading zeros; TeeError(BAD_PARAMETERS) for EC."""
        return self._number(0), self._number(1)

    def _number(self, which: int) -> bytes:
        out = bytearray(2048)
        size = _lib.tee_key_number(self._key, which, _out(out), len(out))
        if size <= 0:
            raise TeeError(results.BAD_PARAMETERS, "not an RSA key")
        return bytes(out[:size])

    def verify(self, algo: int, digest: Data, signature: Data) -> bool:
        """Whether `signature` over `digest` is right under TEE_ALG_RSASSA_* or TEE_ALG_ECDSA_*.

        PSS salt: as long as the digest, same hash in MGF1 (core/crypto/signed_hdr.c). ECDSA: r || s.
        False also for an algorithm that does not fit the key. Which hashes and sizes are too weak
        is the caller's policy.
        """
        return bool(_lib.tee_key_verify(self._key, algo, *_in(digest), *_in(signature)))


def digest(algo: int | str, *data: Data, size: int | None = None) -> bytes:
    """Digest of the concatenation of `data`. algo: TEE_ALG_* or a name like "sha256".

    size: output of SHAKE. TeeError(NOT_SUPPORTED): no such digest.
    """
    number = algo if isinstance(algo, int) else _lib.tee_digest_find(algo.encode())
    ctx = _lib.tee_digest_new(number) if number else None
    if not ctx:
        raise TeeError(results.NOT_SUPPORTED, f"no digest {algo}")
    try:
        for piece in data:
            _check(_lib.tee_digest_update(ctx, *_in(piece)))
        out = bytearray(_lib.tee_digest_size(number) or size or 0)
        _check(_lib.tee_digest_final(ctx, _out(out), len(out)))
    finally:
        _lib.tee_digest_free(ctx)
    return bytes(out)


def hmac_sha256(key: Data, data: Data) -> bytes:
    out = bytearray(32)
    _check(_lib.tee_hmac_sha256(*_in(key), *_in(data), _out(out)))
    return bytes(out)


def gcm_decrypt(key: Data, iv: Data, aad: Data, data: Data, tag: Data) -> bytes | None:
    """AES-GCM plaintext, or None if the tag is wrong. TeeError(BAD_PARAMETERS): impossible sizes."""
    src, size = _in(data)
    out = bytearray(size)
    rc = _lib.tee_gcm_decrypt(*_in(key), *_in(iv), *_in(aad), src, size, _out(out), *_in(tag))
    if rc == results.MAC_INVALID:
        return None
    _check(rc)
    return bytes(out)


def gcm_encrypt(key: Data, iv: Data, aad: Data, data: Data) -> tuple[bytes, bytes]:
    """AES-GCM ciphertext and its tag of 16 bytes. TeeError(BAD_PARAMETERS): impossible sizes."""
    src, size = _in(data)
    out, tag = bytearray(size), bytearray(16)
    _check(_lib.tee_gcm_encrypt(*_in(key), *_in(iv), *_in(aad), src, size, _out(out), _out(tag), len(tag)))
    return bytes(out), bytes(tag)


def cipher(algo: int, encrypt: bool, key: Data, iv: Data, data: Data) -> bytes:
    """A whole message of blocks under a TEE_ALG_* of a cipher; iv: empty for ECB. TeeError(BAD_PARAMETERS)."""
    src, size = _in(data)
    out = bytearray(size)
    _check(_lib.tee_cipher_oneshot(algo, encrypt, *_in(key), *_in(iv), src, size, _out(out)))
    return bytes(out)


class Pbkdf2:
    """A key derived as RFC 8018 §5.2 does, which may be stopped on the way.

    hash_: TEE_ALG_* of a digest; iterations: from 1 to 2^32 - 1; size: octets of the key, at most 2^32 - 1.
    """

    def __init__(self, hash_: int, password: bytes, salt: bytes, iterations: int, size: int) -> None:
        self._how = hash_, _in(password), _in(salt), iterations
        self._out = bytearray(size)
        self._at = _ffi.new("struct tee_pbkdf2 *")

    def run(self, task: Task | None = None) -> bytes:
        """The key, once. CANCEL: the guest of `task` is to stop; another `run` goes on where this one ended.

        TeeError(NOT_SUPPORTED): no such digest.
        """
        pointer = task.pointer if task else NO_TASK
        _check(_lib.tee_pbkdf2(pointer, *self._how, self._at, _out(self._out), len(self._out)))
        return bytes(self._out)


def random(size: int) -> bytes:
    """From libcrypto's CSPRNG, seeded by the host's."""
    out = bytearray(size)
    _check(_lib.tee_random(_out(out), size))
    return bytes(out)
