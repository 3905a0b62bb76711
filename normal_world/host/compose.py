"""The composition root: a platform, a store of TAs, services and a secure world, made of a `Setup`."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from normal_world.host.images import WatchedSource
from normal_world.host.store import NamedStore, encryption_key
from normal_world.supplicant.services import ServiceOptions, Supplicant
from south.errors import UsageError
from south.linux_host import linux_host
from south.linux_host.host import NullConsole
from south.linux_host.interrupt import Interruptible
from south.linux_host.log import STDERR
from ta_loader.bundled import SamplesLast
from ta_loader.container.versions import StoredVersions
from ta_loader.installed import InstalledFirst
from ta_loader.source import Loader
from ta_loader.trust import TrustStore
from tee.abi.uuids import parse_uuid
from tee.errors import TeeError
from tee.limits import Limits
from tee.observe import Observer
from tee.world import SecureWorld

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from uuid import UUID

    from normal_world.host.setup import Setup
    from normal_world.host.trace import Tracer
    from normal_world.supplicant.profiles import ProfileFolder
    from south.platform import Console
    from ta_loader.source import Store
    from ta_loader.symbolise.debug_files import DebugFiles
    from tee.message.services import RpcNormalWorld
    from tee.normal import NormalWorld
    from tee.pta.ports import PtaPorts
    from tee.records import CallRecord, Crash


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

    normal: its services; None: those that storage needs, if a TA does. on_crash: gets crashes, which are kept
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
        self._own = Supplicant(ServiceOptions(state=setup.state)) if normal is None else None
        versions = StoredVersions(lambda: self.world.storage, self._is_blank)
        enc_key = encryption_key(setup.enc_key, trust, self.platform)
        self.store = NamedStore(setup.ta_dirs, trust, enc_key, versions)
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
        store = InstalledFirst(SamplesLast(store), lambda: self.world.storage, self._may_be_installed)
        self._profiles: ProfileFolder | None = None
        if setup.profile_dir is not None:
            from normal_world.supplicant.profiles import ProfileFolder

            self._profiles = ProfileFolder(setup.profile_dir)
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
            normal=normal or self._own,
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
        return self._own is not None and not self.setup.rpmb_integrity and self._own.blank

    def _may_be_installed(self, uuid: UUID) -> bool:
        return not self.store.is_named(uuid) and not self._is_blank()

    def _tracer(self) -> Tracer | None:
        if not self.setup.trace and self.setup.trace_out is None:
            return None
        from normal_world.host.trace import Tracer

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
            if self._own is not None:
                self._own.close()
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
