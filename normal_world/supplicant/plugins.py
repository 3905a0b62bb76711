"""Plugins of a supplicant on this host (`tee.normal.Plugins`): C ones from folders, and Python ones that are installed.

Semantics: optee_client 4.5 tee-supplicant/src/plugin.c. docs/supplicant.md says how to write one.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from normal_world.libteec import BuildError, triplet
from normal_world.plugin_host.build import ensure
from normal_world.run_with.program import machine_of, qemu
from normal_world.supplicant import plugins_python
from normal_world.supplicant.plugins_c import CPlugin, PluginRefused
from south.errors import UsageError
from south.linux_host.log import STDERR
from tee.abi import results
from tee.errors import TeeError, reason
from tee.normal import PLUGIN_DATA_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from tee.normal import PluginAnswer

LIMIT = 30.0
"""Seconds of one call."""
MOST = 64
"""C plugins: each is two processes."""


class Plugin(Protocol):
    def invoke(self, command: int, sub_command: int, data: bytearray, stop: Callable[[], bool]) -> PluginAnswer: ...


def tell(problem: str) -> None:
    """A line on standard error: bad plugins are told and passed over, as tee-supplicant does."""
    STDERR.write(f"litebox: plugin {problem}\n")


class HostPlugins:
    """All plugins, loaded now: C plugins have started when this returns. May be used by several threads.

    folders: every file in them is a plugin. sysroot: root of another machine's libraries, for plugins of that machine.
    limit: seconds of one call. UsageError: a folder, a compiler or an emulator that is needed is missing.
    Of two plugins with one UUID the first is used, C before Python.
    """

    def __init__(
        self,
        folders: Sequence[str] = (),
        *,
        sysroot: str | None = None,
        limit: float = LIMIT,
        tell: Callable[[str], None] = tell,
    ) -> None:
        self._sysroot = sysroot
        self._limit = limit
        self._tell = tell
        self._plugins: dict[UUID, Plugin] = {}
        self._started: list[CPlugin] = []
        try:
            self._load([path for folder in folders for path in files_in(folder)])
            for uuid, name, plugin in plugins_python.load(limit, tell):
                self._add(uuid, name, plugin)
        except BaseException:
            self.close()
            raise

    def invoke(
        self, uuid: UUID, command: int, sub_command: int, data: bytearray, stop: Callable[[], bool]
    ) -> PluginAnswer:
        """`tee.normal.Plugins`."""
        plugin = self._plugins.get(uuid)
        if plugin is None:
            raise TeeError(results.ITEM_NOT_FOUND, f"no plugin {uuid}")
        if len(data) > PLUGIN_DATA_MAX:
            raise TeeError(results.OUT_OF_MEMORY, f"more than {PLUGIN_DATA_MAX} bytes for a plugin")
        return plugin.invoke(command, sub_command, data, stop)

    @property
    def uuids(self) -> list[UUID]:
        return sorted(self._plugins)

    def close(self) -> None:
        """End the processes. No call may be under way."""
        self._plugins = {}
        while self._started:
            self._started.pop().close()

    def _load(self, paths: list[str]) -> None:
        """Start them all, then wait for each: under an emulator a start takes long."""
        if len(paths) > MOST:
            raise UsageError(f"--plugin-dir: more than {MOST} plugins")
        starting: list[tuple[str, CPlugin]] = []
        for path in paths:
            try:
                plugin = CPlugin(*keeper_command(path, self._sysroot), self._limit)
            except (PluginRefused, OSError) as problem:
                self._tell(f"{path}: {reason(problem)}")
                continue
            self._started.append(plugin)
            starting.append((path, plugin))
        for path, plugin in starting:
            try:
                uuid, name = plugin.ready().identity()
                if self._add(uuid, f"{path} ({name})", plugin):
                    continue
            except PluginRefused as problem:
                self._tell(f"{path}: {reason(problem)}")
            self._started.remove(plugin)
            plugin.close()

    def _add(self, uuid: UUID, name: str, plugin: Plugin) -> bool:
        if uuid in self._plugins:
            self._tell(f"{name}: there is a plugin {uuid} already")
            return False
        self._plugins[uuid] = plugin
        return True


def files_in(folder: str) -> list[str]:
    """What a tee-supplicant would load from there. UsageError: no such folder."""
    try:
        return [str(path) for path in sorted(Path(os.path.abspath(folder)).iterdir()) if not path.is_dir()]
    except OSError as problem:
        raise UsageError(f"--plugin-dir {folder}: {problem.strerror}") from None


def keeper_command(path: str, sysroot: str | None) -> tuple[list[str], dict[str, str]]:
    """Command line, but for its last two words, and environment of a plugin's process.

    What a plugin needs is also looked for beside it: tee-supplicant is linked with that folder as its rpath.
    PluginRefused: the file is none. UsageError: a compiler or an emulator for it is missing.
    """
    try:
        machine = machine_of(path) if os.path.isfile(path) else None
    except (UsageError, OSError) as problem:
        raise PluginRefused(reason(problem)) from None
    if machine is None:
        raise PluginRefused("no shared object")
    folder = os.path.dirname(path)
    environment = dict(os.environ)
    try:
        if machine == os.uname().machine:
            libraries = environment.get("LD_LIBRARY_PATH")
            environment["LD_LIBRARY_PATH"] = f"{folder}:{libraries}" if libraries else folder
            return [str(ensure()), path], environment
        root = sysroot or f"/usr/{triplet(machine)}"  # where Debian's cross-compilers have their C library
        emulator = [qemu(machine), "-L", os.path.abspath(root), "-E", f"LD_LIBRARY_PATH={folder}"]
        return [*emulator, str(ensure(machine)), path], environment
    except BuildError as problem:
        raise UsageError(f"plugin {path} is for {machine}: {problem}") from None
