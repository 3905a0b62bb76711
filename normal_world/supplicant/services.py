"""What a tee-supplicant does for the secure world, made in this process: a `tee.normal.NormalWorld`."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from south.descriptors import shut
from south.errors import UsageError
from south.linux_host.root_of_trust import KEY_FILE, lost_key
from south.linux_host.state import FILES, SEALED, StateFolder
from tee.abi.results import GENERIC
from tee.errors import TeeError, reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from normal_world.supplicant.files import ReeFiles
    from normal_world.supplicant.plugins import HostPlugins
    from normal_world.supplicant.rpmb import EmulatedRpmb
    from tee.normal import Files, Plugins, Rpmb, Sockets

RPMB = "rpmb"
"""State file of the emulated RPMB."""

_T = TypeVar("_T")


class Late(Generic[_T]):
    """A service that is made when it is first used: most runs use none, and each costs imports and a file."""

    def __init__(self, make: Callable[[], _T]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self.made: _T | None = None

    def make(self) -> _T:
        """Made once, however many threads ask. UsageError, OSError: it cannot be."""
        with self._lock:
            if self.made is None:
                self.made = self._make()
            return self.made

    def get(self) -> _T:
        """For the secure world. TeeError."""
        try:
            return self.made or self.make()
        except (UsageError, OSError) as problem:
            raise TeeError(GENERIC, reason(problem)) from problem


class ServiceOptions(NamedTuple):
    """What a supplicant offers beside files and an RPMB, and where those lie.

    state: folder of REE files and the RPMB device; None: the user's, where the device's key is.
    sockets: what TAs may connect to, a policy as `Policy.parse` takes it: "off", "loopback", or HOST:PORT,...
    plugin_dirs: folders of C plugins; None: no plugins of any kind.
    sysroot: root of another machine's libraries, for plugins of that machine.
    plugin_seconds: a plugin's time for one call; None: the default.
    """

    state: str | None = None
    sockets: str = "off"
    plugin_dirs: tuple[str, ...] | None = None
    sysroot: str | None = None
    plugin_seconds: float | None = None


class Supplicant:
    """Each service is made when it is first used. The owner closes it, after the world that uses it.

    UsageError for a policy that cannot be read, and for C plugins that cannot be started.
    """

    sockets: Sockets | None = None

    def __init__(self, options: ServiceOptions) -> None:
        self._state = StateFolder(options.state)
        self._files = Late(self._make_files)
        self._rpmb = Late(self._make_rpmb)
        self._plugins = None if options.plugin_dirs is None else Late(lambda: _make_plugins(options))
        if options.sockets != "off":
            self.sockets = _make_sockets(options.sockets)

    @property
    def files(self) -> Files:
        return self._files.get()

    @property
    def rpmb(self) -> Rpmb:
        return self._rpmb.get()

    @property
    def plugins(self) -> Plugins | None:
        return None if self._plugins is None else self._plugins.get()

    @property
    def blank(self) -> bool:
        """Whether there are no REE files yet: costs no more than a look."""
        return self._files.made is None and not os.path.exists(os.path.join(self._state.path, SEALED))

    def make_all(self) -> None:
        """Now: for a daemon, which can open little and start nothing later. UsageError."""
        try:
            for service in (self._files, self._rpmb, self._plugins):
                if service is not None:
                    service.make()
        except OSError as problem:
            raise UsageError(reason(problem)) from None

    def close(self) -> None:
        """When no TA can call any more."""
        if self._plugins is not None and self._plugins.made is not None:
            self._plugins.made.close()
        if self._rpmb.made is not None:
            self._rpmb.made.close()
        if self._files.made is not None:
            self._files.made.shut()
        self._state.close()

    def _make_files(self) -> ReeFiles:
        from normal_world.supplicant.files import ReeFiles

        fd = self._state.folder(FILES, make=True)
        try:
            return ReeFiles(fd, shown=os.path.join(self._state.path, FILES))
        finally:
            shut(fd)

    def _make_rpmb(self) -> EmulatedRpmb:
        from normal_world.supplicant.rpmb import EmulatedRpmb

        made = EmulatedRpmb(os.path.join(self._state.path, RPMB), within=self._state.made())
        if made.state.key is not None and not self._state.holds(KEY_FILE):
            made.close()
            raise lost_key(self._state, RPMB)
        return made


def _make_plugins(options: ServiceOptions) -> HostPlugins:
    from normal_world.supplicant.plugins import LIMIT, HostPlugins

    limit = LIMIT if options.plugin_seconds is None else options.plugin_seconds
    return HostPlugins(options.plugin_dirs or (), sysroot=options.sysroot, limit=limit)


def _make_sockets(text: str) -> Sockets:
    from normal_world.supplicant.policy import Policy
    from normal_world.supplicant.sockets import HostSockets

    try:
        return HostSockets(Policy.parse(text))
    except ValueError as problem:
        raise UsageError(f"--sockets {text}: {problem}") from None
