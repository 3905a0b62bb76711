"""Attestation PTA: what it signs, that anybody can check it, and where its key stays."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tee.abi import results
from tee.abi.results import Result
from tee.errors import TeeError
from tee.params import Kind, Value
from tee.pta.attestation import AttestationPta, hash_regions
from tee.pta.attestation_key import AttestationKey
from tee.pta.measure import core_digest
from tests.tee.pta_kit import FakeCaller, Memory, memref, value

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tee.params import BaseMemref

GET_PUBKEY, TA_SHDR, TA_MEMORY, TEE_MEMORY = range(4)
PSS_SHA256 = 0x70414930
TA = UUID("00010203-0405-0607-0809-0a0b0c0d0e0f")
DIGEST = hashlib.sha256(b"a TA").digest()
NONCE = b"\xa0\x98\x76\x54\x32\x10"
SIZE = 32 + 384
OUT, IN = Kind.MEMREF_OUTPUT, Kind.MEMREF_INPUT


class Store:
    """`tee.pta.ports.KeyStore`. error: what saving ends with."""

    def __init__(self, kept: bytes | None = None, error: TeeError | None = None) -> None:
        self.kept = kept
        self.error = error

    def load(self) -> bytes | None:
        return self.kept

    def save(self, key: bytes) -> None:
        if self.error is not None:
            raise self.error
        self.kept = key


def digest(uuid: UUID) -> bytes:
    if uuid != TA:
        raise TeeError(results.ITEM_NOT_FOUND)
    return DIGEST


@pytest.fixture(scope="module")
def pta() -> AttestationPta:
    return AttestationPta(digest)


def result(pta: AttestationPta, command: int, *params: Value | BaseMemref, caller: FakeCaller | None = None) -> Result:
    try:
        pta.invoke(None, command, (*params, *[None] * (4 - len(params))), caller)
    except TeeError as error:
        return error.result
    return results.SUCCESS


def public_key(pta: AttestationPta) -> rsa.RSAPublicKey:
    e, n, algorithm = Memory(bytes(3)), Memory(bytes(512)), value(Kind.VALUE_OUTPUT)
    exponent, modulus = e.memref(OUT), n.memref(OUT)
    assert result(pta, GET_PUBKEY, exponent, modulus, algorithm) == results.SUCCESS
    assert (exponent.size, modulus.size, algorithm.a) == (3, 384, PSS_SHA256)
    number = int.from_bytes(n.data[: modulus.size], "big")
    return rsa.RSAPublicNumbers(int.from_bytes(e.data, "big"), number).public_key()


def checked(pta: AttestationPta, command: int, *before: BaseMemref, caller: FakeCaller | None = None) -> bytes:
    """The digest that a command attests, its signature checked with the published key."""
    out = Memory(bytes(SIZE + 20))
    there = out.memref(OUT)
    assert result(pta, command, *before, memref(IN, NONCE), there, caller=caller) == results.SUCCESS
    assert there.size == SIZE
    measured, signature = bytes(out.data[:32]), bytes(out.data[32:SIZE])
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    public_key(pta).verify(signature, NONCE + measured, pss, hashes.SHA256())
    with pytest.raises(InvalidSignature):
        public_key(pta).verify(signature, b"another nonce" + measured, pss, hashes.SHA256())
    return measured


def test_a_header_s_digest(pta: AttestationPta) -> None:
    assert checked(pta, TA_SHDR, memref(IN, TA.bytes_le)) == DIGEST


def test_unknown_ta(pta: AttestationPta) -> None:
    out = memref(OUT, bytes(SIZE))
    assert result(pta, TA_SHDR, memref(IN, bytes(16)), memref(IN, NONCE), out) == results.ITEM_NOT_FOUND


def test_memory_of_the_ta_that_asks(pta: AttestationPta) -> None:
    caller = FakeCaller(TA)
    caller.pieces = [b"bb", b"ccc", b"a", b"ab"]
    want = hashlib.sha256(b"a" + b"ab" + b"bb" + b"ccc").digest()
    assert checked(pta, TA_MEMORY, caller=caller) == want
    caller.pieces.reverse()
    assert checked(pta, TA_MEMORY, caller=caller) == want == hash_regions(caller.pieces)
    caller.pieces[0] = b"aa"
    assert checked(pta, TA_MEMORY, caller=caller) != want


def test_the_normal_world_has_no_memory_to_measure(pta: AttestationPta) -> None:
    out = memref(OUT, bytes(SIZE))
    assert result(pta, TA_MEMORY, memref(IN, NONCE), out) == results.ACCESS_DENIED
    assert out.size == SIZE


def test_memory_of_the_core(pta: AttestationPta) -> None:
    assert checked(pta, TEE_MEMORY) == core_digest()


def test_the_core_s_digest_is_of_every_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "measured_package"
    (package / "inner").mkdir(parents=True)
    for name in ("__init__.py", "inner/__init__.py", "inner/code.py", "inner/fast.abi3.so", "notes.txt"):
        (package / name).write_bytes(b"")
    monkeypatch.syspath_prepend(str(tmp_path))
    seen = {core_digest(("measured_package",))}
    (package / "notes.txt").write_text("no code")
    assert core_digest(("measured_package",)) in seen

    def changed() -> bool:
        now = core_digest(("measured_package",))
        new = now not in seen
        seen.add(now)
        return new

    steps: list[Callable[[], object]] = [
        lambda: (package / "inner/code.py").write_text("x = 1\n"),
        lambda: (package / "inner/fast.abi3.so").write_bytes(b"\x7fELF"),
        lambda: (package / "inner/code.py").rename(package / "inner/other.py"),
        lambda: (package / "inner/other.py").unlink(),
    ]
    for step in steps:
        step()
        assert changed()


def test_a_core_that_cannot_be_read_has_no_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "unreadable_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "gone.py").symlink_to("nowhere")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(TeeError, match="GENERIC"):
        core_digest(("unreadable_package",))


@pytest.mark.parametrize("command", [TA_SHDR, TA_MEMORY, TEE_MEMORY])
def test_sizes(pta: AttestationPta, command: int) -> None:
    caller = FakeCaller(TA)
    before = [memref(IN, TA.bytes_le)] if command == TA_SHDR else []
    for room in (0, 31, SIZE - 1):
        out = Memory(b"\xee" * room)
        there = out.memref(OUT, null=not room)
        assert result(pta, command, *before, memref(IN, NONCE), there, caller=caller) == results.SHORT_BUFFER
        assert there.size == SIZE
        assert bytes(out.data) == b"\xee" * room
    for nonce in (memref(IN), memref(IN, null=True)):
        refused = result(pta, command, *before, nonce, memref(OUT, bytes(SIZE)), caller=caller)
        assert refused == results.BAD_PARAMETERS
    null = Memory().memref(OUT, null=True, size=SIZE)
    assert result(pta, command, *before, memref(IN, NONCE), null, caller=caller) == results.BAD_PARAMETERS
    assert result(pta, command, *before, memref(IN, NONCE), caller=caller) == results.BAD_PARAMETERS
    wrong = memref(Kind.MEMREF_INOUT, bytes(SIZE))
    assert result(pta, command, *before, memref(IN, NONCE), wrong, caller=caller) == results.BAD_PARAMETERS


def test_uuid_of_another_size(pta: AttestationPta) -> None:
    for size in (0, 15, 17):
        out = memref(OUT, bytes(SIZE))
        assert result(pta, TA_SHDR, memref(IN, bytes(size)), memref(IN, NONCE), out) == results.BAD_PARAMETERS


def test_public_key_sizes(pta: AttestationPta) -> None:
    exponent, modulus = memref(OUT, bytes(2)), memref(OUT, bytes(383))
    assert result(pta, GET_PUBKEY, exponent, modulus, value(Kind.VALUE_OUTPUT)) == results.SHORT_BUFFER
    assert (exponent.size, modulus.size) == (3, 384)
    exponent = memref(OUT, bytes(3))
    assert result(pta, GET_PUBKEY, exponent, memref(OUT), value(Kind.VALUE_OUTPUT)) == results.SHORT_BUFFER
    assert result(pta, GET_PUBKEY, memref(OUT, bytes(3)), memref(OUT, bytes(512))) == results.BAD_PARAMETERS


def test_unknown_command(pta: AttestationPta) -> None:
    assert result(pta, 4) == results.BAD_PARAMETERS


# --- the key


def test_the_key_is_made_once_and_kept() -> None:
    store = Store()
    first = AttestationPta(digest, store)
    assert store.kept is None
    made = public_key(first)
    assert public_key(first) == made
    assert public_key(AttestationPta(digest, store)) == made
    assert public_key(AttestationPta(digest, Store())) != made


def test_a_key_that_cannot_be_kept_is_not_used() -> None:
    pta = AttestationPta(digest, Store(error=TeeError(results.STORAGE_NO_SPACE)))
    for _ in range(2):
        params = (memref(OUT, bytes(3)), memref(OUT, bytes(512)), value(Kind.VALUE_OUTPUT))
        assert result(pta, GET_PUBKEY, *params) == results.STORAGE_NO_SPACE


def test_the_form_in_which_op_tee_keeps_it() -> None:
    """Three numbers after their sizes; OP-TEE's file is padded with zeros."""
    pair = rsa.generate_private_key(65537, 2048)
    numbers = pair.private_numbers()
    d, n = numbers.d.to_bytes((numbers.d.bit_length() + 7) // 8, "big"), numbers.public_numbers.n.to_bytes(256, "big")
    kept = b"\0\3\1\0\1" + len(d).to_bytes(2, "big") + d + b"\1\0" + n
    key = AttestationKey.parse(kept + bytes(500))
    assert key.serialize() == kept
    assert (key.exponent, key.modulus) == (b"\1\0\1", n)
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    pair.public_key().verify(key.sign(DIGEST), b"a TA", pss, hashes.SHA256())


@pytest.mark.parametrize("place", [0, 1, 4, 6, 8, 40, -1])
def test_a_damaged_key_is_no_key(place: int) -> None:
    kept = bytearray(AttestationKey.generate(2048).serialize())
    kept[place] ^= 0x55
    pta = AttestationPta(digest, Store(bytes(kept)))
    params = (memref(OUT, bytes(3)), memref(OUT, bytes(512)), value(Kind.VALUE_OUTPUT))
    assert result(pta, GET_PUBKEY, *params) == results.CORRUPT_OBJECT


def test_a_short_key_is_no_key() -> None:
    kept = AttestationKey.generate(2048).serialize()
    for size in (0, 1, 4, 5, len(kept) - 1):
        with pytest.raises(TeeError, match="CORRUPT_OBJECT"):
            AttestationKey.parse(kept[:size])
