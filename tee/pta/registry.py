"""The PTAs of one secure world, by UUID."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee.abi.ta_head import (
    TA_FLAG_CONCURRENT,
    TA_FLAG_DEVICE_ENUM,
    TA_FLAG_INSTANCE_KEEP_ALIVE,
    TA_FLAG_MULTI_SESSION,
    TA_FLAG_SECURE_DATA_PATH,
    TA_FLAG_SINGLE_INSTANCE,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from tee.pta.base import PseudoTa

PTA_DEFAULT_FLAGS = TA_FLAG_SINGLE_INSTANCE | TA_FLAG_MULTI_SESSION | TA_FLAG_INSTANCE_KEEP_ALIVE
"""PTA_MANDATORY_FLAGS of optee_os core/include/kernel/pseudo_ta.h."""

PTA_ALLOWED_FLAGS = PTA_DEFAULT_FLAGS | TA_FLAG_SECURE_DATA_PATH | TA_FLAG_CONCURRENT | TA_FLAG_DEVICE_ENUM


def pta_flags(pta: PseudoTa) -> int:
    """TA_FLAG_* bits of a PTA: its attribute `flags` if it has one, else `PTA_DEFAULT_FLAGS`."""
    return int(getattr(pta, "flags", PTA_DEFAULT_FLAGS))


class Registry:
    """Filled while a world is built; reading it needs no lock."""

    def __init__(self) -> None:
        self._ptas: dict[UUID, PseudoTa] = {}

    def add(self, pta: PseudoTa) -> None:
        """ValueError for a second PTA with the same UUID, or flags no PTA may have
        (`verify_pseudo_tas_conformance`, core/kernel/pseudo_ta.c)."""
        flags = pta_flags(pta)
        if flags & PTA_DEFAULT_FLAGS != PTA_DEFAULT_FLAGS or flags & ~PTA_ALLOWED_FLAGS:
            raise ValueError(f"PTA {pta.uuid} has flags {flags:#x}")
        if pta.uuid in self._ptas:
            raise ValueError(f"there is a PTA {pta.uuid} already")
        self._ptas[pta.uuid] = pta

    def find(self, uuid: UUID) -> PseudoTa | None:
        """The PTA, or None: then `uuid` may still be a user TA's."""
        return self._ptas.get(uuid)

    def devices(self) -> list[tuple[UUID, int]]:
        """(UUID, flags) of every PTA, as `tee.pta.device.DevicePta` takes them."""
        return [(uuid, pta_flags(pta)) for uuid, pta in self._ptas.items()]

    def __iter__(self) -> Iterator[PseudoTa]:
        return iter(self._ptas.values())

    def __len__(self) -> int:
        return len(self._ptas)
