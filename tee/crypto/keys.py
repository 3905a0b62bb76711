"""Asymmetric cryptography in C (`tee._native`, on libcrypto), with types: keys by their numbers.

Numbers are big-endian octets without a sign; an absent one is empty. What is refused raises TeeError
with the result of OP-TEE's core/lib/libtomcrypt. Long calls run without the GIL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tee.abi.attributes import CURVE_BITS
from tee.crypto.ffi import NO_TASK, check, ffi, lib, octets, output

if TYPE_CHECKING:
    from tee._native import DsaKeyPointer, EddsaPointer, RsaSchemePointer, SpanPointer
    from tee.crypto.task import Task

PKCS1_PADDING = 1
"""RSA_PKCS1_PADDING and the next three: openssl/rsa.h."""
NO_PADDING = 3
OAEP_PADDING = 4
PSS_PADDING = 6

SM2_OVERHEAD = 97
"""Octets by which SM2's encryption lengthens a message: a point and a digest."""
ED25519_SIGNATURE = 64
_CONFIRMATION = 32


def _slots(out: bytearray, slot: int) -> list[bytes]:
    return [bytes(out[at : at + slot]) for at in range(0, len(out), slot)]


class RsaKey(NamedTuple):
    """d and the CRT numbers are empty in a public key; the CRT numbers are all there, or none is used."""

    n: bytes
    e: bytes
    d: bytes = b""
    p: bytes = b""
    q: bytes = b""
    dp: bytes = b""
    dq: bytes = b""
    qinv: bytes = b""


class RsaScheme(NamedTuple):
    """padding: one of the *_PADDING; hash, mgf: TEE_ALG_* of digests, 0 for none; salt: octets, of PSS."""

    padding: int
    hash: int = 0
    mgf: int = 0
    salt: int = 0


def rsa_generate(bits: int, e: bytes, task: Task | None = None) -> RsaKey:
    """TeeError(BAD_PARAMETERS): no key of just that size with that exponent can be had.

    CANCEL: the guest of `task` is to stop.
    """
    slot = (bits + 7) // 8
    out, pointer = output(7 * slot)
    looks = task.pointer if task else NO_TASK
    check(lib.tee_rsa_generate(looks, bits, octets(e), pointer, slot), f"no RSA key of {bits} bits")
    n, *private = _slots(out, slot)
    return RsaKey(n, e, *private)


def rsa_pointers(key: RsaKey, scheme: RsaScheme) -> tuple[SpanPointer, RsaSchemePointer]:
    """Both as C takes them; the caller holds `key`."""
    return ffi.new("struct tee_span[8]", [octets(number) for number in key]), ffi.new("struct tee_rsa_scheme *", scheme)


def rsa_crypt(key: RsaKey, scheme: RsaScheme, data: bytes, *, decrypt: bool, label: bytes = b"") -> bytes:
    """BAD_PARAMETERS: too long, or a wrong padding, whatever is wrong about it."""
    numbers, way = rsa_pointers(key, scheme)
    out, pointer = output(len(key.n))
    size = ffi.new("uint64_t *", len(out))
    check(lib.tee_rsa_crypt(numbers, way, octets(label), octets(data), decrypt, pointer, size), "RSA: refused")
    return bytes(out[: size[0]])


class DsaKey(NamedTuple):
    p: bytes
    q: bytes
    g: bytes
    x: bytes = b""
    y: bytes = b""


def _dsa(key: DsaKey) -> DsaKeyPointer:
    return ffi.new("struct tee_dsa_key *", [octets(number) for number in key])


def dsa_generate(key: DsaKey) -> tuple[bytes, bytes]:
    """(private, public) value in the group that p, q and g of `key` make."""
    out, pointer = output(2 * max(len(key.p), len(key.q)))
    check(lib.tee_dsa_generate(_dsa(key), pointer, len(out) // 2), "no DSA key in that group")
    x, y = _slots(out, len(out) // 2)
    return x, y


def dsa_sign(key: DsaKey, digest: bytes) -> bytes:
    """r || s, each as long as q."""
    out, pointer = output(2 * len(key.q))
    check(lib.tee_dsa_sign(_dsa(key), octets(digest), pointer, len(key.q)), "DSA: not a key")
    return bytes(out)


def dsa_verify(key: DsaKey, digest: bytes, signature: bytes) -> None:
    check(lib.tee_dsa_verify(_dsa(key), octets(digest), octets(signature)), "DSA signature")


def dh_generate(p: bytes, g: bytes, q: bytes, size: int) -> tuple[bytes, bytes]:
    """(private, public) value, the private one of at most `size` octets and smaller than q, or p."""
    out, pointer = output(2 * len(p))
    check(lib.tee_dh_generate(octets(p), octets(g), octets(q), size, pointer, len(p)), "no DH key in that group")
    x, y = _slots(out, len(p))
    return x, y


def dh_derive(p: bytes, x: bytes, peer: bytes) -> bytes:
    """The shared number, without leading zeros; BAD_PARAMETERS if p is even."""
    out, pointer = output(len(p))
    check(lib.tee_dh_derive(octets(p), octets(x), octets(peer), pointer, len(p)), "DH: not a prime")
    return bytes(out).lstrip(b"\0")


def coordinate(curve: int) -> int:
    """Octets of a coordinate; curve: TEE_ECC_CURVE_*."""
    return (CURVE_BITS[curve] + 7) // 8


def ec_generate(curve: int) -> tuple[bytes, bytes, bytes]:
    """(private value, x, y). NOT_SUPPORTED: not a curve for this."""
    size = coordinate(curve)
    out, pointer = output(3 * size)
    check(lib.tee_ec_generate(curve, pointer), f"no key on curve {curve:#x}")
    d, x, y = _slots(out, size)
    return d, x, y


def raw_generate(main: int, size: int) -> tuple[bytes, bytes]:
    """(private, public) of Ed25519, X25519 or X448; main: TEE_MAIN_ALGO_*; size: octets of a key."""
    out, pointer = output(2 * size)
    check(lib.tee_raw_generate(main, pointer))
    private, public = _slots(out, size)
    return private, public


def raw_derive(main: int, private: bytes, peer: bytes) -> bytes:
    """SECURITY: the peer's point is of small order."""
    out, pointer = output(len(private))
    check(lib.tee_raw_derive(main, octets(private), octets(peer), pointer), "no secret with that point")
    return bytes(out)


class Eddsa(NamedTuple):
    """What Ed25519ctx and Ed25519ph add to a message. context: at most 255 octets; neither: plain Ed25519."""

    prehash: bool = False
    context: bytes = b""


PLAIN_ED25519 = Eddsa()


def _eddsa(variant: Eddsa) -> EddsaPointer:
    return ffi.new("struct tee_eddsa *", (octets(variant.context), variant.prehash))


def ed25519_sign(private: bytes, message: bytes, variant: Eddsa = PLAIN_ED25519) -> bytes:
    out, pointer = output(ED25519_SIGNATURE)
    if variant == PLAIN_ED25519:
        check(lib.tee_ed25519_sign(octets(private), octets(message), pointer))
    else:
        check(lib.tee_ed25519ctx_sign(octets(private), _eddsa(variant), octets(message), pointer))
    return bytes(out)


def ed25519_verify(public: bytes, message: bytes, signature: bytes, variant: Eddsa = PLAIN_ED25519) -> None:
    """BAD_PARAMETERS: not 64 octets."""
    if variant == PLAIN_ED25519:
        rc = lib.tee_ed25519_verify(octets(public), octets(message), octets(signature))
    else:
        rc = lib.tee_ed25519ctx_verify(octets(public), _eddsa(variant), octets(message), octets(signature))
    check(rc, "Ed25519 signature")


def sm2_encrypt(x: bytes, y: bytes, message: bytes) -> bytes:
    """C1 || C2 || C3. CIPHERTEXT_INVALID: nothing to encrypt."""
    out, pointer = output(len(message) + SM2_OVERHEAD)
    check(lib.tee_sm2_encrypt(octets(x), octets(y), octets(message), pointer), "SM2: not encrypted")
    return bytes(out)


def sm2_decrypt(d: bytes, data: bytes) -> bytes:
    """CIPHERTEXT_INVALID: not what the key encrypted."""
    out, pointer = output(max(0, len(data) - SM2_OVERHEAD))
    check(lib.tee_sm2_decrypt(octets(d), octets(data), pointer), "SM2: not decrypted")
    return bytes(out)


class PointKey(NamedTuple):
    """A key pair on a curve: private value and point."""

    d: bytes
    x: bytes
    y: bytes


class Sm2Exchange(NamedTuple):
    """Own keys, the peer's points, the two identities; confirmation: the peer's, empty if it gave none."""

    own: PointKey
    ephemeral: PointKey
    peer: tuple[bytes, bytes]
    peer_ephemeral: tuple[bytes, bytes]
    initiator_id: bytes
    responder_id: bytes
    confirmation: bytes
    initiator: bool


def sm2_exchange(exchange: Sm2Exchange, size: int) -> tuple[bytes, bytes]:
    """(secret of `size` octets, own confirmation). BAD_STATE: no agreement, or not with that peer."""
    numbers = (*exchange.own, *exchange.ephemeral, *exchange.peer, *exchange.peer_ephemeral)
    texts = (exchange.initiator_id, exchange.responder_id, exchange.confirmation)
    out, pointer = output(size)
    confirm, confirm_pointer = output(_CONFIRMATION)
    structure = ffi.new("struct tee_sm2_kep *", (*map(octets, numbers + texts), exchange.initiator))
    check(lib.tee_sm2_exchange(structure, pointer, size, confirm_pointer), "SM2: no agreement")
    return bytes(out), bytes(confirm)
