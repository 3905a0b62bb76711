"""What the pytest plugin's fixtures are made of, and helpers of tests; imported when the first of them is used."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import pytest

from normal_world.api import Context
from normal_world.checks import SECONDS_MAX
from normal_world.client.local import Local
from normal_world.client.names import SAMPLES
from normal_world.client.options import LocalOptions
from normal_world.dies import DeathUnknownWarning, expect_death, expect_panic
from normal_world.pytest_plugin import LEAKS, LISTS
from north.memory import Layout
from south.errors import UsageError
from ta_loader.symbolise.debug_files import DebugFiles
from ta_loader.trust import TrustStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tee.records import Crash

__all__ = ["DeathUnknownWarning", "SecureLog", "Settings", "expect_death", "expect_panic", "find_ta"]

MOST_LOG = 1 << 20
"""Characters of log kept for one phase of a test: a TA may say more than anybody reads."""
TIMEOUT = 60.0
"""Seconds of a TA's call: a TA that hangs is a failed test, and no hanging run."""
WAYS = ("local", "daemon", "device")
BOARD = "board"
"""A way that no setting names: boards' plugin makes the connection."""


class SecureLog:
    """What the TAs and the secure world say, from any thread. where: said in its place if none of it comes here."""

    def __init__(self, where: str = "", *, verbose: bool = False) -> None:
        """verbose: crash reports are shown with registers and memory map."""
        self._verbose = verbose
        self._lock = threading.Lock()
        self._parts: list[str] = []
        self._size = 0
        self._where = where

    def write(self, text: str) -> None:
        with self._lock:
            room = MOST_LOG - self._size
            if len(text) > room:
                text = text[:room] + ("\n[more was said]\n" if room else "")
            self._size = min(MOST_LOG, self._size + len(text))
            if text:
                self._parts.append(text)

    def crash(self, crash: Crash) -> None:
        from tee.crash import crash_lines, crash_summary

        lines = list(crash_lines(crash) if self._verbose else crash_summary(crash))
        if not self._verbose:
            lines.append("  (pytest -v shows registers and memory map)")
        self.write("\n".join(lines) + "\n")

    def take(self) -> str:
        """What was said since it was last asked."""
        with self._lock:
            text, self._parts, self._size = "".join(self._parts), [], 0
        where, self._where = self._where, ""
        return text or where


class Settings(NamedTuple):
    """Options and ini settings. way: one of WAYS; address: of a daemon's socket or a device; timeout: seconds."""

    ta_dirs: tuple[Path, ...]
    trust: tuple[Path, ...]
    plugin_dirs: tuple[Path, ...]
    allow_unsigned: bool
    sockets: str
    timeout: float | None
    way: str
    address: str | None
    leaks: str
    ta: str | None
    ta_base: Path
    elf: tuple[Path, ...] = ()
    verbose: bool = False
    address_space: str = "board"

    @classmethod
    def read(cls, config: pytest.Config) -> Settings:
        """pytest.UsageError. Paths of the command line are relative to where pytest was started, others to the ini
        file; folders and keys of both count."""
        start = config.invocation_params.dir

        def paths(option: str, ini: str) -> tuple[Path, ...]:
            given = [start / path for path in config.getoption(f"--litebox-{option}") or ()]
            return (*given, *(config.getini(f"litebox_{ini}") or ()))

        def one(name: str, default: str) -> str:
            ini = name.replace("-", "_")
            return config.getoption(f"--litebox-{name}") or config.getini(f"litebox_{ini}") or default

        way, _, address = one("way", "local").partition(":")
        if way not in WAYS or (address and way == "local"):
            raise pytest.UsageError(f"litebox_way: {way}: one of local, daemon[:SOCKET], device[:PATH]")
        leaks = one("leaks", "warn")
        if leaks not in LEAKS:
            raise pytest.UsageError(f"litebox_leaks: {leaks}: one of {', '.join(LEAKS)}")
        address_space = one("address-space", "board")
        spaces = [layout.value for layout in Layout]
        if address_space not in spaces:
            raise pytest.UsageError(f"litebox_address_space: {address_space}: one of {', '.join(spaces)}")
        option_ta = config.getoption("--litebox-ta")
        return cls(
            ta_dirs=paths("ta-dir", "ta_dirs"),
            trust=paths("trust", "trust"),
            plugin_dirs=paths("plugin-dir", "plugin_dirs"),
            allow_unsigned=bool(config.getoption("--litebox-allow-unsigned"))
            or bool(config.getini("litebox_allow_unsigned")),
            sockets=_policy(one("sockets", "off")),
            timeout=_seconds(one("timeout", str(TIMEOUT))),
            way=way,
            address=address or None,
            leaks=leaks,
            ta=option_ta or config.getini("litebox_ta") or None,
            elf=paths("elf", "elf"),
            verbose=config.getoption("verbose") > 0,
            address_space=address_space,
            ta_base=start if option_ta else config.inipath.parent if config.inipath else config.rootpath,
        )

    def check_given(self, config: pytest.Config) -> None:
        """pytest.UsageError, once and before any test, for what the command line names and is not there. Paths of the
        configuration are looked at when a test needs them: a fixture may make them.
        """
        start = config.invocation_params.dir
        given = {name: [start / path for path in config.getoption(f"--litebox-{name}") or ()] for name in LISTS}
        for name, usable, what in (
            ("ta-dir", Path.is_dir, "folder"),
            ("plugin-dir", Path.is_dir, "folder"),
            ("trust", Path.exists, "key, and no TA development kit"),
            ("elf", Path.is_file, "file"),
        ):
            for path in given[name]:
                if not usable(path):
                    raise pytest.UsageError(f"--litebox-{name} {path}: no such {what}")
        wrong = ""
        try:
            TrustStore([str(path) for path in given["trust"]])
            DebugFiles([str(path) for path in given["elf"]])
        except UsageError as problem:
            wrong = str(problem)
        if wrong:
            raise pytest.UsageError(wrong)
        if config.getoption("--litebox-ta") and self.way == "local":
            find_ta(self, None, start)

    def new_log(self) -> SecureLog:
        where = {
            "daemon": "it goes to the daemon's standard error",
            "device": "it goes to the secure world's console",
            BOARD: "it goes to the board's consoles, or to the standard error of its daemon",
        }
        return SecureLog(f"[{where[self.way]}]\n" if self.way in where else "", verbose=self.verbose)

    def limited(self, context: Context) -> Context:
        """With the limit of a call, for a TEE that is told of none."""
        context.limit = self.timeout
        return context

    def context(self, state: Path, log: SecureLog) -> Context:
        """state: folder of the device, for one of this process."""
        if self.way != "local":
            return self.limited((Context.daemon if self.way == "daemon" else Context.device)(self.address))
        options = LocalOptions(
            ta_dirs=self.ta_dirs,
            trust=self.trust,
            allow_unsigned=self.allow_unsigned,
            state=state,
            timeout=self.timeout,
            sockets=self.sockets,
            plugin_dirs=self.plugin_dirs,
            log=log.write,
            elf=self.elf,
            address_space=self.address_space,
        )
        try:
            return Context.over(Local(options, log.crash))
        except ValueError as problem:
            wrong = str(problem)
        raise pytest.UsageError(wrong)


def find_ta(settings: Settings, marker: pytest.Mark | None, here: Path) -> str:
    """What `Context.open_session` is to be given. here: the folder of the test's file, which paths of a marker are
    relative to. pytest.UsageError: no TA is named, or there is no such file.
    """
    if marker is not None:
        if len(marker.args) != 1 or marker.kwargs:
            raise pytest.UsageError("the marker ta takes one argument, the TA: a file, a UUID or hello")
        return _named(settings, marker.args[0], (here,))
    if settings.ta is None:
        raise pytest.UsageError("which TA? Set litebox_ta in pytest's ini file, give --litebox-ta, or mark the test ta")
    return _named(settings, settings.ta, (settings.ta_base,))


def _named(settings: Settings, ta: Any, folders: Sequence[Path]) -> str:
    if isinstance(ta, UUID):
        return str(ta)
    name = str(ta)
    if settings.way != "local":
        # Others know UUIDs alone; a TA's file is named by its UUID.
        return str(SAMPLES[name]) if name in SAMPLES else Path(name).name.removesuffix(".ta")
    if name in SAMPLES or _is_uuid(name):
        return name
    for folder in folders:
        if (folder / name).is_file():
            return str(folder / name)
    raise pytest.UsageError(f"{name}: no such TA: no file in {folders[0]}, no UUID and no sample")


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _policy(text: str) -> str:
    if text != "off":
        from normal_world.supplicant.policy import Policy

        wrong = ""
        try:
            Policy.parse(text)
        except ValueError as problem:
            wrong = str(problem)
        if wrong:
            raise pytest.UsageError(f"litebox_sockets: {wrong}")
    return text


def _seconds(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= SECONDS_MAX:
        raise pytest.UsageError(f"litebox_timeout: {text}: seconds, or 0 for never")
    return seconds or None
