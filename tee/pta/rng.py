"""Random generator PTA: the host's entropy for the normal world (Linux's optee-rng driver).

Source: optee_os core/pta/hwrng.c; Linux drivers/char/hw_random/optee-rng.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee.abi import results
from tee.abi.pta_rng import PTA_RNG_UUID, RngCommand
from tee.abi.ta_head import TA_FLAG_CONCURRENT, TA_FLAG_DEVICE_ENUM
from tee.errors import TeeError
from tee.params import Kind
from tee.pta.base import Sessionless
from tee.pta.kinds import buffer, expect, value
from tee.pta.registry import PTA_DEFAULT_FLAGS

if TYPE_CHECKING:
    from south.platform import Entropy
    from tee.pta.base import Caller, Params

RATE = 1 << 20
"""Bytes a second. Linux divides by it to find out how long to wait for more; the host's generator never runs dry."""
QUALITY = 1024
"""Bits of entropy in 1024 bits: it is a CSPRNG that the host seeds."""


class RngPta(Sessionless):
    uuid = PTA_RNG_UUID
    name = "rng.pta"
    flags = PTA_DEFAULT_FLAGS | TA_FLAG_CONCURRENT | TA_FLAG_DEVICE_ENUM

    def __init__(self, entropy: Entropy) -> None:
        self._entropy = entropy

    def invoke(self, session: object, command: int, params: Params, caller: Caller | None) -> None:
        if command == RngCommand.GET_ENTROPY:
            expect(params, Kind.MEMREF_INOUT)
            ref = buffer(params, 0)
            ref.put(self._entropy.fill(ref.size))
        elif command == RngCommand.GET_RNG_INFO:
            expect(params, Kind.VALUE_OUTPUT)
            info = value(params, 0)
            info.a, info.b = RATE, QUALITY
        else:
            raise TeeError(results.NOT_IMPLEMENTED, f"the random generator PTA has no command {command}")
