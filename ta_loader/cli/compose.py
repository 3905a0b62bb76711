"""The composition root: a platform, a store of TAs and a secure world, made of command-line options."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from north.memory import Layout
from south.errors import UsageError
from south.linux_host import linux_host
from south.linux_host.host import NullConsole
from south.linux_host.interrupt import Interruptible
from south.linux_host.log import STDERR
from ta_loader.cli.images import WatchedSource
from ta_loader.cli.options import Option, seconds, size
from ta_loader.cli.services import LateServices
from ta_loader.container.versions import StoredVersions
from ta_loader.inputs import shown
from ta_loader.installed import InstalledFirst
from ta_loader.source import Loader
from ta_loader.store import TaStore
from ta_loader.trust import TrustStore, read_config
from tee.abi.uuids import parse_uuid
from tee.errors import TeeError
from tee.limits import Limits
from tee.observe import Observer
from tee.world import SecureWorld

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from south.platform import Console, Platform
    from ta_loader.cli.options import Arguments
    from ta_loader.cli.profiles import ProfileFolder
    from ta_loader.cli.trace import Tracer
    from ta_loader.container.verify import Container
    from ta_loader.container.versions import VersionDatabase
    from ta_loader.source import Store
    from ta_loader.symbolise.debug_files import DebugFiles
    from tee.message.services import RpcNormalWorld
    from tee.normal import NormalWorld
    from tee.observe import CallRecord, Crash
    from tee.pta.ports import PtaPorts

TRUST_OPTIONS = (
    Option("--trust", "KEY", "PEM file, or folder of a TA development kit, whose signatures are believed", many=True),
    Option("--allow-unsigned", "", "also run bare ELF files, and images that no trusted key signed"),
    Option("--enc-key", "HEX", "key of encrypted TAs, 32 bytes; by default derived from the device's key"),
)
STATE_OPTION = Option("--state", "DIR", "the device's key and trusted storage (default: the user's XDG state folder)")
WORLD_OPTIONS = (
    Option("--ta-dir", "DIR", "folder where TAs and libraries are found by UUID", many=True),
    *TRUST_OPTIONS,
    STATE_OPTION,
    Option("--rpmb-integrity", "", "refuse an older copy of trusted storage: the RPMB keeps the root of its files"),
    Option("--storage-limit", "SIZE", "trusted storage of each TA (default: no limit)"),
    Option("--memory", "SIZE", "private memory of each TA instance (default 64M)"),
    Option(
        "--address-space", "KIND", "addresses of TAs: board (default): 1 GiB at 0x40000000, as under OP-TEE; or wide"
    ),
    Option("--timeout", "SECONDS", "stop a TA whose call takes longer (default: never)"),
    Option("--elf", "FILE", "unstripped ELF of a TA or library: backtraces show files and lines", many=True),
    Option(
        "--profile-dir", "DIR", "where TAs built with gprof or ftrace leave gmon-UUID.out and ftrace-UUID.out", out=True
    ),
    Option("--trace", "", "print every system call on standard error"),
    Option("--trace-out", "FILE", "write system calls as Chrome trace JSON (chrome://tracing, Perfetto)", out=True),
)
MIN_MEMORY = 1 << 20


class Setup(NamedTuple):
    """What a secure world is made of. memory, storage_limit: bytes; timeout: seconds; paths as the user wrote them."""

    ta_dirs: tuple[str, ...] = ()
    trust: tuple[str, ...] = ()
    allow_unsigned: bool = False
    enc_key: bytes | None = None
    state: str | None = None
    memory: int = Limits().memory
    timeout: float | None = None
    elf: tuple[str, ...] = ()
    trace: bool = False
    trace_out: str | None = None
    quiet: bool = False
    rpmb_integrity: bool = False
    layout: Layout = Layout.BOARD
    profile_dir: str | None = None
    storage_limit: int | None = None


def read_setup(arguments: Arguments) -> Setup:
    """The options of `WORLD_OPTIONS` and the user's configuration file. UsageError."""
    config = read_config()
    memory, timeout = arguments.one("--memory"), arguments.one("--timeout")
    storage = arguments.one("--storage-limit")
    folders = require_folders((*arguments.many("--ta-dir"), *config.ta_dirs))
    setup = Setup(
        ta_dirs=folders,
        trust=(*arguments.many("--trust"), *config.trust),
        allow_unsigned=arguments.switch("--allow-unsigned"),
        enc_key=read_enc_key(arguments),
        state=arguments.one("--state"),
        timeout=None if timeout is None else seconds(timeout, "--timeout"),
        elf=tuple(arguments.many("--elf")),
        trace=arguments.switch("--trace"),
        trace_out=arguments.one("--trace-out"),
        quiet=arguments.switch("--quiet"),
        rpmb_integrity=arguments.switch("--rpmb-integrity"),
        layout=read_layout(arguments.one("--address-space"), "--address-space"),
        profile_dir=arguments.one("--profile-dir"),
        storage_limit=None if storage is None else size(storage, "--storage-limit"),
    )
    return setup if memory is None else setup._replace(memory=read_memory(memory, "--memory"))


def require_folders(paths: Sequence[str]) -> tuple[str, ...]:
    """Those of `--ta-dir` or of a file in its place. UsageError if one is not there."""
    for path in paths:
        if not os.path.isdir(path):
            raise UsageError(f"{shown(path, '--ta-dir')}: no such folder")
    return tuple(paths)


def read_memory(text: str, what: str) -> int:
    """Bytes that a TA instance may have. UsageError names `what` it was for."""
    limit = size(text, what, 1 << 32)
    if limit < MIN_MEMORY:
        raise UsageError(f"{what} {text}: a TA instance needs at least 1M")
    return limit


def _profiles(folder: str | None) -> ProfileFolder | None:
    if folder is None:
        return None
    from ta_loader.cli.profiles import ProfileFolder

    return ProfileFolder(folder)


def read_layout(text: str | None, name: str) -> Layout:
    """The layout of that name; None: a board's. UsageError."""
    try:
        return Layout.BOARD if text is None else Layout(text)
    except ValueError:
        raise UsageError(f"{name} {text}: say {' or '.join(layout.value for layout in Layout)}") from None


def read_enc_key(arguments: Arguments) -> bytes | None:
    text = arguments.one("--enc-key")
    if text is None:
        return None
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise UsageError("--enc-key takes 64 hexadecimal digits: a 256-bit AES key")
    return key


def encryption_key(given: bytes | None, trust: TrustStore, platform: Platform) -> Callable[[int], bytes]:
    """Where `open_container` asks for the key of encrypted TAs: the one given, or what a device would derive."""

    def derive(key_type: int) -> bytes:
        from tee.huk import ta_encryption_key

        if given is not None:
            return given
        modulus = trust.keys[0].numbers.modulus if trust.keys else b""
        return ta_encryption_key(platform.root_of_trust, key_type, modulus)

    return derive


class CliStore(TaStore):
    """A store that also knows files by name."""

    def __init__(
        self,
        dirs: Sequence[str],
        trust: TrustStore,
        enc_key: Callable[[int], bytes],
        versions: VersionDatabase | None = None,
    ) -> None:
        super().__init__(dirs, trust, enc_key=enc_key, versions=versions)
        self._pins: dict[UUID, tuple[TaStore, str]] = {}

    def is_named(self, uuid: UUID) -> bool:
        """Whether `add_file` serves it."""
        return uuid in self._pins

    def find(self, uuid: UUID) -> Container:
        pin = self._pins.get(uuid)
        if pin is None:
            return super().find(uuid)
        store, path = pin
        return store.load_path(path, expected_uuid=uuid)

    def add_file(self, path: str, trust: TrustStore | None = None) -> UUID:
        """Serve the TA of one file under its own UUID; its folder is searched after all others.

        trust: believed for this file alone, instead of the store's own; it comes with this program, and its version is
        not remembered. ImageRefused, TeeError, UsageError.
        """
        store = self if trust is None else TaStore((), trust)
        try:
            container = store.load_path(path)
        except FileNotFoundError:
            raise UsageError(f"{path}: no such file") from None
        uuid = container.uuid or parse_uuid(os.path.basename(path).partition(".")[0]) or _own_uuid(container, path)
        self._pins[uuid] = (store, path)
        folder = os.path.dirname(path) or "."
        if trust is None and folder not in self.dirs:
            self.dirs = (*self.dirs, folder)
        return uuid


def _own_uuid(container: Container, path: str) -> UUID:
    """Of `struct ta_head`: plain images and bare ELF files have no other."""
    from ta_loader.elf.describe import describe_elf

    uuid = describe_elf(container.elf).uuid
    if uuid is None:
        raise UsageError(f"{path}: a library cannot be run; name the TA, and this folder with --ta-dir")
    return uuid


class Watch(Observer):
    """Keeps crashes until they are asked for, or hands them on; hands records on to the tracer."""

    def __init__(self, tracer: Tracer | None, tell: Callable[[Crash], None] | None = None) -> None:
        self._tracer = tracer
        self._tell = tell
        self.tracing = tracer is not None
        self.crashes: list[Crash] = []

    def on_call(self, record: CallRecord) -> None:
        if self._tracer is not None:
            self._tracer.call(record)

    def on_crash(self, crash: Crash) -> None:
        if self._tell is not None:
            self._tell(crash)
        else:
            self.crashes.append(crash)
        if self._tracer is not None:
            self._tracer.crash(crash)


class Host:
    """A secure world on this host for the length of a `with`; signals interrupt its TAs meanwhile.

    normal: its services; None: those that storage needs, if a TA does. on_crash: told of crashes, which are kept
    otherwise. interruptible: False if signals are no TA's concern, because the main thread runs none. console: of the
    secure world. guest: a normal world with a kernel of its own, whose services, clock and TAs are used; the user's
    folders come before it.

    Trusted storage also holds installed TAs, the highest versions seen and what pseudo TAs keep. It is not looked into
    before there is something in it, nor for a TA that the user named by its file.
    """

    def __init__(
        self,
        setup: Setup,
        *,
        normal: NormalWorld | None = None,
        on_crash: Callable[[Crash], None] | None = None,
        interruptible: bool = True,
        console: Console | None = None,
        guest: RpcNormalWorld | None = None,
    ) -> None:
        self.setup = setup
        self.platform = linux_host(setup.state, console=NullConsole() if setup.quiet else console)
        normal = normal or guest
        trust = TrustStore(setup.trust, allow_unsigned=setup.allow_unsigned)
        self._services = LateServices(setup.state) if normal is None else None
        versions = StoredVersions(lambda: self.world.storage, self._is_blank)
        enc_key = encryption_key(setup.enc_key, trust, self.platform)
        self.store = CliStore(setup.ta_dirs, trust, enc_key, versions)
        self.tracer = self._tracer()
        self.watch = Watch(self.tracer, on_crash)
        limits = Limits(
            memory=setup.memory, call_seconds=setup.timeout, layout=setup.layout, storage=setup.storage_limit
        )
        store: Store = self.store
        if guest is not None:
            from ta_loader.fetched import FetchedStore
            from tee.message.clock import GuestClock

            self.platform = self.platform._replace(clock=GuestClock(self.platform.clock, guest))
            store = FetchedStore(store, guest.load_ta, trust, enc_key=enc_key, versions=versions)
        store = InstalledFirst(store, lambda: self.world.storage, self._may_be_installed)
        self._profiles = _profiles(setup.profile_dir)
        self._debug: DebugFiles | None = None
        if setup.elf:
            self._debug_files()  # refused now, if they are no ELF files
        self.images = WatchedSource(Loader(store), lambda program: self._debug_files().of_program(program))
        self.trust = trust
        self.world = SecureWorld(
            self.platform,
            self.images,
            limits=limits,
            observer=self.watch,
            normal=normal or self._services,
            pta_ports=self._pta_ports,
            rpmb_integrity=setup.rpmb_integrity,
            own_clock=guest is not None,
            profiles=self._profiles or (None if guest is None else guest.profiles),
        )
        self._interruptible = Interruptible() if interruptible else contextlib.nullcontext()

    def _pta_ports(self) -> PtaPorts:
        from ta_loader.install import installable
        from tee.pta.ports import PtaPorts
        from tee.storage.pta_stores import InstalledTas, StoredKey

        return PtaPorts(
            verify=lambda image: installable(image, self.trust),
            attestation_key=StoredKey(lambda: self.world.storage),
            database=InstalledTas(lambda: self.world.storage),
        )

    def _is_blank(self) -> bool:
        # With its root in the RPMB a store that is not there any more is no new one.
        return self._services is not None and not self.setup.rpmb_integrity and self._services.blank

    def _may_be_installed(self, uuid: UUID) -> bool:
        return not self.store.is_named(uuid) and not self._is_blank()

    def _tracer(self) -> Tracer | None:
        if not self.setup.trace and self.setup.trace_out is None:
            return None
        from ta_loader.cli.trace import Tracer

        return Tracer(STDERR if self.setup.trace else None, self.setup.trace_out is not None)

    def _debug_files(self) -> DebugFiles:
        """Made when a backtrace is wanted: reading symbols costs more than a short run."""
        if self._debug is None:
            from ta_loader.symbolise.debug_files import DebugFiles

            self._debug = DebugFiles(self.setup.elf, lambda: self.store.dirs)
        return self._debug

    def resolve(self, text: str) -> UUID:
        """The TA that the user means: a UUID, a bundled sample's name, or a file. UsageError; ImageRefused."""
        from ta_loader import samples

        uuid = parse_uuid(text)
        if uuid is not None and not os.path.exists(text):
            return uuid
        if text in samples.NAMES:
            return self.store.add_file(samples.file_of(text), TrustStore([samples.public_key_file()]))
        if not os.path.exists(text):
            raise UsageError(
                f"{text}: no such file; name a .ta file, a UUID found in a --ta-dir, or a bundled sample "
                f"({', '.join(samples.NAMES)})"
            )
        return self.store.add_file(text)

    def __enter__(self) -> Host:
        self._interruptible.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.world.close()
            else:
                self._close_quietly()
        finally:
            self._interruptible.__exit__(kind, problem, trace)
            if self._services is not None:
                self._services.close()
            if self._profiles is not None:
                self._profiles.close()
            if self.tracer is not None and self.setup.trace_out is not None:
                self.tracer.write(self.setup.trace_out)

    def _close_quietly(self) -> None:
        """The error that is under way is the one to report."""
        try:
            self.world.close()
        except TeeError:
            pass
