"""Transient objects: allocation, attributes, usage, generated keys; and random numbers.

Source: optee_os core/tee/tee_svc_cryp.c, syscall_cryp_obj_*, syscall_obj_generate_key,
tee_svc_cryp_check_attr, tee_svc_cryp_obj_populate_type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee.abi import results
from tee.abi.attributes import CURVE_BITS, FLAG_PUBLIC, Attr
from tee.abi.objects import (
    GENERATED_SECRETS,
    AttrFlag,
    AttrKind,
    HandleFlag,
    TypeProps,
    Usage,
    legacy_des_bits,
)
from tee.errors import TeeError
from tee.objects import Object, check_key_size
from tee.services.crypto_generate import GENERATED_PAIRS, generate_pair

if TYPE_CHECKING:
    from collections.abc import Sequence

    from north.syscalls.declare import OutCell
    from tee.services.context import CryptoTask
    from tee.syscalls.arguments import Attribute, OutBuffer

_RANDOM_PIECE = 1 << 16
"""Bytes asked of the host's CSPRNG at once."""


def cryp_obj_alloc(task: CryptoTask, obj_type: int, max_key_size: int, obj: OutCell) -> None:
    """max_key_size: bits. NOT_SUPPORTED: no such type, or no such size of it."""
    task.objects.hand_out(Object(obj_type & 0xFFFFFFFF, max_key_size), obj)


def cryp_obj_close(task: CryptoTask, obj: int) -> None:
    if task.objects.get(obj).busy:
        # An operation's own key: no TA was ever told this handle as its object.
        raise TeeError(results.ITEM_NOT_FOUND, "the object is an operation's")
    task.objects.remove(obj)


def cryp_obj_reset(task: CryptoTask, obj: int) -> None:
    task.objects.get(obj).reset()


def cryp_obj_get_info(task: CryptoTask, obj: int, info: int) -> None:
    """info: address of a `struct utee_object_info`."""
    task.memory.copy_out(info, task.objects.get(obj).info())


def cryp_obj_restrict_usage(task: CryptoTask, obj: int, usage: int) -> None:
    task.objects.get(obj).restrict(usage & 0xFFFFFFFF)


def cryp_obj_get_attr(task: CryptoTask, obj: int, attr_id: int, buffer: OutBuffer) -> None:
    attr_id &= 0xFFFFFFFF
    try:
        source = task.objects.get(obj)
    except TeeError as error:
        raise TeeError(results.ITEM_NOT_FOUND, error.detail) from None
    if not source.initialized:
        raise TeeError(results.BAD_PARAMETERS, "the object is not initialised")
    if not attr_id & FLAG_PUBLIC and not source.usage & Usage.EXTRACTABLE:
        raise TeeError(results.BAD_PARAMETERS, "a secret attribute of an object that is not extractable")
    source.require_props(results.BAD_STATE)
    if not source.has(attr_id):
        raise TeeError(results.ITEM_NOT_FOUND, f"the object has no attribute {attr_id:#x}")
    value = source.value(attr_id)
    if isinstance(value, int):
        # OP-TEE neither reports the size of a value nor looks at a NULL buffer.
        if buffer.capacity < 8:
            raise TeeError(results.SHORT_BUFFER)
        task.memory.copy_out(buffer.va, value.to_bytes(8, "little"))
        return
    if not buffer.va and (value or not _is_bignum(source, attr_id)):
        buffer.report(len(value))
        raise TeeError(results.SHORT_BUFFER)
    buffer.put(value)


def _is_bignum(obj: Object, attr_id: int) -> bool:
    props = obj.require_props(results.BAD_STATE)
    return any(attr.attr == attr_id and attr.kind is AttrKind.BIGNUM for attr in props.attrs)


def cryp_obj_populate(task: CryptoTask, obj: int, attrs: Sequence[Attribute]) -> None:
    target = task.objects.get(obj)
    if target.persistent or target.initialized:
        raise TeeError(results.BAD_PARAMETERS, "the object is persistent or already initialised")
    props = target.require_props(results.NOT_IMPLEMENTED)
    _check_attributes(props, attrs, AttrFlag.REQUIRED, AttrFlag.OPTIONAL_GROUP, whole_group=True)
    _populate(target, props, attrs)
    target.flags |= HandleFlag.INITIALIZED


def _check_attributes(
    props: TypeProps, attrs: Sequence[Attribute], required: AttrFlag, optional: AttrFlag, *, whole_group: bool
) -> None:
    """ITEM_NOT_FOUND unless the attributes are just those the type wants (tee_svc_cryp_check_attr)."""
    must = {attr.attr for attr in props.attrs if attr.flags & required}
    may = {attr.attr for attr in props.attrs if attr.flags & optional} - must
    given = [attr.id for attr in attrs]
    found = set(given)
    if len(given) != len(found):
        raise TeeError(results.ITEM_NOT_FOUND, "an attribute is given twice")
    if not found <= must | may:
        raise TeeError(results.ITEM_NOT_FOUND, f"an attribute that {props.type.name} does not take")
    if not must <= found:
        raise TeeError(results.ITEM_NOT_FOUND, f"an attribute that {props.type.name} needs is missing")
    if whole_group and found & may and not may <= found:
        raise TeeError(results.ITEM_NOT_FOUND, f"the optional attributes of {props.type.name} go together")


def _populate(obj: Object, props: TypeProps, attrs: Sequence[Attribute]) -> None:
    """Store checked attributes, and the size they give (tee_svc_cryp_obj_populate_type)."""
    have = 0
    bits = 0
    for attr in attrs:
        at = props.position(attr.id)
        if at is None:
            raise TeeError(results.ITEM_NOT_FOUND, f"attribute {attr.id:#x}")
        have |= 1 << at
        if attr.is_value:
            obj.store(at, attr.a)
        else:
            obj.check_length(at, attr.b)
            obj.store(at, attr.read())
        if props.attrs[at].flags & AttrFlag.SIZE_INDICATOR:
            bits = _size_of(obj, attr)
            if bits > obj.max_bits:
                raise TeeError(results.BAD_STATE, f"{bits} bits in an object for {obj.max_bits}")
            try:
                check_key_size(props, bits)
            except TeeError as error:
                raise TeeError(results.BAD_PARAMETERS, error.detail) from None
        if props.attrs[at].flags & AttrFlag.BIGNUM_MAXBITS:
            number = obj.value(attr.id)
            if isinstance(number, bytes) and int.from_bytes(number, "big").bit_length() > obj.max_bits:
                raise TeeError(results.BAD_STATE, f"attribute {attr.id:#x} exceeds {obj.max_bits} bits")
    obj.have = have
    # OP-TEE takes the parity bits of a legacy DES size off a second time here; TAs see the result.
    obj.bits = bits - bits // 8 if legacy_des_bits(obj.type, obj.max_bits) else bits


def _size_of(obj: Object, attr: Attribute) -> int:
    if attr.id == Attr.ECC_CURVE:
        try:
            return CURVE_BITS[attr.a]
        except KeyError:
            raise TeeError(results.NOT_SUPPORTED, f"no curve {attr.a:#x}") from None
    bits = attr.b * 8
    return bits - bits // 8 if legacy_des_bits(obj.type, obj.max_bits) else bits


def cryp_obj_copy(task: CryptoTask, dst: int, src: int) -> None:
    target, source = task.objects.get(dst), task.objects.get(src)
    if not source.initialized:
        raise TeeError(results.BAD_PARAMETERS, "the source is not initialised")
    if target.persistent or target.initialized:
        raise TeeError(results.BAD_PARAMETERS, "the target is persistent or already initialised")
    target.copy_attributes(source)
    target.flags |= HandleFlag.INITIALIZED
    target.bits = source.bits
    target.assign_usage(source.usage)


def cryp_obj_generate_key(task: CryptoTask, obj: int, key_size: int, params: Sequence[Attribute]) -> None:
    """key_size: bits. BAD_FORMAT: not a key that is generated."""
    target = task.objects.get(obj)
    if target.persistent or target.initialized:
        raise TeeError(results.BAD_STATE, "the object is persistent or already initialised")
    props = target.require_props(results.NOT_SUPPORTED)
    check_key_size(props, key_size)
    _check_attributes(props, params, AttrFlag.GEN_KEY_REQ, AttrFlag.GEN_KEY_OPT, whole_group=False)
    if props.type in GENERATED_PAIRS:
        _populate(target, props, params)
        generate_pair(task, target, key_size)
        target.flags |= HandleFlag.INITIALIZED
        target.bits = key_size
        return
    if props.type not in GENERATED_SECRETS:
        raise TeeError(results.BAD_FORMAT, f"{props.type.name} is not generated")
    bits = key_size + key_size // 7 if legacy_des_bits(target.type, key_size) else key_size
    if bits // 8 > props.alloc:
        raise TeeError(results.EXCESS_DATA, f"{bits // 8} octets, at most {props.alloc}")
    target.set_secret(task.platform.entropy.fill(bits // 8))
    target.bits = key_size


def cryp_random_number_generate(task: CryptoTask, buf: OutBuffer) -> None:
    for at in range(0, buf.capacity, _RANDOM_PIECE):
        piece = task.platform.entropy.fill(min(_RANDOM_PIECE, buf.capacity - at))
        task.memory.copy_out(buf.va + at, piece)
