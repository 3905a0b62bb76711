"""PTA that installs signed TAs in secure storage.

An image is checked wholly before anything is kept of it; whatever is wrong with it answers TEE_ERROR_SECURITY.
Source: optee_os core/pta/secstor_ta_mgmt.c.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from tee.abi import results
from tee.abi.pta_secstor_ta_mgmt import PTA_SECSTOR_TA_MGMT_UUID, SecstorCommand
from tee.errors import TeeError
from tee.params import Kind
from tee.pta.base import Sessionless
from tee.pta.kinds import expect, memref
from tee.pta.registry import PTA_DEFAULT_FLAGS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tee.pta.base import Caller, Params
    from tee.pta.ports import SignedImage, TaDatabase


class SecstorTaMgmtPta(Sessionless):
    """verify, database: see `tee.pta.ports.PtaPorts`."""

    uuid = PTA_SECSTOR_TA_MGMT_UUID
    name = "secstor_ta_mgmt"
    flags = PTA_DEFAULT_FLAGS

    def __init__(self, verify: Callable[[bytes], SignedImage], database: TaDatabase | None) -> None:
        self._verify = verify
        self._database = database
        self._one = threading.Lock()
        """No second installation between the look at a version and the change of it."""

    def invoke(self, session: object, command: int, params: Params, caller: Caller | None) -> None:
        if command != SecstorCommand.BOOTSTRAP:
            raise TeeError(results.NOT_IMPLEMENTED, f"there is no command {command}")
        expect(params, Kind.MEMREF_INPUT)
        ref = memref(params, 0)
        # Copied once: the normal world may change its memory between check and use.
        ta = self._verify(ref.read() if ref.size and not ref.null else b"")
        if self._database is None:
            raise TeeError(results.STORAGE_NOT_AVAILABLE, "there is no secure storage to install a TA in")
        with self._one:
            installed = self._database.version(ta.uuid)
            if installed is not None and installed > ta.version:
                raise TeeError(results.ACCESS_CONFLICT, f"version {installed} of TA {ta.uuid} is installed")
            self._database.install(ta)
