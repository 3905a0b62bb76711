"""The pseudo TA that installs signed TAs in trusted storage, where they are found before those in folders.

Source: optee_os 4.5 core/pta/secstor_ta_mgmt.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee.abi import results
from tee.abi.tadb import PTA_SECSTOR_TA_MGMT_UUID, SecstorCommand
from tee.errors import TeeError
from tee.params import Kind
from tee.pta.kinds import expect, memref
from tee.pta.registry import PTA_DEFAULT_FLAGS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tee.params import Value
    from tee.ports import Installer
    from tee.pta.base import Caller, PtaMemref
    from tee.storage.store import TrustedStorage


class SecstorTaMgmtPta:
    """installer: judges images. storage: of the secure world."""

    uuid = PTA_SECSTOR_TA_MGMT_UUID
    name = "secstor_ta_mgmt"
    flags = PTA_DEFAULT_FLAGS

    def __init__(self, installer: Installer, storage: Callable[[], TrustedStorage]) -> None:
        self._installer = installer
        self._storage = storage

    def open(self, caller: Caller | None, params: Sequence[Value | PtaMemref | None]) -> object:
        return None

    def close(self, session: object) -> None:
        pass

    def invoke(
        self, session: object, command: int, params: Sequence[Value | PtaMemref | None], caller: Caller | None
    ) -> None:
        if command != SecstorCommand.BOOTSTRAP:
            raise TeeError(results.NOT_IMPLEMENTED, f"command {command}")
        expect(params, Kind.MEMREF_INPUT)
        signed = self._installer.verify(memref(params, 0).read())
        from tee.storage.tadb import install

        install(self._storage().ree(), signed.uuid, signed.version, signed.image)
