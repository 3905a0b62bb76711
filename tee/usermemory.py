"""A TA's memory as its system calls may use it, and the mappings it asks for itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from north.errors import BadRange, OutOfMemory
from north.memory import page_up
from north.usermemory import CheckedMemory
from south.platform import PAGE, Prot, RegionFlag
from tee.abi import results
from tee.abi.pta_system import MAP_FLAG_SHAREABLE
from tee.errors import AccessDenied, TeeError

if TYPE_CHECKING:
    from north.memory import AddressSpace

_ZEROED = "zeroed"


class TaMemory(CheckedMemory):
    """What a TA may not use is ACCESS_DENIED."""

    __slots__ = ("_space",)

    def __init__(self, space: AddressSpace) -> None:
        super().__init__(space.table)
        self._space = space

    def denied(self) -> AccessDenied:
        return AccessDenied()

    def too_much(self, size: int) -> TeeError:
        return TeeError(results.OUT_OF_MEMORY, f"{size} bytes to copy at once")

    def copy_in_private(self, va: int, size: int) -> bytes:
        """As `copy_in`; ACCESS_DENIED, too, if any of it is memory that somebody else shares."""
        at = va
        while at < va + size:
            region = self._space.find(at)
            if region is None or not region.flags & RegionFlag.PRIVATE:
                raise AccessDenied(f"{at:#x} is not the TA's own memory")
            at = region.end
        return self.copy_in(va, size)

    @staticmethod
    def touches_private(space: AddressSpace, va: int, size: int) -> bool:
        return any(r.flags & RegionFlag.PRIVATE and r.va < va + size and va < r.end for r in space)

    def map_zeroed(self, space: AddressSpace, size: int, before: int, after: int, at: int, flags: int) -> int:
        """Zeroed memory; only with the shareable flag may the TA show it to others (core/pta/system.c)."""
        length = page_up(size)
        if not length or length > space.high:
            raise TeeError(results.OUT_OF_MEMORY if length else results.BAD_PARAMETERS)
        before, after = page_up(before), page_up(after)
        try:
            if at:
                if at % PAGE:
                    raise TeeError(results.BAD_PARAMETERS, "the address is not page-aligned")
                va = at
            else:
                va = space.reserve(before + length + after) + before
            shared = RegionFlag.SECURE if flags & MAP_FLAG_SHAREABLE else RegionFlag.PRIVATE
            return space.map(size, Prot.RW, name=_ZEROED, at=va, flags=shared).va
        except OutOfMemory as error:
            raise TeeError(results.OUT_OF_MEMORY, str(error)) from error
        except BadRange as error:
            raise TeeError(results.ACCESS_CONFLICT, str(error)) from error

    def unmap(self, space: AddressSpace, va: int, size: int) -> None:
        """Only what `map_zeroed` mapped; anything else is not the TA's to unmap."""
        length = page_up(size)
        if not length or va % PAGE:
            raise TeeError(results.BAD_PARAMETERS)
        at = va
        while at < va + length:
            region = space.find(at)
            if region is None:
                raise TeeError(results.BAD_PARAMETERS, f"{at:#x} is not mapped")
            if region.name != _ZEROED:
                raise TeeError(results.ACCESS_DENIED)
            at = region.end
        space.unmap(va, length)
