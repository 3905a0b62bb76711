"""The PTAs of one secure world, by UUID."""

from __future__ import annotations

import threading
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
    from collections.abc import Callable, Iterator
    from uuid import UUID

    from tee.pta.base import PseudoTa

PTA_DEFAULT_FLAGS = TA_FLAG_SINGLE_INSTANCE | TA_FLAG_MULTI_SESSION | TA_FLAG_INSTANCE_KEEP_ALIVE
"""PTA_MANDATORY_FLAGS of optee_os core/include/kernel/pseudo_ta.h."""

PTA_ALLOWED_FLAGS = PTA_DEFAULT_FLAGS | TA_FLAG_SECURE_DATA_PATH | TA_FLAG_CONCURRENT | TA_FLAG_DEVICE_ENUM


def pta_flags(pta: PseudoTa) -> int:
    """TA_FLAG_* bits of a PTA: its attribute `flags` if it has one, else `PTA_DEFAULT_FLAGS`."""
    return int(getattr(pta, "flags", PTA_DEFAULT_FLAGS))


class Registry:
    """Filled while a world is built. A PTA is there as itself or declared, to be made when it is first looked for:
    most are never opened, and their imports should cost nobody anything.
    """

    def __init__(self) -> None:
        self._flags: dict[UUID, int] = {}
        self._ptas: dict[UUID, PseudoTa] = {}
        self._makers: dict[UUID, Callable[[], PseudoTa]] = {}
        self._making = threading.Lock()

    def add(self, pta: PseudoTa) -> None:
        """ValueError as for `declare`."""
        self._enter(pta.uuid, pta_flags(pta))
        self._ptas[pta.uuid] = pta

    def declare(self, uuid: UUID, flags: int, make: Callable[[], PseudoTa]) -> None:
        """make: gives the PTA `uuid`, whose flags are `flags`; called once, later.

        ValueError for a second PTA with the same UUID, or flags no PTA may have (`verify_pseudo_tas_conformance`,
        core/kernel/pseudo_ta.c).
        """
        self._enter(uuid, flags)
        self._makers[uuid] = make

    def _enter(self, uuid: UUID, flags: int) -> None:
        if flags & PTA_DEFAULT_FLAGS != PTA_DEFAULT_FLAGS or flags & ~PTA_ALLOWED_FLAGS:
            raise ValueError(f"PTA {uuid} has flags {flags:#x}")
        if uuid in self._flags:
            raise ValueError(f"there is a PTA {uuid} already")
        self._flags[uuid] = flags

    def find(self, uuid: UUID) -> PseudoTa | None:
        """The PTA, or None: then `uuid` may still be a user TA's."""
        found = self._ptas.get(uuid)
        if found is not None or uuid not in self._makers:
            return found
        with self._making:
            if uuid not in self._ptas:
                self._ptas[uuid] = self._makers[uuid]()
            return self._ptas[uuid]

    def devices(self) -> list[tuple[UUID, int]]:
        """(UUID, flags) of every PTA, as `tee.pta.device.DevicePta` takes them; makes none."""
        return list(self._flags.items())

    def __iter__(self) -> Iterator[PseudoTa]:
        """All of them; makes those that were only declared."""
        return (pta for pta in map(self.find, self._flags) if pta is not None)

    def __len__(self) -> int:
        return len(self._flags)
