"""One call of cryptdrv each that computes in libcrypto for seconds: what a deadline or a kill has to end."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tee.abi.algorithms import Algorithm
from tee.abi.attributes import UTEE_ATTRIBUTE, Attr
from tee.abi.objects import ObjectType
from tee.abi.results import Result
from tests.tas.cryptdrv import RAW_POKE, RAW_SIZE, raw, raw_result

if TYPE_CHECKING:
    from collections.abc import Sequence

SCRATCH = 4096
PASSWORD, SALT = b"password", b"salt"
ROOM = 256 << 20
_DATA = ROOM - SCRATCH
DERIVED = 64
_HASH_INIT, _HASH_UPDATE, _CIPHER_INIT, _CIPHER_UPDATE, _RANDOM = 18, 19, 21, 22, 33
_STATE_ALLOC, _GET_ATTR, _ALLOC, _RESET, _POPULATE, _DERIVE, _GENERATE = 15, 26, 27, 29, 30, 32, 54
_DERIVE_MODE = 6
_KEY_ATTR, _DERIVE_ATTRS, _PASSWORD_AT, _SALT_AT, _CELL, SIZE_AT, DERIVED_AT = (
    0,
    0x40,
    0x100,
    0x140,
    0x180,
    0x200,
    0x240,
)


class Hog(NamedTuple):
    """Parameters of `CMD_RAW`: records, and scratch memory that begins so. room: its bytes."""

    records: bytes
    scratch: bytes
    room: int = SCRATCH

    def results(self, after: bytes) -> list[Result]:
        """Of the calls, by the records that came back."""
        return [Result(raw_result(after, i)) for i in range(len(self.records) // RAW_SIZE)]


def _scratch(pieces: Sequence[tuple[int, bytes]]) -> bytes:
    out = bytearray(SCRATCH)
    for at, piece in pieces:
        out[at : at + len(piece)] = piece
    return bytes(out)


def pbkdf2(iterations: int = 1 << 24, before: Sequence[bytes] = (), after: Sequence[bytes] = ()) -> Hog:
    """On SHA-512, of DERIVED octets, which go to DERIVED_AT. The handles are the first ones of a fresh instance.

    before, after: records to make as well.
    """
    key = UTEE_ATTRIBUTE.pack(0, len(PASSWORD), Attr.PBKDF2_PASSWORD)
    salt = UTEE_ATTRIBUTE.pack(0, len(SALT), Attr.PBKDF2_SALT)
    count = UTEE_ATTRIBUTE.pack(iterations, 0, Attr.PBKDF2_ITERATION_COUNT)
    size = UTEE_ATTRIBUTE.pack(DERIVED, 0, Attr.PBKDF2_DKM_LENGTH)
    pieces = ((_KEY_ATTR, key), (_DERIVE_ATTRS, salt + count + size), (_PASSWORD_AT, PASSWORD), (_SALT_AT, SALT))
    records = (
        *before,
        raw(RAW_POKE, _KEY_ATTR, _PASSWORD_AT, relocate=0b11),
        raw(RAW_POKE, _DERIVE_ATTRS, _SALT_AT, relocate=0b11),
        raw(_ALLOC, ObjectType.PBKDF2_PASSWORD, 512, _CELL, relocate=0b100),
        raw(_POPULATE, 1, _KEY_ATTR, 1, relocate=0b10),
        raw(_ALLOC, ObjectType.GENERIC_SECRET, 8 * DERIVED, _CELL, relocate=0b100),
        raw(_STATE_ALLOC, Algorithm.PBKDF2_HMAC_SHA512_DERIVE_KEY, _DERIVE_MODE, 1, 0, _CELL, relocate=1 << 4),
        raw(_DERIVE, 1, _DERIVE_ATTRS, 3, 2, relocate=0b10),
        raw(_GET_ATTR, 2, Attr.SECRET_VALUE, DERIVED_AT, SIZE_AT, relocate=0b1100),
        *after,
    )
    return Hog(b"".join(records), _scratch((*pieces, (SIZE_AT, DERIVED.to_bytes(8, "little")))))


def rsa(bits: int, times: int) -> Hog:
    """That many key pairs, one after the other."""
    one = raw(_GENERATE, 1, bits, _KEY_ATTR, 0, relocate=0b100) + raw(_RESET, 1)
    return Hog(raw(_ALLOC, ObjectType.RSA_KEYPAIR, bits, _CELL, relocate=0b100) + one * times, bytes(SCRATCH))


def des3(*calls: bytes, algo: Algorithm, mode: int) -> Hog:
    """calls: on state 1, of DES3, the slowest cipher there is, with what fits after the first SCRATCH bytes of ROOM."""
    key = UTEE_ATTRIBUTE.pack(0, 24, Attr.SECRET_VALUE)
    records = (
        raw(RAW_POKE, _KEY_ATTR, _PASSWORD_AT, relocate=0b11),
        raw(_ALLOC, ObjectType.DES3, 168, _CELL, relocate=0b100),
        raw(_POPULATE, 1, _KEY_ATTR, 1, relocate=0b10),
        raw(_STATE_ALLOC, algo, mode, 1, 0, _CELL, relocate=1 << 4),
        *calls,
    )
    pieces = ((_KEY_ATTR, key), (_PASSWORD_AT, bytes(range(1, 25))), (SIZE_AT, _DATA.to_bytes(8, "little")))
    return Hog(b"".join(records), _scratch(pieces), ROOM)


DATA_HOGS = {
    "encrypts": des3(
        raw(_CIPHER_INIT, 1, _SALT_AT, 8, relocate=0b10),
        raw(_CIPHER_UPDATE, 1, SCRATCH, _DATA, SCRATCH, SIZE_AT, relocate=0b11010),
        algo=Algorithm.DES3_CBC_NOPAD,
        mode=0,
    ),
    "authenticates": des3(
        raw(_HASH_INIT, 1, 0, 0),
        raw(_HASH_UPDATE, 1, SCRATCH, _DATA, relocate=0b10),
        algo=Algorithm.DES3_CBC_MAC_NOPAD,
        mode=4,
    ),
    "random numbers": Hog(raw(_RANDOM, SCRATCH, _DATA, relocate=1) * 40, bytes(SCRATCH), ROOM),
}
"""Those of one call on much memory, which C answers by itself."""
HOGS = {"PBKDF2": pbkdf2(), "RSA of 4096 bits": rsa(4096, 500), "RSA of 256 bits": rsa(256, 20000)}
"""By name; each for more than five seconds."""
