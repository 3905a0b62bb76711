"""Trusted storage of one secure world, and one TA's view of it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from north.handles import HandleTable
from tee.abi import results
from tee.abi.storage import StorageId
from tee.errors import TeeError
from tee.storage.keys import StorageKeys
from tee.storage.pobj import PobjTable

if TYPE_CHECKING:
    from south.platform import Platform
    from tee.normal import NormalWorld
    from tee.storage.anchor import RpmbAnchor
    from tee.storage.files import FileSystem
    from tee.storage.quota import LimitedFs, Measured, Quota
    from tee.storage.ree_fs import ReeFs
    from tee.storage.rpmb import RpmbStorage


class TrustedStorage:
    """File systems by storage id, each made when first used."""

    def __init__(
        self,
        platform: Platform,
        normal: NormalWorld | None,
        *,
        rpmb_integrity: bool = False,
        limit: int | None = None,
    ) -> None:
        """rpmb_integrity: the RPMB keeps the root of the REE files; without it they are not available then.

        limit: bytes of each TA, in all file systems together (`tee.storage.quota`).
        """
        self._limit = limit
        self._quota: Quota | None = None
        self._limited: dict[int, LimitedFs] = {}
        self._platform = platform
        self._rpmb_integrity = rpmb_integrity
        self._normal = normal
        self._lock = threading.Lock()
        self._ree: ReeFs | None = None
        self._rpmb: RpmbStorage | None = None
        self.keys = StorageKeys(platform.root_of_trust)
        self.pobjs = PobjTable()
        self._said: set[str] = set()

    def _missing(self, problem: TeeError) -> TeeError:
        """STORAGE_NOT_AVAILABLE, and why in the log, once: the TA sees the result alone."""
        text = problem.detail or str(problem)
        if text not in self._said:
            self._said.add(text)
            self._platform.console.write(f"litebox: trusted storage cannot be used: {text}\n")
        missing = TeeError(results.STORAGE_NOT_AVAILABLE, text)
        missing.logged = True
        return missing

    def system(self, storage_id: int) -> FileSystem:
        """ITEM_NOT_FOUND: no such storage; STORAGE_NOT_AVAILABLE: the normal world offers none."""
        if storage_id in (StorageId.PRIVATE, StorageId.PRIVATE_REE):
            return self._for_tas(self.ree())
        if storage_id == StorageId.PRIVATE_RPMB:
            return self._for_tas(self._rpmb_storage())
        raise TeeError(results.ITEM_NOT_FOUND, f"no storage {storage_id:#x}")

    def _for_tas(self, system: Measured) -> FileSystem:
        """With the limit; always the same, since objects are open in it."""
        if self._limit is None:
            return system
        from tee.storage.quota import LimitedFs, Quota

        with self._lock:
            if self._quota is None:
                self._quota = Quota(self._limit, self._systems)
            found = self._limited.get(id(system))
            if found is None:
                found = self._limited[id(system)] = LimitedFs(system, self._quota)
            return found

    def _systems(self) -> list[Measured]:
        """Whatever there is. An RPMB that has no key holds nothing, and gets none because somebody measures it."""
        found: list[Measured] = []
        for make in (self.ree, lambda: self._rpmb_storage(program_key=False)):
            try:
                found.append(make())
            except TeeError:
                continue
        return found

    def ree(self) -> ReeFs:
        from tee.storage.ree_fs import ReeFs

        with self._lock:
            if self._ree is None:
                files = None
                if self._normal is not None:
                    try:
                        self.keys.ready()  # before anything is made that only this key opens
                        files = self._normal.files
                    except TeeError as error:
                        raise self._missing(error) from error
                if files is None:
                    raise TeeError(results.STORAGE_NOT_AVAILABLE, "the normal world offers no files")
                self._ree = ReeFs(files, self._platform.entropy, self.keys, self._anchor())
            return self._ree

    def _anchor(self) -> RpmbAnchor | None:
        if not self._rpmb_integrity:
            return None
        from tee.storage.anchor import RpmbAnchor

        return RpmbAnchor(lambda: self._rpmb_storage().files)

    def _rpmb_storage(self, *, program_key: bool = True) -> RpmbStorage:
        from tee.storage.rpmb import RpmbStorage

        with self._lock:
            if self._rpmb is None:
                rpmb = None
                platform = self._platform
                if self._normal is not None:
                    try:
                        self.keys.ready()
                        rpmb = self._normal.rpmb
                    except TeeError as error:
                        raise self._missing(error) from error
                if rpmb is None:
                    raise TeeError(results.STORAGE_NOT_AVAILABLE, "the normal world offers no RPMB")
                try:
                    self._rpmb = RpmbStorage(
                        rpmb, platform.root_of_trust, platform.entropy, self.keys, program_key=program_key
                    )
                except TeeError as error:
                    raise (self._missing(error) if program_key else error) from error
            return self._rpmb

    def close(self) -> None:
        """Every TA is gone."""
        if self._ree is not None:
            self._ree.forget()


class Enumerator:
    """place: of the object given last in its file system's directory; system: None before a start."""

    __slots__ = ("place", "system")

    def __init__(self) -> None:
        self.system: FileSystem | None = None
        self.place = -1


class EnumeratorTable(HandleTable[Enumerator]):
    """Enumerators of one TA instance by handle."""

    MANY = "enumerators"

    def get(self, handle: int) -> Enumerator:
        """BAD_PARAMETERS (tee_svc_storage_get_enum)."""
        try:
            return self._open[handle]
        except KeyError:
            raise TeeError(results.BAD_PARAMETERS, f"no enumerator {handle:#x}") from None
