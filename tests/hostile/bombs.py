"""TAs that make the host hold, or copy, as much as it will: a bomb for each kind of thing, of calls of cryptdrv.

`python -m tests.hostile.bombs NAME MEMORY` runs one in a process of its own, with TAs limited to MEMORY bytes, and
prints by how many bytes the process's resident memory grew at most, how many calls answered, and with what.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from normal_world.supplicant.services import ServiceOptions, Supplicant
from south.platform import Arch, Prot
from ta_loader import samples
from tee.abi.algorithms import Algorithm, Mode, OperationClass, operation_class
from tee.abi.attributes import Attr, Curve
from tee.abi.objects import TYPES, AttrKind, ObjectType
from tee.abi.pta_system import PTA_SYSTEM_UUID, SystemCommand
from tee.abi.results import SUCCESS
from tee.abi.storage import DataFlag, StorageId
from tee.limits import Limits
from tee.params import Kind, Memref, Value
from tee.services.crypto_states import key_types
from tee.services.crypto_supported import supported
from tee.syscalls.table import TABLE
from tests.hostile.kit import FINE, Driver, RawCall, invoke_from_ta, make_world, open_from_ta
from tests.tas import cryptdrv

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tee.world import SecureWorld

N = {row.name: row.number for row in TABLE.values()}
MANY = 1100
"""More than a TA may have of anything."""
BIG = 48 << 20
"""Bytes of one transfer, of a client's memory."""
CELL, COUNT_AT, ID_AT, WORDS_AT = 0x00, 0x08, 0x20, 0x40
"""In the scratch memory: a word to fill, a length, an object's id, parameters."""
Item = tuple[int, bytes] | tuple[int, int, int]
_LIGHT = (OperationClass.CIPHER, OperationClass.MAC, OperationClass.AE, OperationClass.DIGEST)
_TWO_KEYS = (Algorithm.AES_XTS, Algorithm.SM4_XTS)
_IN = Kind.VALUE_INPUT


class Attacker:
    """A session of cryptdrv. answers: how often each result came."""

    def __init__(self, world: SecureWorld) -> None:
        self.world = world
        self.driver = Driver(world, Arch.AARCH64)
        self.answers: Counter[int] = Counter()
        self.nonce = self.memory(bytes(16))
        self.data = self.memory(bytes(64))
        self.empty = self.memory(b"")
        self.big = self.memory(BIG, Kind.MEMREF_INOUT)

    def memory(self, data: bytes | int, kind: Kind = Kind.MEMREF_INPUT) -> Memref:
        """A client's, and resident from now on."""
        size = data if isinstance(data, int) else len(data)
        pages = self.world.platform.pages.shared(max(size, 1))
        pages.view(0, size)[:] = bytes(size) if isinstance(data, int) else data
        return Memref(kind, pages, size)

    def call(self, name: str, *params: Value | Memref) -> int:
        """By cryptdrv's own command."""
        outcome = self.world.invoke(self.driver.session, N[name], list(params))
        assert outcome.origin == FINE.origin, (name, outcome)
        self.answers[outcome.result] += 1
        return outcome.result

    def raw(self, calls: Sequence[RawCall], scratch: Memref | None = None) -> None:
        """scratch: memory that they may name by offsets, in place of the driver's."""
        for at in range(0, len(calls), 256):
            outcome, answers = self.driver.batch(calls[at : at + 256], scratch)
            assert outcome == FINE, outcome
            self.answers.update(answers)

    def object(self, type_: int, bits: int, *attrs: Item) -> int:
        """Its handle; 0: refused."""
        cell = Value(Kind.VALUE_OUTPUT)
        if self.call("cryp_obj_alloc", Value(_IN, type_, bits), cell):
            return 0
        if attrs:
            assert not self.call("cryp_obj_populate", Value(_IN, cell.a), self.memory(cryptdrv.attributes(*attrs)))
        return cell.a

    def operation(self, algo: int, mode: int, *keys: int) -> int:
        """As `object`."""
        cell = Value(Kind.VALUE_OUTPUT)
        two = (*keys, 0, 0)[:2]
        refused = 0 in keys or self.call("cryp_state_alloc", Value(_IN, algo, mode), Value(_IN, *two), cell)
        return 0 if refused else cell.a


def _big(name: str, *words: int, at: Sequence[int] = ()) -> RawCall:
    """at: which words are offsets into the scratch memory."""
    return RawCall(N[name], words, frozenset(at))


def _longest(type_: ObjectType) -> list[Item]:
    """Attributes as long as the type takes them."""
    fixed = {AttrKind.CURVE25519: 32, AttrKind.CURVE448: 56}
    out: list[Item] = []
    for attr in TYPES[type_].attrs:
        if attr.kind is AttrKind.VALUE:
            out.append((attr.attr, Curve.NIST_P521 if attr.attr == Attr.ECC_CURVE else 0, 0))
        else:
            most = TYPES[type_].alloc if attr.kind is AttrKind.SECRET else TYPES[type_].max_bits // 8
            out.append((attr.attr, b"\x7f" * fixed.get(attr.kind, most)))
    return [item for item in out if item[0] != Attr.DH_X_BITS]


def objects(ta: Attacker) -> None:
    """Of each type, as many as there may be, with the longest attributes."""
    for type_ in map(ObjectType, TYPES):
        bits = 168 if type_ == ObjectType.DES3 else 56 if type_ == ObjectType.DES else TYPES[type_].max_bits
        template = ta.object(type_, bits, *_longest(type_))
        while (own := ta.object(type_, bits)) and own < MANY:
            ta.call("cryp_obj_copy", Value(_IN, own, template))
        ta.driver.reopen()


def _keys(ta: Attacker, algo: int, mode: int) -> list[int]:
    """For a symmetric operation."""
    types = key_types(algo, mode)
    if not types:
        return []
    (type_,) = types
    bits = {ObjectType.DES3: 168, ObjectType.DES: 56}.get(ObjectType(type_), TYPES[type_].max_bits)
    octets = TYPES[type_].alloc
    keys = [bytes([first]) + bytes(range(1, octets)) for first in range(1 + (algo in _TWO_KEYS))]
    return [ta.object(type_, bits, (Attr.SECRET_VALUE, key)) for key in keys]


def operations(ta: Attacker) -> None:
    """Symmetric ones, each in use."""
    modes = {OperationClass.DIGEST: Mode.DIGEST, OperationClass.MAC: Mode.MAC}
    for algo in (s.algorithm for s in supported() if s.served and operation_class(s.algorithm) in _LIGHT):
        class_ = OperationClass(operation_class(algo))
        mode = modes.get(class_, Mode.ENCRYPT)
        for _ in range(MANY):
            state = ta.operation(algo, mode, *_keys(ta, algo, mode))
            if not state:
                break
            handle = Value(_IN, state)
            if class_ in modes:
                ta.call("hash_init", handle, ta.nonce)
                ta.call("hash_update", handle, ta.data)
            elif class_ == OperationClass.CIPHER:
                ta.call("cipher_init", handle, ta.nonce)
            else:
                sizes = Value(_IN, 0, 64)
                ta.call("authenc_init", Value(_IN, state, 16), Memref(Kind.MEMREF_INPUT, ta.nonce.pages, 12), sizes)
        ta.driver.reopen()


def extraction(ta: Attacker) -> None:
    """States of SHAKE, each of which gave much output, and goes on."""
    some = Memref(Kind.MEMREF_OUTPUT, ta.big.pages, 1 << 16)
    for _ in range(MANY):
        state = ta.operation(Algorithm.SHAKE128, Mode.DIGEST)
        if not state:
            break
        ta.call("hash_init", Value(_IN, state), ta.nonce)
        ta.call("hash_update", Value(_IN, state), ta.data)
        for _ in range(2):
            ta.call("hash_final", Value(_IN, state), ta.empty, some)


def _octets(number: int, size: int | None = None) -> bytes:
    return number.to_bytes(size or (number.bit_length() + 7) // 8, "big")


def _rsa_pair() -> list[Item]:
    key = rsa.generate_private_key(65537, 4096).private_numbers()
    public = key.public_numbers
    numbers = (public.n, public.e, key.d, key.p, key.q, key.dmp1, key.dmq1, key.iqmp)
    names = [attr.attr for attr in TYPES[ObjectType.RSA_KEYPAIR].attrs]
    return [(name, _octets(number)) for name, number in zip(names, numbers, strict=True)]


def keys(ta: Attacker) -> None:
    """Asymmetric operations: what libcrypto makes of a key stays with each."""
    curve = ec.generate_private_key(ec.SECP521R1()).private_numbers()
    x, y = curve.public_numbers.x, curve.public_numbers.y
    point: list[Item] = [(Attr.ECC_PUBLIC_VALUE_X, _octets(x, 66)), (Attr.ECC_PUBLIC_VALUE_Y, _octets(y, 66))]
    pair: list[Item] = [(Attr.ECC_PRIVATE_VALUE, _octets(curve.private_value, 66)), *point, (Attr.ECC_CURVE, 5, 0)]
    digest, none = ta.data, ta.empty
    pss = Algorithm.RSASSA_PKCS1_PSS_MGF1_SHA512
    for algo, mode, type_, bits, attrs in (
        (pss, Mode.SIGN, ObjectType.RSA_KEYPAIR, 4096, _rsa_pair()),
        (pss, Mode.VERIFY, ObjectType.RSA_KEYPAIR, 4096, _rsa_pair()),
        (Algorithm.ECDSA_SHA512, Mode.SIGN, ObjectType.ECDSA_KEYPAIR, 521, pair),
        (Algorithm.ECDSA_SHA512, Mode.VERIFY, ObjectType.ECDSA_KEYPAIR, 521, pair),
        (Algorithm.ECDH_DERIVE_SHARED_SECRET, Mode.DERIVE, ObjectType.ECDH_KEYPAIR, 521, pair),
    ):
        template, target = ta.object(type_, bits, *attrs), ta.object(ObjectType.GENERIC_SECRET, 4096)
        for _ in range(MANY):
            key = ta.object(type_, bits)
            if not key or ta.call("cryp_obj_copy", Value(_IN, key, template)):
                break
            state = ta.operation(algo, mode, key)
            if not state:
                break
            handle = Value(_IN, state)
            if mode == Mode.SIGN:
                ta.call("asymm_operate", handle, none, digest, Memref(Kind.MEMREF_OUTPUT, ta.big.pages, 4096))
            elif mode == Mode.VERIFY:
                size = 512 if algo == pss else 132
                ta.call("asymm_verify", handle, none, digest, Memref(Kind.MEMREF_INPUT, ta.big.pages, size))
            else:
                ta.call("cryp_derive_key", Value(_IN, state, target), ta.memory(cryptdrv.attributes(*point)))
        ta.driver.reopen()


def _id(ta: Attacker, number: int) -> None:
    ta.driver.put(ID_AT, number.to_bytes(8, "big"))


_RIGHTS = (DataFlag.ACCESS_READ | DataFlag.ACCESS_WRITE | DataFlag.ACCESS_WRITE_META
           | DataFlag.SHARE_READ | DataFlag.SHARE_WRITE)  # fmt: skip


def _private_id(ta: Attacker) -> int:
    """Address of eight bytes of the TA's own: its stack's last, which nothing uses."""
    (stack,) = (region for region in ta.driver.instance.space if region.name == "stack" and region.size > 8192)
    return stack.va


def persistent(ta: Attacker) -> None:
    """Objects open, and enumerators in use."""
    at = _private_id(ta)
    for number in range(MANY):
        ta.driver.instance.space.write(at, number.to_bytes(8, "big"))
        ta.raw([RawCall(N["storage_obj_create"], (StorageId.PRIVATE, at, 8, _RIGHTS, 0, 0, 0, CELL), frozenset({7}))])
    ta.raw([RawCall(N["storage_alloc_enum"], (CELL,), frozenset({0}))] * MANY)
    ta.raw([RawCall(N["storage_start_enum"], (handle, StorageId.PRIVATE)) for handle in range(1, MANY)])


def transfers(ta: Attacker) -> None:
    """Calls with much data each, of those that Python answers; `big` begins with what they point at."""
    at = _private_id(ta)
    ta.driver.instance.space.write(at, bytes(8))
    data, size = 4096, BIG - 4096
    key = ta.object(ObjectType.AES, 256, (Attr.SECRET_VALUE, bytes(32)))
    shake, gcm = ta.operation(Algorithm.SHAKE256, Mode.DIGEST), ta.operation(Algorithm.AES_GCM, Mode.DECRYPT, key)
    signing = ta.object(ObjectType.ED25519_KEYPAIR, 256)
    assert not ta.call("cryp_obj_generate_key", Value(_IN, signing, 256), ta.empty)
    signature = ta.operation(Algorithm.ED25519, Mode.SIGN, signing)
    assert ta.big.pages is not None
    ta.big.pages.view(COUNT_AT, 8)[:] = size.to_bytes(8, "little")
    ta.call("hash_init", Value(_IN, shake), ta.nonce)
    nonce = Memref(Kind.MEMREF_INPUT, ta.nonce.pages, 12)
    ta.call("authenc_init", Value(_IN, gcm, 16), nonce, Value(_IN, 0, size))
    ta.raw(
        [
            _big("storage_obj_create", StorageId.PRIVATE, at, 8, _RIGHTS, 0, data, size, CELL, at=(5, 7)),
            _big("storage_obj_write", 3, data, size, at=(1,)),
            _big("storage_obj_seek", 3, 0, 0),
            _big("storage_obj_read", 3, data, size, COUNT_AT, at=(1, 3)),
            RawCall(cryptdrv.RAW_POKE, (COUNT_AT, size), frozenset({0})),
            _big("hash_final", shake, data, size, data, COUNT_AT, at=(1, 3, 4)),
            _big("authenc_dec_final", gcm, data, size, data, COUNT_AT, data, 16, at=(1, 3, 4, 5)),
            _big("asymm_operate", signature, 0, 0, data, size, data, COUNT_AT, at=(3, 5, 6)),
            _big("cryp_random_number_generate", data, size, at=(0,)),
        ],
        ta.big,
    )


def pieces(ta: Attacker) -> None:
    """The same of memory that is not one piece for the host, which C leaves to Python: half of what the TA may have."""
    space = ta.driver.instance.space
    half = ta.world.limits.memory // 3 & -4096
    va = space.reserve(2 * half)
    for part in (va, va + half):
        space.map(half, Prot.RW, name="half", at=part)
        space.map(4096, Prot.RW, name="between")
    size = 2 * half
    keys = [ta.object(ObjectType.AES, 256, (Attr.SECRET_VALUE, bytes(32))) for _ in range(2)]
    cbc, gcm = ta.operation(Algorithm.AES_CBC_NOPAD, 0, keys[0]), ta.operation(Algorithm.AES_GCM, 0, keys[1])
    digest = ta.operation(Algorithm.SHA256, Mode.DIGEST)
    ta.call("hash_init", Value(_IN, digest), ta.nonce)
    ta.call("cipher_init", Value(_IN, cbc), ta.nonce)
    nonce = Memref(Kind.MEMREF_INPUT, ta.nonce.pages, 12)
    ta.call("authenc_init", Value(_IN, gcm, 16), nonce, Value(_IN, 0, size))
    room = RawCall(cryptdrv.RAW_POKE, (COUNT_AT, size), frozenset({0}))
    ta.raw(
        [
            _big("hash_update", digest, va, size),
            room,
            _big("cipher_update", cbc, va, size, va, COUNT_AT, at=(4,)),
            _big("authenc_update_aad", gcm, va, size),
            room,
            _big("authenc_update_payload", gcm, va, size, va, COUNT_AT, at=(4,)),
            room,
            RawCall(cryptdrv.RAW_POKE, (CELL, 16), frozenset({0})),
            _big("authenc_enc_final", gcm, va, size, va, COUNT_AT, 0x400, CELL, at=(4, 5, 6)),
            RawCall(cryptdrv.RAW_POKE, (COUNT_AT, 64), frozenset({0})),
            _big("hash_final", digest, va, size, 0x400, COUNT_AT, at=(3, 4)),
        ]
    )


def mappings(ta: Attacker) -> None:
    """Memory of the TA's own, page by page, given back, and in one piece."""
    result, session = open_from_ta(ta.driver, PTA_SYSTEM_UUID)
    assert result == SUCCESS
    types = Kind.VALUE_INPUT | Kind.VALUE_INOUT << 4 | Kind.VALUE_INPUT << 8
    while not invoke_from_ta(ta.driver, session, SystemCommand.MAP_ZI, types, 4096, 0):
        ta.answers[0] += 1


def sessions(ta: Attacker) -> None:
    """With a pseudo TA, and with TAs that each have an instance of their own."""
    for uuid in (PTA_SYSTEM_UUID, samples.HELLO[Arch.AARCH64], cryptdrv.UUIDS[Arch.ARM]):
        for _ in range(MANY):
            result, _session = open_from_ta(ta.driver, uuid)
            ta.answers[result] += 1
            if result:
                break
        ta.driver.reopen()


def log(ta: Attacker) -> None:
    ta.raw([RawCall(N["log"], (0, 1024), frozenset({0}))] * 100_000)


def churn(ta: Attacker) -> None:
    """Made and given back, over and over."""
    for _ in range(10):
        ta.raw([
            RawCall(N["cryp_obj_alloc"], (ObjectType.RSA_KEYPAIR, 4096, CELL), frozenset({2})),
            RawCall(N["cryp_state_alloc"], (Algorithm.SHA512, Mode.DIGEST, 0, 0, CELL), frozenset({4})),
        ] * 128)  # fmt: skip
        ta.driver.reopen()


BOMBS: dict[str, Callable[[Attacker], None]] = {
    bomb.__name__: bomb
    for bomb in (objects, operations, extraction, keys, persistent, transfers, pieces, mappings, sessions, log, churn)
}


def _status(name: str) -> int:
    """Bytes."""
    with open("/proc/self/status") as lines:
        (line,) = (line for line in lines if line.startswith(name + ":"))
    return int(line.split()[1]) << 10


def main(name: str, memory: int) -> None:
    with tempfile.TemporaryDirectory() as state:
        services = Supplicant(ServiceOptions(state=state))
        with make_world(state, limits=Limits(memory=memory), normal=services) as world:
            ta = Attacker(world)
            ta.operation(Algorithm.SHA256, Mode.DIGEST)
            ta.driver.reopen()
            with open("/proc/self/clear_refs", "w") as peak:
                peak.write("5")
            before = _status("VmRSS")
            BOMBS[name](ta)
            print(json.dumps([_status("VmHWM") - before, sum(ta.answers.values()), dict(ta.answers)]))
        services.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
