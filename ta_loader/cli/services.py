"""The normal world's services for a TA that is run here, made when it first asks for one: most never do.

They live in a package above this one, which names itself by an entry point, as commands do.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Protocol

from south.linux_host.state import SEALED, default_state_folder
from tee.abi.results import STORAGE_NOT_AVAILABLE
from tee.errors import TeeError

if TYPE_CHECKING:
    from tee.normal import Files, Plugins, Rpmb, Sockets

GROUP = "litebox_ta.normal_world"
"""Entry points; a callable (state folder or None) -> `Services`."""
DEFAULT = "supplicant"


class Services(Protocol):
    """A normal world with what trusted storage lies on. Closed when no TA can call any more."""

    @property
    def files(self) -> Files | None: ...

    @property
    def rpmb(self) -> Rpmb | None: ...

    def close(self) -> None: ...


class LateServices:
    """`tee.normal.NormalWorld` with storage alone. state: folder; None: the user's."""

    sockets: Sockets | None = None
    plugins: Plugins | None = None

    def __init__(self, state: str | None) -> None:
        self._state = state
        self._lock = threading.Lock()
        self._made: Services | None = None

    @property
    def files(self) -> Files | None:
        return self._make().files

    @property
    def rpmb(self) -> Rpmb | None:
        return self._make().rpmb

    @property
    def blank(self) -> bool:
        """Whether there are no REE files yet: costs no more than a look."""
        return self._made is None and not os.path.exists(os.path.join(self._state or default_state_folder(), SEALED))

    def _make(self) -> Services:
        with self._lock:
            if self._made is None:
                self._made = _find(self._state)
            return self._made

    def close(self) -> None:
        if self._made is not None:
            self._made.close()


def _find(state: str | None) -> Services:
    from importlib.metadata import MetadataPathFinder, entry_points

    for _ in range(2):
        for point in entry_points(group=GROUP, name=DEFAULT):
            made: Services = point.load()(state)
            return made
        # A folder that could not be listed once counts as empty there for the life of the process.
        MetadataPathFinder().invalidate_caches()  # on an object, since Python 3.11 lacks a @classmethod there
    raise TeeError(STORAGE_NOT_AVAILABLE, f"nothing installed offers a {GROUP}")
