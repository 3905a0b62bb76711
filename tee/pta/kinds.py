"""What every PTA does first: find the command, and compare the parameter types it was given with those it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from tee.abi import results
from tee.abi.uuids import TEE_UUID_SIZE, uuid_from_tee
from tee.errors import TeeError
from tee.params import BaseMemref, Kind, Value

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from tee.pta.base import Params

TEE_NUM_PARAMS = 4
"""Parameters of every call (optee_os lib/libutee/include/tee_api_defines.h)."""


Served = TypeVar("Served")


def served(commands: Mapping[int, Served], command: int, name: str, missing: int) -> Served:
    """What `commands` has for `command`; TeeError(missing) if the PTA, called `name`, has no such command."""
    found = commands.get(command)
    if found is None:
        raise TeeError(missing, f"{name} has no command {command}")
    return found


def expect(params: Params, *kinds: Kind) -> None:
    """TeeError(BAD_PARAMETERS) unless the kinds are exactly these, the rest NONE."""
    have = [Kind.NONE if p is None else p.kind for p in params]
    want = list(kinds)
    have += [Kind.NONE] * (TEE_NUM_PARAMS - len(have))
    want += [Kind.NONE] * (TEE_NUM_PARAMS - len(want))
    if have != want:
        raise TeeError(results.BAD_PARAMETERS, "parameter types are not those of the command")


def value(params: Params, index: int) -> Value:
    """Parameter `index`, which `expect` found to be a value."""
    param = params[index]
    if not isinstance(param, Value):
        raise TeeError(results.BAD_PARAMETERS, f"parameter {index} is not a value")
    return param


def memref(params: Params, index: int) -> BaseMemref:
    """Parameter `index`, which `expect` found to be a memref."""
    param = params[index]
    if not isinstance(param, BaseMemref):
        raise TeeError(results.BAD_PARAMETERS, f"parameter {index} is not a memref")
    return param


def buffer(params: Params, index: int) -> BaseMemref:
    """As `memref`, but TeeError(BAD_PARAMETERS) if it is NULL. Empty is NULL, as PTAs of OP-TEE see it."""
    ref = memref(params, index)
    if ref.null or not ref.size:
        raise TeeError(results.BAD_PARAMETERS, f"parameter {index} has no bytes")
    return ref


def tee_uuid(params: Params, index: int) -> UUID:
    """Parameter `index`, a memref with a struct TEE_UUID."""
    ref = buffer(params, index)
    if ref.size != TEE_UUID_SIZE:
        raise TeeError(results.BAD_PARAMETERS, "not the size of a TEE_UUID")
    return uuid_from_tee(ref.read())


def pair(param: Value) -> int:
    """A 64-bit number in two words, the upper one in `a` (`reg_pair_to_64`)."""
    return (param.a & 0xFFFFFFFF) << 32 | param.b & 0xFFFFFFFF


def set_pair(param: Value, number: int) -> None:
    """Inverse of `pair` (`reg_pair_from_64`)."""
    param.a = number >> 32 & 0xFFFFFFFF
    param.b = number & 0xFFFFFFFF
