"""Agreement of keys: Diffie-Hellman in its fields and on its curves, X25519, X448, SM2's exchange.

What was agreed goes into a simple symmetric key object, if its type has room for it. That a peer's
point is on the curve is checked before it is used: OP-TEE does since 4.9, and a TA of 4.5 sees
no difference with a peer that is honest.

Source: optee_os core/tee/tee_svc_cryp.c (syscall_cryp_derive_key, get_sm2_kep_params),
core/lib/libtomcrypt/{dh,ecc,x25519,sm2-kep}.c.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from tee.abi import results
from tee.abi.algorithms import Algorithm, MainAlgorithm
from tee.abi.attributes import (
    CURVE_BITS,
    SM2_KEP_EPHEMERAL_X_OPTEE,
    SM2_KEP_EPHEMERAL_Y_OPTEE,
    Attr,
    Curve,
)
from tee.costs import BIGNUM_MAX_BYTES
from tee.crypto import keys
from tee.crypto.ready import AGREE, Ready
from tee.errors import TeeError
from tee.services.crypto_generate import curve_of, octets

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tee.objects import Object
    from tee.services.context import CryptoTask
    from tee.syscalls.arguments import Attribute

_MAX_IDENTITY = (1 << 13) - 1
"""Octets of an identity in SM2's exchange: its length in bits is hashed as 16 bits."""
_CONFIRMATION = 32


def _only(params: Sequence[Attribute], *ids: Attr) -> list[bytes]:
    """The values of just these attributes, in this order; BAD_PARAMETERS otherwise."""
    if [attr.id for attr in params] != list(ids):
        raise TeeError(results.BAD_PARAMETERS, "not the attributes of this derivation")
    return [_number(attr) for attr in params]


def _number(attr: Attribute, most: int = BIGNUM_MAX_BYTES) -> bytes:
    if attr.b > most:
        raise TeeError(results.OUT_OF_MEMORY, f"attribute {attr.id:#x} of {attr.b} octets")
    return attr.read()


def _dh(task: CryptoTask, state: int, source: Object, params: Sequence[Attribute], target: Object) -> bytes:
    (peer,) = _only(params, Attr.DH_PUBLIC_VALUE)
    return keys.dh_derive(octets(source, Attr.DH_PRIME), octets(source, Attr.DH_PRIVATE_VALUE), peer)


def _ecdh(task: CryptoTask, state: int, source: Object, params: Sequence[Attribute], target: Object) -> bytes:
    x, y = _only(params, Attr.ECC_PUBLIC_VALUE_X, Attr.ECC_PUBLIC_VALUE_Y)
    curve = curve_of(source)
    if curve not in CURVE_BITS or curve in (Curve.SM2, Curve.CURVE_25519):
        raise TeeError(results.NOT_IMPLEMENTED, f"ECDH on curve {curve:#x}")
    ready = Ready(task.native, state, source)
    if not ready.is_for(AGREE):
        ready.curve(AGREE, curve, octets(source, Attr.ECC_PRIVATE_VALUE))
    return ready.agree(x, y)


def _montgomery(
    main: MainAlgorithm, private: Attr, public: Attr
) -> Callable[[CryptoTask, int, Object, Sequence[Attribute], Object], bytes]:
    def derive(task: CryptoTask, state: int, source: Object, params: Sequence[Attribute], target: Object) -> bytes:
        (peer,) = _only(params, public)
        own = octets(source, private)
        if len(peer) != len(own):
            raise TeeError(results.BAD_PARAMETERS, f"a public value of {len(peer)} octets, not {len(own)}")
        return keys.raw_derive(main, own, peer)

    return derive


_KEP: dict[int, str] = {
    int(Attr.ECC_PUBLIC_VALUE_X): "peer_x",
    int(Attr.ECC_PUBLIC_VALUE_Y): "peer_y",
    int(Attr.ECC_EPHEMERAL_PUBLIC_VALUE_X): "peer_ephemeral_x",
    SM2_KEP_EPHEMERAL_X_OPTEE: "peer_ephemeral_x",
    int(Attr.ECC_EPHEMERAL_PUBLIC_VALUE_Y): "peer_ephemeral_y",
    SM2_KEP_EPHEMERAL_Y_OPTEE: "peer_ephemeral_y",
    int(Attr.SM2_ID_INITIATOR): "initiator_id",
    int(Attr.SM2_ID_RESPONDER): "responder_id",
    int(Attr.SM2_KEP_CONFIRMATION_IN): "confirmation",
}
_MANDATORY = frozenset(_KEP.values()) - {"confirmation"}


def _pair(key: Object) -> keys.PointKey:
    return keys.PointKey(
        octets(key, Attr.ECC_PRIVATE_VALUE), octets(key, Attr.ECC_PUBLIC_VALUE_X), octets(key, Attr.ECC_PUBLIC_VALUE_Y)
    )


def _kep(task: CryptoTask, state: int, source: Object, params: Sequence[Attribute], target: Object) -> bytes:
    """SM2's exchange; key1 is our key pair, key2 the ephemeral one."""
    ephemeral = task.objects.get(task.objects.operations.get(state).key2)
    given: dict[str, bytes] = {}
    role: int | None = None
    confirm: Attribute | None = None
    for attr in params:
        if attr.id == Attr.SM2_KEP_USER:
            role = attr.a
        elif attr.id == Attr.SM2_KEP_CONFIRMATION_OUT:
            confirm = attr
        elif attr.id in _KEP:
            given[_KEP[attr.id]] = _number(attr, _MAX_IDENTITY)
        else:
            raise TeeError(results.BAD_PARAMETERS, f"attribute {attr.id:#x} in SM2's exchange")
    if role is None or not given.keys() >= _MANDATORY:
        raise TeeError(results.BAD_PARAMETERS, "SM2's exchange lacks an attribute")
    if confirm is not None and confirm.b < _CONFIRMATION:
        raise TeeError(results.BAD_PARAMETERS, f"{confirm.b} octets for a confirmation")
    exchange = keys.Sm2Exchange(
        own=_pair(source),
        ephemeral=_pair(ephemeral),
        peer=(given["peer_x"], given["peer_y"]),
        peer_ephemeral=(given["peer_ephemeral_x"], given["peer_ephemeral_y"]),
        initiator_id=given["initiator_id"],
        responder_id=given["responder_id"],
        confirmation=given.get("confirmation", b""),
        initiator=not role,
    )
    # OP-TEE takes the object's size in bits for the octets it wants; TAs allocate the object accordingly.
    size = target.max_bits
    if size > target.require_props(results.NOT_SUPPORTED).alloc:
        raise TeeError(results.BAD_PARAMETERS, f"{size} octets do not fit the object")
    secret, confirmation = keys.sm2_exchange(exchange, size)
    if confirm is not None:
        with suppress(TeeError):  # an input of the call by its type: OP-TEE fills a copy of it
            task.memory.copy_out(confirm.a, confirmation)
    return secret


AGREEMENTS: dict[int, Callable[[CryptoTask, int, Object, Sequence[Attribute], Object], bytes]] = {
    Algorithm.DH_DERIVE_SHARED_SECRET: _dh,
    Algorithm.ECDH_DERIVE_SHARED_SECRET: _ecdh,
    Algorithm.X25519: _montgomery(MainAlgorithm.X25519, Attr.X25519_PRIVATE_VALUE, Attr.X25519_PUBLIC_VALUE),
    Algorithm.X448: _montgomery(MainAlgorithm.X448, Attr.X448_PRIVATE_VALUE, Attr.X448_PUBLIC_VALUE),
    Algorithm.SM2_KEP: _kep,
}
"""By algorithm: (task, operation's handle, its key, parameters, target object) to the secret."""
