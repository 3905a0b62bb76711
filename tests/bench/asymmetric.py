"""Signatures and agreements by a TA beside OpenSSL's own speed, in turns on the libcrypto that is loaded.

A TA makes the same system call many times in one entry. The floor is the loop of `openssl speed` in C: one context,
and per operation just EVP_PKEY_sign() or EVP_PKEY_derive().
"""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from south.platform import PAGE, Arch
from tee.abi.algorithms import Algorithm, Mode
from tee.abi.attributes import UTEE_ATTRIBUTE, Attr, Curve
from tee.abi.objects import ObjectType
from tee.params import Kind, Memref, Value
from tee.syscalls.crypto import ROWS
from tests.bench.measure import Figure, in_turns
from tests.tas import cryptdrv

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.guest import Bench

N = {row.name: row.number for row in ROWS}
SOURCE, TARGET, ROOM, ATTRIBUTES = 0, 0x100, 0x800, 0x840  # in the scratch memory
FLOOR = Path(__file__).parent / "csrc" / "asymmetric.c"


class Ta:
    """A session with the TA that makes any system call, and its scratch memory."""

    def __init__(self, bench: Bench) -> None:
        opened = bench.world.open_session(cryptdrv.UUIDS[Arch.AARCH64])
        assert not opened.result, opened
        self._bench = bench
        self._session = opened.session
        self._scratch = bench.memory(PAGE)
        assert self._scratch.pages is not None
        self.view = self._scratch.pages.view(0, PAGE)

    def call(self, number: int, *params: Value | Memref) -> None:
        self._bench.call(number, *params, session=self._session)

    def memory(self, data: bytes, kind: Kind = Kind.MEMREF_INPUT) -> Memref:
        ref = self._bench.memory(max(len(data), 1), kind)
        assert ref.pages is not None
        ref.pages.view(0, len(data))[:] = data
        ref.size = len(data)
        return ref

    def key(self, type_: ObjectType, bits: int, *attrs: tuple[int, bytes] | tuple[int, int, int]) -> int:
        made = Value(Kind.VALUE_OUTPUT)
        self.call(N["cryp_obj_alloc"], Value(Kind.VALUE_INPUT, type_, bits), made)
        if type_ != ObjectType.GENERIC_SECRET:
            given = self.memory(cryptdrv.attributes(*attrs))
            self.call(N["cryp_obj_generate_key"], Value(Kind.VALUE_INPUT, made.a, bits), given)
        return made.a

    def operation(self, algo: Algorithm, mode: Mode, key: int) -> int:
        made = Value(Kind.VALUE_OUTPUT)
        self.call(N["cryp_state_alloc"], Value(Kind.VALUE_INPUT, algo, mode), Value(Kind.VALUE_INPUT, key, 0), made)
        return made.a

    def run(self, records: Memref) -> None:
        self.call(cryptdrv.CMD_RAW, records, self._scratch)

    def public(self, key: int, attr: Attr) -> bytes:
        out = self.memory(bytes(64), Kind.MEMREF_OUTPUT)
        self.call(N["cryp_obj_get_attr"], Value(Kind.VALUE_INPUT, key, attr), out)
        assert out.pages is not None
        return bytes(out.pages.view(0, out.size)).rjust(32, b"\0")


class Work(NamedTuple):
    """One figure. number: what the floor calls it; record: the system calls; times: how often in an entry."""

    name: str
    number: int
    record: bytes
    times: int


def _sign(ta: Ta, algo: Algorithm, key: int, room: int) -> bytes:
    ta.view[ROOM : ROOM + 8] = room.to_bytes(8, "little")
    state = ta.operation(algo, Mode.SIGN, key)
    return cryptdrv.raw(N["asymm_operate"], state, 0, 0, SOURCE, 32, TARGET, ROOM, relocate=1 << 3 | 1 << 5 | 1 << 6)


def _derive(ta: Ta) -> bytes:
    curve = (Attr.ECC_CURVE, Curve.NIST_P256, 0)
    own, peer = (ta.key(ObjectType.ECDH_KEYPAIR, 256, curve) for _ in range(2))
    state = ta.operation(Algorithm.ECDH_DERIVE_SHARED_SECRET, Mode.DERIVE, own)
    setup = b""
    for i, attr in enumerate((Attr.ECC_PUBLIC_VALUE_X, Attr.ECC_PUBLIC_VALUE_Y)):
        at, value = ATTRIBUTES + 24 * i, ATTRIBUTES + 0x100 + 32 * i
        ta.view[value : value + 32] = ta.public(peer, attr)
        ta.view[at : at + 24] = UTEE_ATTRIBUTE.pack(0, 32, attr)
        setup += cryptdrv.raw(cryptdrv.RAW_POKE, at, value, relocate=1 << 0 | 1 << 1)
    ta.run(ta.memory(setup, Kind.MEMREF_INOUT))
    target = ta.key(ObjectType.GENERIC_SECRET, 256)
    ta.view[ROOM : ROOM + 8] = (64).to_bytes(8, "little")
    return (
        # TEE_ResetTransientObject(), TEE_DeriveKey() with its look at the target, TEE_GetObjectBufferAttribute()
        cryptdrv.raw(N["cryp_obj_reset"], target)
        + cryptdrv.raw(N["cryp_obj_get_info"], target, TARGET, relocate=1 << 1)
        + cryptdrv.raw(N["cryp_derive_key"], state, ATTRIBUTES, 2, target, relocate=1 << 1)
        + cryptdrv.raw(N["cryp_obj_get_attr"], target, Attr.SECRET_VALUE, TARGET, ROOM, relocate=1 << 2 | 1 << 3)
    )


def asymmetric(bench: Bench) -> Iterator[Figure]:
    ta = Ta(bench)
    rsa = _sign(ta, Algorithm.RSASSA_PKCS1_V1_5_SHA256, ta.key(ObjectType.RSA_KEYPAIR, 2048), 256)
    curve = (Attr.ECC_CURVE, Curve.NIST_P256, 0)
    ec = _sign(ta, Algorithm.ECDSA_SHA256, ta.key(ObjectType.ECDSA_KEYPAIR, 256, curve), ROOM - TARGET)
    works = (
        Work("RSA-2048 PKCS#1 v1.5 signature", 0, rsa, 32),
        Work("ECDSA P-256 signature", 1, ec, 400),
        Work("ECDH P-256 derivation", 2, _derive(ta), 200),
    )
    with tempfile.TemporaryDirectory() as folder:
        floor = _floor(Path(folder))
        for work in works:
            yield _figure(ta, floor, work)


def _floor(folder: Path) -> ctypes.CDLL:
    library = folder / "floor.so"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, FLOOR, "-lcrypto"], check=True)
    return ctypes.CDLL(str(library))


def _figure(ta: Ta, floor: ctypes.CDLL, work: Work) -> Figure:
    assert floor.open_work(work.number) == 1
    records = ta.memory(work.record * work.times, Kind.MEMREF_INOUT)
    ours, bare = in_turns((partial(ta.run, records), 1), (partial(floor.run_work, work.number, work.times), 1))
    assert records.pages is not None
    answers = bytes(records.pages.view(0, records.size))
    assert not any(cryptdrv.raw_result(answers, i) for i in range(len(answers) // len(cryptdrv.raw(0))))
    name = f"{work.name} through a TA, {work.times} in an entry (floor: the loop of `openssl speed`)"
    return Figure(name, "per s", work.times / ours, ">= 0.85 x", work.times / bare)
