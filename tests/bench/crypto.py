"""AES-GCM through a TA's TEE_AEUpdate beside OpenSSL's own speed on the same memory.

The floor is the loop of `openssl speed -evp aes-128-gcm`, on the very libcrypto that is loaded, in turns with the TA's
calls: pyca's wheels bring a library of their own, and a run of the tool at another moment sees another machine.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from south.platform import PAGE, Arch
from tee.abi.algorithms import Algorithm, Mode
from tee.abi.attributes import Attr
from tee.abi.objects import ObjectType
from tee.params import Kind, Memref, Value
from tests.bench.measure import Figure, in_turns
from tests.tas import cryptdrv

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.bench.guest import Bench

MIB = 1 << 20
UPDATES = 8
STATE_ALLOC, OBJ_ALLOC, OBJ_POPULATE, AE_INIT, AE_UPDATE = 15, 27, 30, 34, 36  # system calls; cryptdrv's commands


def gcm(bench: Bench) -> Iterator[Figure]:
    opened = bench.world.open_session(cryptdrv.UUIDS[Arch.AARCH64])
    assert not opened.result, opened
    session = opened.session
    made, state = Value(Kind.VALUE_OUTPUT), Value(Kind.VALUE_OUTPUT)
    bench.call(OBJ_ALLOC, Value(Kind.VALUE_INPUT, ObjectType.AES, 128), made, session=session)
    bench.call(OBJ_POPULATE, Value(Kind.VALUE_INPUT, made.a), _bytes(bench, cryptdrv.attributes((Attr.SECRET_VALUE, bytes(16)))), session=session)  # fmt: skip  # noqa: E501
    bench.call(STATE_ALLOC, Value(Kind.VALUE_INPUT, Algorithm.AES_GCM, Mode.ENCRYPT), Value(Kind.VALUE_INPUT, made.a, 0), state, session=session)  # fmt: skip  # noqa: E501
    bench.call(AE_INIT, Value(Kind.VALUE_INPUT, state.a, 16), _bytes(bench, bytes(12)), Value(Kind.VALUE_INPUT, 0, 0), session=session)  # fmt: skip  # noqa: E501
    # In place, as `openssl speed` does it.
    source = bench.memory(MIB, Kind.MEMREF_INPUT)
    target = Memref(Kind.MEMREF_OUTPUT, source.pages, MIB)
    handle = Value(Kind.VALUE_INPUT, state.a)

    def update() -> None:
        target.size = MIB
        bench.world.invoke(session, AE_UPDATE, (handle, source, target))

    # The same by a TA that makes several updates in one call. After the data: where the TA finds its room.
    records = _bytes(
        bench, cryptdrv.raw(AE_UPDATE, state.a, 0, MIB, 0, MIB, relocate=1 << 1 | 1 << 3 | 1 << 4) * UPDATES
    )
    records.kind = Kind.MEMREF_INOUT
    data = bench.memory(MIB + PAGE)
    assert source.pages is not None
    assert records.pages is not None
    assert data.pages is not None
    data.pages.view(MIB, 8)[:] = MIB.to_bytes(8, "little")

    def updates() -> None:
        bench.world.invoke(session, cryptdrv.CMD_RAW, (records, data))

    once, several, own = in_turns((update, 8), (updates, 2), (_openssl(source.pages.runs[0][0]), 8))
    assert cryptdrv.raw_result(bytes(records.pages.view(0, records.size)), UPDATES - 1) == 0
    name = "AES-128-GCM 1 MiB in place, a call of a TA for each (floor: EVP_EncryptUpdate alone)"
    yield Figure(name, "MiB/s", 1 / once, ">= 0.9 x", 1 / own)
    name = f"the same, {UPDATES} times TEE_AEUpdate in one call"
    yield Figure(name, "MiB/s", UPDATES / several, ">= 0.9 x", 1 / own)


def _openssl(address: int) -> Callable[[], object]:
    """Encrypts a MiB at `address` with the libcrypto in use."""
    with open("/proc/self/maps") as maps:
        path = next(line.split()[-1] for line in maps if "/libcrypto.so" in line)
    lib = ctypes.CDLL(path)
    pointer = ctypes.c_void_p
    lib.EVP_CIPHER_CTX_new.restype = lib.EVP_aes_128_gcm.restype = pointer
    lib.EVP_EncryptInit_ex.argtypes = [pointer, pointer, pointer, ctypes.c_char_p, ctypes.c_char_p]
    lib.EVP_EncryptUpdate.argtypes = [pointer, pointer, ctypes.POINTER(ctypes.c_int), pointer, ctypes.c_int]
    context = lib.EVP_CIPHER_CTX_new()
    assert lib.EVP_EncryptInit_ex(context, lib.EVP_aes_128_gcm(), None, bytes(16), bytes(12)) == 1
    done = ctypes.c_int()
    return lambda: lib.EVP_EncryptUpdate(context, address, ctypes.byref(done), address, MIB)


def _bytes(bench: Bench, data: bytes) -> Memref:
    ref = bench.memory(max(len(data), 1), Kind.MEMREF_INPUT)
    assert ref.pages is not None
    ref.pages.view(0, len(data))[:] = data
    ref.size = len(data)
    return ref
