"""What the daemon gives up once it has started: privileges, core dumps, paths, and system calls.

Called once, before the first client and before there are other threads. Each layer stands alone: where one
is not to be had, the report says so, and the others hold all the same.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from normal_world.daemon import programs, syscalls
from south.linux_host import landlock, privileges, seccomp, systemd
from tee.errors import reason

_READ_ALWAYS = ("/etc/ld.so.cache", "/etc/localtime", "/usr/share/zoneinfo", "/dev/urandom", "/proc")
_READ_NET = (
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/services",
    "/run/systemd/resolve",
)
_WRITE_ALWAYS = ("/dev/null",)


class Layer(NamedTuple):
    """One protection. why: what it is when active, else what is missing."""

    name: str
    active: bool
    why: str


class Report(NamedTuple):
    """Which layers hold."""

    layers: tuple[Layer, ...]

    @property
    def complete(self) -> bool:
        return all(layer.active for layer in self.layers)

    def active(self, name: str) -> bool:
        return any(layer.active for layer in self.layers if layer.name == name)

    def line(self) -> str:
        """For the log: one line, whatever happened."""
        have = ", ".join(_named(layer) for layer in self.layers if layer.active) or "nothing"
        lack = "; ".join(_named(layer) for layer in self.layers if not layer.active)
        return f"hardening: {have}" + (f" - NOT ACTIVE: {lack}" if lack else "")


def _named(layer: Layer) -> str:
    return f"{layer.name} ({layer.why})"


def restrict(read: Sequence[str], write: Sequence[str], *, sockets: bool, unlink: Sequence[str] = ()) -> Report:
    """Give up, for good, what a running daemon does not need. Never raises for what the host lacks.

    read: files and folders beside Python's own (TAs, trusted keys). write: folders that may be changed (state);
    they must exist. unlink: folders from which files may be removed (the socket's, at the end). sockets: TAs may
    open sockets to the network. Processes of plugins are outside: they have been started before.
    """
    systemd.open_notifier()  # no socket can be made afterwards
    late = privileges.other_threads()
    layers = [
        _layer("clients' programs", _programs),  # first: the child keeps a right that we give up
        _layer("no new privileges", _no_new_privileges),
        _layer("no capabilities", _no_capabilities),
        _layer("no core dumps", _no_core_dumps),
        _layer("Landlock", lambda: _landlock(read, write, unlink, sockets)),
        _layer("seccomp", lambda: _seccomp(sockets)),
    ]
    if late:
        layers.append(Layer("all threads", False, f"{late} had been started; Landlock and capabilities are as before"))
    return Report(tuple(layers))


def existing(folders: Iterable[str]) -> list[str]:
    """Make the folders that are not there (mode 0700): Landlock can only let through what exists.

    One that cannot be made is told when it is needed, as it would have been without a sandbox.
    """
    wanted = [os.path.abspath(folder) for folder in folders]
    for folder in wanted:
        try:
            os.makedirs(folder, 0o700, exist_ok=True)
        except OSError:
            pass
    return wanted


def _layer(name: str, apply: Callable[[], str]) -> Layer:
    try:
        return Layer(name, True, apply())
    except OSError as problem:
        return Layer(name, False, reason(problem))
    except (landlock.LandlockError, seccomp.SeccompError, ValueError) as problem:
        return Layer(name, False, str(problem))


def _programs() -> str:
    programs.start()
    return "asked of a process apart"


def _no_new_privileges() -> str:
    privileges.no_new_privileges()
    return "kept by the kernel"


def _no_capabilities() -> str:
    count = privileges.drop_capabilities()
    return f"{count} dropped" if count else "there were none"


def _no_core_dumps() -> str:
    privileges.no_core_dumps()
    return "and not traceable by its user"


def _landlock(read: Sequence[str], write: Sequence[str], unlink: Sequence[str], sockets: bool) -> str:
    readable = [*_READ_ALWAYS, *(_READ_NET if sockets else ()), *runtime_paths(), *read]
    version = landlock.restrict(
        readable,
        (*_WRITE_ALWAYS, *write),
        unlink=unlink,
        sockets=sockets,
    )
    lack = landlock.unguarded(version)
    return f"ABI {version}" + (f", which does not guard {', '.join(lack)}" if lack else "")


def _seccomp(sockets: bool) -> str:
    with seccomp.Filter() as rules:
        rules.allow(syscalls.allowed(sockets=sockets))
        rules.kill(syscalls.FATAL)
        rules.no_such_call(syscalls.NO_SUCH_CALL)
        rules.load()
        old = f", libseccomp does not know {' '.join(rules.unknown)}" if rules.unknown else ""
        return f"{rules.count} system calls allowed{old}"


def runtime_paths() -> list[str]:
    """Where modules and shared libraries that are loaded later come from: the interpreter's own folders."""
    found = [path for path in sys.path if path]  # '' is whatever folder we were started in
    found += [os.path.join(prefix, "lib") for prefix in (sys.prefix, sys.base_prefix)]
    found += [os.path.dirname(file) for module in tuple(sys.modules.values()) if (file := _file(module))]
    found += [os.path.dirname(path) for path in _mapped_libraries()]
    return _topmost(found)


def _file(module: object) -> str | None:
    path = getattr(module, "__file__", None)
    return path if isinstance(path, str) else None


def _mapped_libraries() -> Iterable[str]:
    with open("/proc/self/maps", errors="surrogateescape") as maps:
        fields = (line.rstrip("\n").split(maxsplit=5) for line in maps)
        return {field[5] for field in fields if len(field) == 6 and field[5].startswith("/") and ".so" in field[5]}


def _topmost(paths: Iterable[str]) -> list[str]:
    """Absolute, each once, none inside another; never the root."""
    whole = sorted({os.path.realpath(path) for path in paths})
    kept: list[str] = []
    for path in whole:
        if path != "/" and not any(path.startswith(f"{top}/") for top in kept):
            kept.append(path)
    return kept
