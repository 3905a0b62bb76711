"""Which persistent objects are open, and with which rights: the rules of sharing, across all TAs.

Source: optee_os 4.5 core/tee/tee_pobj.c; GP TEE Internal Core API v1.3.1 §5.7.1 (sharing rules).
"""

from __future__ import annotations

import enum
import threading
from typing import TYPE_CHECKING

from tee.abi import results
from tee.abi.storage import DataFlag
from tee.errors import TeeError

if TYPE_CHECKING:
    from tee.storage.dirfile import Key
    from tee.storage.files import FileSystem, StoredFile


class Purpose(enum.Enum):
    """enum tee_pobj_usage."""

    OPEN = 1
    RENAME = 2
    CREATE = 3
    ENUMERATE = 4


class Pobj:
    """One object that somebody has open. flags: of who opened it first; usage: TEE_USAGE_*, of all handles.

    looking: of the references, those of enumerators, which keep nobody from anything.
    file: open while any handle is; all of them use it.
    """

    __slots__ = ("creating", "file", "flags", "key", "lock", "looking", "references", "system", "usage")

    def __init__(self, system: FileSystem, key: Key, flags: int, creating: bool) -> None:
        self.system = system
        self.key = key
        self.flags = flags
        self.creating = creating
        self.references = 1
        self.looking = 0
        self.usage = 0
        self.file: StoredFile | None = None
        self.lock = threading.Lock()
        """Held while the file is opened or the usage changes."""

    def open_file(self) -> StoredFile:
        """The file; opened if nobody has yet."""
        with self.lock:
            if self.file is None:
                self.file = self.system.open(self.key)
            return self.file

    def replace_file(self, file: StoredFile) -> None:
        with self.lock:
            before, self.file = self.file, file
        if before is not None:
            before.close()


def check_access(have: int, want: int) -> None:
    """ACCESS_CONFLICT unless handles opened with these flags may be open together (tee_pobj_check_access)."""
    both, either = have & want, have | want
    if either & DataFlag.ACCESS_WRITE_META:
        raise TeeError(results.ACCESS_CONFLICT, "write access to the metadata is exclusive")
    for access, share in (
        (DataFlag.ACCESS_READ, DataFlag.SHARE_READ),
        (DataFlag.ACCESS_WRITE, DataFlag.SHARE_WRITE),
    ):
        if (either & access and not both & share) or (have ^ want) & share:
            raise TeeError(results.ACCESS_CONFLICT, f"the handles do not share {access.name}")


class PobjTable:
    """Every open persistent object of one secure world. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[tuple[int, Key], Pobj] = {}

    def __len__(self) -> int:
        return len(self._open)

    def get(self, system: FileSystem, key: Key, flags: int, purpose: Purpose) -> Pobj:
        """The object, one reference more. ACCESS_CONFLICT: who has it open does not allow that."""
        with self._lock:
            found = self._open.get((id(system), key))
            looks = purpose is Purpose.ENUMERATE
            if found is None or (found.references == found.looking and not looks):
                # Enumerators keep the one they look at; this one is another.
                found = Pobj(system, key, flags, purpose is Purpose.CREATE)
                found.looking = int(looks)
                self._open[id(system), key] = found
                return found
            if not looks:
                if found.creating or (purpose is Purpose.CREATE and not flags & DataFlag.OVERWRITE):
                    raise TeeError(results.ACCESS_CONFLICT, "the object is open, or just being made")
                check_access(found.flags, flags)
            found.references += 1
            found.looking += looks
            return found

    def created(self, pobj: Pobj) -> None:
        """The object is there; others may open it from now on."""
        with self._lock:
            pobj.creating = False

    def release(self, pobj: Pobj, purpose: Purpose = Purpose.OPEN) -> None:
        with self._lock:
            pobj.references -= 1
            pobj.looking -= purpose is Purpose.ENUMERATE
            if pobj.references:
                return
            place = id(pobj.system), pobj.key
            if self._open.get(place) is pobj:  # a renamed object, or one opened since, may have its place
                del self._open[place]
        if pobj.file is not None:
            pobj.file.close()
            pobj.file = None

    def rename(self, pobj: Pobj, taken: Pobj) -> None:
        """`pobj`, open to write its metadata, goes on under the name that `taken` kept free; that one is released.

        Never fails: the file system has renamed it by now. Enumerators of other instances may look at either of the two
        just then, and keep what they look at until they `release` it.
        """
        with self._lock:
            del self._open[id(pobj.system), pobj.key]
            pobj.key = taken.key
            if pobj.file is not None:
                pobj.file.key = taken.key
            self._open[id(pobj.system), pobj.key] = pobj
        self.release(taken)
