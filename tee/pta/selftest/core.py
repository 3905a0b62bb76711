"""Self tests of what the core computes: words, parameters, names, times and cryptography.

They stand where OP-TEE tests its overflow macros and its division (core/pta/tests/misc.c).
"""

from __future__ import annotations

from uuid import UUID

from north.memory import page_up
from south.platform import PAGE
from tee.abi import results
from tee.abi.algorithms import Algorithm, Mode
from tee.abi.time import TIME_RANGE
from tee.abi.uuids import tee_uuid_bytes, uuid_from_octets, uuid_from_tee, uuid_octets
from tee.crash import crash_lines
from tee.crypto import oneshot
from tee.crypto.huk import huk_subkey
from tee.crypto.task import Task
from tee.errors import TeeError
from tee.mapping import PARAMS, UTEE_PARAMS, kinds
from tee.params import Kind, TaMemref, Value
from tee.pta import kinds as pta_kinds
from tee.pta.selftest.kit import check, refuses
from tee.records import Crash
from tee.services.time import TaTimes

_UUID = UUID("00112233-4455-6677-8899-aabbccddeeff")


def words() -> None:
    """64-bit numbers cross in two words, and page sizes round up."""
    for number in (0, 1, 0xFFFFFFFF, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1):
        pair = Value(Kind.VALUE_INOUT)
        pta_kinds.set_pair(pair, number)
        check((pair.a, pair.b) == (number >> 32, number & 0xFFFFFFFF), f"{number:#x} splits into its two words")
        check(pta_kinds.pair(pair) == number, f"{number:#x} survives two words")
    pair = Value(Kind.VALUE_INOUT)
    pta_kinds.set_pair(pair, -1)
    check((pair.a, pair.b) == (0xFFFFFFFF, 0xFFFFFFFF), "a negative number becomes its two's complement")
    for size, want in ((0, 0), (1, PAGE), (PAGE, PAGE), (PAGE + 1, 2 * PAGE), ((1 << 32) - 1, 1 << 32)):
        check(page_up(size) == want, f"{size} bytes are {want} in whole pages")


class _Caller:
    """Memory of a TA: four bytes at address 1."""

    def __init__(self) -> None:
        self.stored = bytearray(4)

    def copy_in(self, va: int, size: int) -> bytes:
        return bytes(self.stored[va - 1 : va - 1 + size])

    def copy_out(self, va: int, data: bytes) -> None:
        self.stored[va - 1 : va - 1 + len(data)] = data


def parameters() -> None:
    """Types are told apart, and a PTA neither overruns a buffer nor takes types that are not its command's."""
    check(UTEE_PARAMS.size == 8 * (1 + 2 * PARAMS), "struct utee_params has nine 64-bit words")
    check(kinds(0x7651) == (1, 5, 6, 7), "four types lie in four nibbles")
    check(kinds(0xF0000) == (0, 0, 0, 0), "there are no more than four types")
    caller = _Caller()
    stored = caller.stored
    out = TaMemref(Kind.MEMREF_OUTPUT, caller, 1, len(stored), secure=True)
    out.put(b"four")
    check(bytes(stored) == b"four" and out.size == 4, "output that fits is delivered")
    refuses(TeeError, lambda: out.put(b"fives"), "output that does not fit is refused")
    check(bytes(stored) == b"four" and out.size == 5, "a short buffer stays as it was, and the size needed is told")
    value = Value(Kind.VALUE_INPUT)
    pta_kinds.expect((value,), Kind.VALUE_INPUT)
    refuses(TeeError, lambda: pta_kinds.expect((value, value), Kind.VALUE_INPUT), "one parameter too many is refused")
    refuses(TeeError, lambda: pta_kinds.expect((), Kind.VALUE_INPUT), "a missing parameter is refused")
    refuses(TeeError, lambda: pta_kinds.expect((value,), Kind.VALUE_OUTPUT), "a parameter of another type is refused")


def formatting() -> None:
    """Results, UUIDs and crash reports read as they should."""
    check(str(results.BAD_PARAMETERS) == "TEE_ERROR_BAD_PARAMETERS", "a result prints by name")
    check(str(results.Result(0xDEAD)) == "0x0000dead", "a result without a name prints in hexadecimal")
    memory = bytes.fromhex("33221100554477668899aabbccddeeff")
    check(tee_uuid_bytes(_UUID) == memory and uuid_from_tee(memory) == _UUID, "a TEE_UUID is little-endian")
    check(uuid_octets(_UUID) == _UUID.bytes and uuid_from_octets(_UUID.bytes) == _UUID, "octets are in text order")
    text = "\n".join(crash_lines(Crash(_UUID, "panic", 0xFFFF0006, "", {"pc": 0x1234}, (), ())))
    check(str(_UUID) in text and "TEE_ERROR_BAD_PARAMETERS" in text, "a crash report names the TA and its panic code")
    check("1234" in text, "a crash report shows registers")


class _FixedClock:
    """A clock that stands still; seconds."""

    def monotonic(self) -> float:
        return 10.5

    def wall(self) -> float:
        return 1e9 + 0.25

    def sleep(self, seconds: float) -> None:
        pass


def times() -> None:
    """Times are in milliseconds, and a TA's own wraps with OVERFLOW rather than getting lost."""
    times = TaTimes(_FixedClock(), origin=0.5)
    check(times.system() == 10_000, "system time counts from its origin")
    check(times.ree() == 1_000_000_000_250, "REE time is the wall clock's")
    refuses(TeeError, lambda: times.persistent(_UUID), "a time that was never set is not told")
    times.set_persistent(_UUID, 77)
    check(times.persistent(_UUID) == (77, False), "a TA's time is what it set")
    times.set_persistent(_UUID, TIME_RANGE + 3)
    check(times.persistent(_UUID) == (3, True), "a TA's time that is out of range wraps, and says so")


class _ZeroRoot:
    """OP-TEE's default hardware unique key: zeros."""

    def hardware_unique_key(self) -> bytes:
        return bytes(16)

    def device_id(self) -> bytes:
        return bytes(16)


def cryptography() -> None:
    """Known answers of the algorithms that keys, storage and TA signatures rest on."""
    # FIPS 180-4 example "abc"; RFC 4231 test case 2; FIPS 197 appendix C.1; GCM specification test case 2.
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    check(oneshot.digest("sha256", b"a", b"bc").hex() == digest, "SHA-256 of abc")
    mac = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    check(oneshot.hmac_sha256(b"Jefe", b"what do ya want for nothing?").hex() == mac, "HMAC-SHA-256 of RFC 4231")
    task = Task(max_states=1)
    try:
        state = task.state_alloc(Algorithm.AES_ECB_NOPAD, Mode.ENCRYPT)
        task.cipher_init(state, bytes(range(16)))
        block = task.cipher_update(state, bytes.fromhex("00112233445566778899aabbccddeeff"))
        check(block.hex() == "69c4e0d86a7b0430d8cdb78070b4c55a", "AES-128 of FIPS 197")
    finally:
        task.close()
    sealed, tag = bytes.fromhex("0388dace60b6a392f328c2b971b2fe78"), bytes.fromhex("ab6e47d42cec13bdf53a67b21257bddf")
    check(oneshot.gcm_decrypt(bytes(16), bytes(12), b"", sealed, tag) == bytes(16), "AES-GCM opens what is right")
    wrong = bytes((tag[0] ^ 1,)) + tag[1:]
    check(oneshot.gcm_decrypt(bytes(16), bytes(12), b"", sealed, wrong) is None, "AES-GCM refuses a wrong tag")
    one, other = huk_subkey(_ZeroRoot(), 3, b"a"), huk_subkey(_ZeroRoot(), 3, b"b")
    check(one == oneshot.hmac_sha256(bytes(16), b"\3\0\0\0a") and one != other, "subkeys derive from the device's key")


TESTS = (
    ("words", words),
    ("parameters", parameters),
    ("formatting", formatting),
    ("times", times),
    ("cryptography", cryptography),
)
