"""Cryptographic objects, the attributes in them, and the handles a TA knows them by.

An object holds the attributes of any type in the table of `tee.abi.objects`, also of asymmetric
keys: those can be populated, copied, read and stored whether or not an algorithm operates on them.
A persistent object derives from `Object` and keeps its usage with the file.

Source: optee_os core/tee/tee_svc_cryp.c (attr_ops, tee_obj_set_type, tee_obj_attr_*), tee_obj.c.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from north.account import Account
from north.handles import HandleTable
from tee.abi import results
from tee.abi.objects import (
    FIXED_BYTES,
    PUBLIC_PART,
    TYPES,
    USAGE_DEFAULT,
    UTEE_OBJECT_INFO,
    AttrKind,
    AttrProps,
    HandleFlag,
    ObjectType,
    TypeProps,
    legacy_des_bits,
)
from tee.costs import BIGNUM_MAX_BYTES, object_cost, operation_cost
from tee.errors import TeeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_U32 = struct.Struct(">I")


def check_key_size(props: TypeProps, bits: int) -> None:
    """NOT_SUPPORTED unless a key of the type may have that many bits (check_key_size)."""
    if legacy_des_bits(props.type, bits):
        bits += bits // 7
    if bits % props.quanta or not props.min_bits <= bits <= props.max_bits:
        raise TeeError(results.NOT_SUPPORTED, f"{props.type.name} of {bits} bits")


class Object:
    """A transient object: memory alone. Sizes of keys are in bits.

    `have` has a bit per attribute that is set, by its position in the type's list. busy: an
    operation owns it, and the TA cannot close it.
    """

    __slots__ = (
        "_on_change",
        "_usage",
        "_values",
        "bits",
        "busy",
        "data_position",
        "data_size",
        "flags",
        "have",
        "max_bits",
        "props",
        "type",
    )

    def __init__(self, type_: int, max_bits: int) -> None:
        props = TYPES.get(type_)
        if type_ == ObjectType.DATA:
            if max_bits:
                raise TeeError(results.NOT_SUPPORTED, "a data object has no key size")
        elif props is None:
            raise TeeError(results.NOT_SUPPORTED, f"no object type {type_:#x}")
        else:
            check_key_size(props, max_bits)
        self.type = type_
        self.props = props
        self.max_bits = max_bits
        self.bits = 0
        self.flags = HandleFlag.NONE
        self.busy = False
        self.have = 0
        self.data_size = 0
        self.data_position = 0
        self._on_change: Callable[[], object] | None = None
        self._usage = USAGE_DEFAULT
        self._values = [_blank(attr) for attr in props.attrs] if props else []

    @property
    def cost(self) -> int:
        """Bytes that it takes of the host at most."""
        return object_cost(self.props)

    @property
    def usage(self) -> int:
        """TEE_USAGE_*."""
        return self._usage

    def restrict(self, usage: int) -> None:
        """Give up every usage that is not in `usage`."""
        self._usage &= usage

    def assign_usage(self, usage: int) -> None:
        """Take over the usage of the object that attributes were copied from."""
        self._usage = usage

    @property
    def initialized(self) -> bool:
        return bool(self.flags & HandleFlag.INITIALIZED)

    @property
    def persistent(self) -> bool:
        return bool(self.flags & HandleFlag.PERSISTENT)

    def info(self) -> bytes:
        """`struct utee_object_info`."""
        return UTEE_OBJECT_INFO.pack(
            self.type, self.bits, self.max_bits, self.usage, self.data_size, self.data_position, self.flags
        )

    def watch(self, on_change: Callable[[], object]) -> None:
        """Call `on_change` once, when an attribute changes or goes; in place of any other watcher."""
        self._on_change = on_change

    def _changed(self) -> None:
        if self._on_change is not None:
            self._on_change()
            self._on_change = None

    # --- attributes ------------------------------------------------------------------------

    def require_props(self, otherwise: results.Result) -> TypeProps:
        """The type's row; `otherwise` for a data object, which has none."""
        if self.props is None:
            raise TeeError(otherwise, f"object type {self.type:#x} has no attributes")
        return self.props

    def has(self, attr: int) -> bool:
        at = self.props.position(attr) if self.props else None
        return at is not None and bool(self.have >> at & 1)

    def value(self, attr: int) -> bytes | int:
        """What an attribute holds, set or not: an int for a value, else octets. KeyError: not in the type."""
        at = self.props.position(attr) if self.props else None
        if at is None:
            raise KeyError(attr)
        stored = self._values[at]
        return stored if isinstance(stored, int) else bytes(stored)

    def set(self, attr: int, value: bytes | int) -> None:
        """Store one attribute and mark it set. TeeError as OP-TEE's from_user; KeyError: not in the type."""
        at = self.props.position(attr) if self.props else None
        if self.props is None or at is None:
            raise KeyError(attr)
        self.store(at, value)
        self.have |= 1 << at

    def store(self, at: int, value: bytes | int) -> None:
        """Store the attribute at position `at`, without marking it set."""
        props = self.require_props(results.BAD_STATE)
        self._changed()
        self._values[at] = _accept(props.attrs[at], props.alloc, value)

    def check_length(self, at: int, size: int) -> None:
        """The error `store` would give for `size` octets, before anybody copies them."""
        props = self.require_props(results.BAD_STATE)
        _check_length(props.attrs[at].kind, props.alloc, size)

    @property
    def key(self) -> bytes:
        """The secret of a symmetric key or of key-derivation input; empty for any other object."""
        if not self.props or self.props.attrs[0].kind is not AttrKind.SECRET:
            return b""
        return bytes(self._octets(0))

    def set_secret(self, secret: bytes) -> None:
        """Make `secret` the value of a symmetric key and mark the object initialized."""
        self.store(0, secret)
        self.have |= 1
        self.flags |= HandleFlag.INITIALIZED

    def restore(self, secret: bytes, bits: int, usage: int, flags: int) -> None:
        """A transient symmetric key again as it is: after others had it."""
        self.store(0, secret)
        self.bits = bits
        self._usage = usage
        self.flags = HandleFlag(flags)

    def _octets(self, at: int) -> bytearray:
        stored = self._values[at]
        assert isinstance(stored, bytearray)
        return stored

    def clear(self) -> None:
        """Wipe the attributes. `have` stays, as in OP-TEE: an uninitialized object is not read."""
        if self.props is None:
            return
        self._changed()
        for at, attr in enumerate(self.props.attrs):
            stored = self._values[at]
            if isinstance(stored, bytearray):
                stored[:] = bytes(len(stored))
            self._values[at] = _blank(attr)

    def close(self) -> None:
        """The TA's handle is gone."""
        self.clear()

    def reset(self) -> None:
        """Uninitialized, as after its allocation; BAD_PARAMETERS for a persistent object."""
        if self.persistent:
            raise TeeError(results.BAD_PARAMETERS, "reset of a persistent object")
        self.clear()
        self.bits = 0
        self._usage = USAGE_DEFAULT
        self.flags &= ~HandleFlag.INITIALIZED

    def copy_attributes(self, source: Object) -> None:
        """From the same type, or from the key pair to its public key (tee_obj_attr_copy_from).

        BAD_PARAMETERS: the types do not fit.
        """
        if self.props is None:
            return
        if self.type == source.type:
            have = source.have
        elif PUBLIC_PART.get(self.type) == source.type:
            have = (1 << len(self.props.attrs)) - 1
        else:
            raise TeeError(results.BAD_PARAMETERS, f"attributes of {source.type:#x} do not make a {self.type:#x}")
        self._changed()
        for at, attr in enumerate(self.props.attrs):
            self._values[at] = _copied(source.value(attr.attr))
        self.have = have

    # --- the form in which trusted storage keeps them --------------------------------------

    def to_binary(self) -> bytes:
        """Every attribute, set or not, in the type's order (tee_obj_attr_to_binary)."""
        out = []
        for stored in self._values:
            if isinstance(stored, int):
                out.append(_U32.pack(stored))
            else:
                out += [_U32.pack(len(stored)), bytes(stored)]
        return b"".join(out)

    def from_binary(self, data: bytes) -> None:
        """The inverse; CORRUPT_OBJECT unless `data` begins with such a form. `have` is the caller's to set."""
        if self.props is None:
            return
        try:
            fields = list(_split(self.props, data))
            values = [
                _accept(attr, self.props.alloc, field) for attr, field in zip(self.props.attrs, fields, strict=True)
            ]
        except TeeError as error:
            raise TeeError(results.CORRUPT_OBJECT, error.detail) from None
        self._changed()
        self._values = values


def _blank(attr: AttrProps) -> bytearray | int:
    if attr.kind is AttrKind.VALUE:
        return 0
    return bytearray(FIXED_BYTES.get(attr.kind, 0))


def _copied(value: bytes | int) -> bytearray | int:
    return value if isinstance(value, int) else bytearray(value)


def _check_length(kind: AttrKind, alloc: int, size: int) -> None:
    if kind is AttrKind.SECRET and size > alloc:
        raise TeeError(results.SECURITY, f"{size} octets of secret, at most {alloc}")
    if kind is AttrKind.BIGNUM and size > BIGNUM_MAX_BYTES:
        raise TeeError(results.BAD_PARAMETERS, f"big number of {size} octets")
    if kind in FIXED_BYTES and size != FIXED_BYTES[kind]:
        raise TeeError(results.SECURITY, f"{size} octets, not {FIXED_BYTES[kind]}")


def _accept(attr: AttrProps, alloc: int, value: bytes | int) -> bytearray | int:
    if isinstance(value, int) or attr.kind is AttrKind.VALUE:
        if not isinstance(value, int) or attr.kind is not AttrKind.VALUE:
            raise TeeError(results.GENERIC, f"{attr.attr.name} is of another kind")
        return value & 0xFFFFFFFF
    _check_length(attr.kind, alloc, len(value))
    return bytearray(value.lstrip(b"\0") if attr.kind is AttrKind.BIGNUM else value)


def _split(props: TypeProps, data: bytes) -> Iterator[bytes | int]:
    at = 0
    for attr in props.attrs:
        if len(data) - at < _U32.size:
            raise TeeError(results.CORRUPT_OBJECT, f"{attr.attr.name} is cut off")
        (word,) = _U32.unpack_from(data, at)
        at += _U32.size
        if attr.kind is AttrKind.VALUE:
            yield word
            continue
        if word > len(data) - at:
            raise TeeError(results.CORRUPT_OBJECT, f"{attr.attr.name} is cut off")
        yield data[at : at + word]
        at += word


class State(NamedTuple):
    """What Python knows of an operation state. key1, key2: object handles, 0 for none."""

    algo: int
    mode: int
    key1: int
    key2: int


class StateTable:
    """Operation states of one TA instance by the handle that C gave them. account: pays for them."""

    def __init__(self, account: Account) -> None:
        self._states: dict[int, State] = {}
        self._account = account

    def __len__(self) -> int:
        return len(self._states)

    def charge(self, algo: int) -> None:
        """Before C makes one that is to be added, or given back with `credit`; OUT_OF_MEMORY."""
        self._account.charge(operation_cost(algo))

    def credit(self, algo: int) -> None:
        self._account.credit(operation_cost(algo))

    def add(self, handle: int, state: State) -> None:
        """Already charged."""
        self._states[handle] = state

    def get(self, handle: int) -> State:
        """BAD_PARAMETERS if no state has that handle (tee_svc_cryp_get_state)."""
        try:
            return self._states[handle]
        except KeyError:
            raise TeeError(results.BAD_PARAMETERS, f"no operation state {handle:#x}") from None

    def remove(self, handle: int) -> State:
        state = self.get(handle)
        del self._states[handle]
        self.credit(state.algo)
        return state

    def clear(self) -> None:
        self._states.clear()


class ObjectTable(HandleTable[Object]):
    """Objects of one TA instance by handle, and its operations, which own some of them."""

    MANY = "objects open"

    def __init__(self, limit: int = 1024, account: Account | None = None) -> None:
        super().__init__(limit, account)
        self._lent: dict[int, Callable[[Object], None]] = {}
        self.operations = StateTable(self.account)

    def cost(self, thing: Object) -> int:
        return thing.cost

    def __iter__(self) -> Iterator[Object]:
        return map(self.get, list(self._open))

    def lend(self, handle: int, take_back: Callable[[Object], None]) -> None:
        """Somebody else has the state of an object; `take_back` restores it before the next one looks at it."""
        self._lent[handle] = take_back

    def get(self, handle: int) -> Object:
        """BAD_STATE if no object has that handle (tee_obj_get)."""
        try:
            obj = self._open[handle]
        except KeyError:
            raise TeeError(results.BAD_STATE, f"no object {handle:#x}") from None
        if handle in self._lent:
            self._lent.pop(handle)(obj)
        return obj

    def remove(self, handle: int) -> Object:
        """Forget a handle and wipe what the object held; BAD_STATE if there is none."""
        obj = super().remove(handle)
        obj.close()
        return obj

    def replace(self, handle: int, obj: Object) -> None:
        """`handle` stands for `obj` from now on; what it stood for is wiped."""
        before = self.get(handle)
        self.account.charge(max(0, obj.cost - before.cost))
        self.account.credit(max(0, before.cost - obj.cost))
        self._open[handle] = obj
        before.close()

    def close(self) -> None:
        """Wipe and forget everything; the C side of the operations is freed with its `Task`."""
        self.operations.clear()
        for handle in list(self._open):
            self.remove(handle)
