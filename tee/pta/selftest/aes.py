"""AES over a client's buffers, for measuring (`xtest --aes-perf` on the core instead of on a TA).

Source: optee_os core/pta/tests/aes_perf.c: keys, and what is checked in which order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee.abi import results
from tee.abi.algorithms import Algorithm, Mode
from tee.abi.pta_invoke_tests import AesMode
from tee.crypto.task import Task
from tee.errors import TeeError
from tee.params import Kind
from tee.pta.kinds import expect, memref, value

if TYPE_CHECKING:
    from tee.pta.base import Params

_ALGORITHMS: dict[int, int] = {
    AesMode.ECB: Algorithm.AES_ECB_NOPAD,
    AesMode.CBC: Algorithm.AES_CBC_NOPAD,
    AesMode.CTR: Algorithm.AES_CTR,
    AesMode.XTS: Algorithm.AES_XTS,
    AesMode.GCM: Algorithm.AES_GCM,
}
_KEY = bytes(range(32))
_TWEAK_KEY = bytes(range(32, 64))
_IV = bytes(range(0xA0, 0xB0))
_TAG_SIZE = 16

MOST_UPDATES = 1 << 20
MOST_BYTES = 16 << 30
"""Of one call, which takes some ten seconds then: there is no way to cancel it."""


def aes_perf(params: Params) -> None:
    """value[0].a: decrypt << 16 | key bits, .b: mode; value[1].a: repetitions, .b: bytes of one update; memref[2]
    to memref[3]. What comes out is delivered, once for all repetitions."""
    expect(params, Kind.VALUE_INPUT, Kind.VALUE_INPUT, Kind.MEMREF_INOUT, Kind.MEMREF_INOUT)
    what, how, source, target = value(params, 0), value(params, 1), memref(params, 2), memref(params, 3)
    algorithm = _ALGORITHMS.get(what.b)
    bits = what.a & 0xFFFF
    if algorithm is None or bits % 8 or bits // 8 > len(_KEY) or source.size > target.size:
        raise TeeError(results.BAD_PARAMETERS, "no such mode or key, or too little room for the output")
    repetitions, unit = how.a, how.b
    if not unit:
        raise TeeError(results.BAD_PARAMETERS, "updates of no bytes")  # OP-TEE divides by it
    if repetitions * -(-source.size // unit) > MOST_UPDATES or repetitions * source.size > MOST_BYTES:
        raise TeeError(results.BAD_PARAMETERS, "too much work for one call")
    mode = Mode.DECRYPT if what.a >> 16 else Mode.ENCRYPT
    data = source.read() if source.size else b""
    out = _run(algorithm, mode, bits // 8, data, repetitions, unit)
    if out is not None:
        size = target.size
        target.put(out)
        target.size = size


def _run(algorithm: int, mode: int, key_size: int, data: bytes, repetitions: int, unit: int) -> bytes | None:
    """What the last repetition made of `data`; None if there was none."""
    task = Task(max_states=1)
    try:
        state = task.state_alloc(algorithm, mode)
        key = _KEY[:key_size]
        if algorithm == Algorithm.AES_GCM:
            task.ae_init(state, key, _IV, _TAG_SIZE, 0, len(data))
            update = task.ae_update
        else:
            second = _TWEAK_KEY[:key_size] if algorithm == Algorithm.AES_XTS else b""
            task.cipher_init(state, key, second, b"" if algorithm == Algorithm.AES_ECB_NOPAD else _IV)
            update = task.cipher_update
        view = memoryview(data)
        pieces = [view[at : at + unit] for at in range(0, len(data), unit)]
        out = None
        for _ in range(repetitions if pieces else 0):
            out = b"".join([update(state, piece) for piece in pieces])
        return out
    finally:
        task.close()
