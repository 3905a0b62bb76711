"""A TEE in this process: a secure world of its own, called without any copy or context switch."""

from __future__ import annotations

import mmap
import os
import threading
from typing import TYPE_CHECKING
from uuid import UUID

from normal_world.client.options import LocalOptions
from normal_world.client.ports import Outcome
from normal_world.daemon.logins import Peer, client_of, start_time
from normal_world.died import Death
from normal_world.host.compose import Host
from normal_world.host.daemon import tell_crash
from normal_world.host.setup import Setup, read_layout
from normal_world.supplicant.services import ServiceOptions, Supplicant
from north.memory import Layout, most_addresses
from south.errors import UsageError
from south.linux_host.interrupt import Interruptible
from south.linux_host.memory import MappedPages
from south.platform import PAGE
from ta_loader.errors import ImageRefused
from tee.abi import results
from tee.abi.results import Origin
from tee.activity import Cancellation
from tee.errors import TeeError
from tee.params import Kind, Memref, Value

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from normal_world.client.ports import Argument
    from tee.params import Param
    from tee.records import Crash
    from tee.session import Client


class LogConsole:
    """The secure world's console as a callable."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self.write = write


class LocalMemory:
    """Pages of this process; a call that uses them keeps them."""

    def __init__(self, way: Local, size: int) -> None:
        if size > way.most_memory:
            raise TeeError(results.OUT_OF_MEMORY, f"{size} bytes: a TA has {way.most_memory} of addresses", Origin.API)
        room = max(-(-size // PAGE) * PAGE, PAGE)
        try:
            mapping = mmap.mmap(-1, room)
        except (OSError, OverflowError, ValueError):
            raise TeeError(results.OUT_OF_MEMORY, f"no {size} bytes of shared memory", Origin.API) from None
        self.pages: MappedPages | None = MappedPages(mapping, room)
        self.view = memoryview(mapping)[:size]
        self.way = way

    def close(self) -> None:
        pages, self.pages = self.pages, None
        if pages is not None:
            self.way.forget(pages)


class Local:
    """TypeError or ValueError for options that cannot be, TeeError(BAD_PARAMETERS) for files that cannot be used."""

    null_memrefs = True

    def __init__(self, options: LocalOptions, on_crash: Callable[[Crash], None] | None = None) -> None:
        """on_crash: called instead of `log` when a TA dies."""
        if not isinstance(options, LocalOptions):
            raise TypeError(f"options: LocalOptions, not {type(options).__name__}")
        options = options.checked()
        self.most_memory = most_addresses(Layout(options.address_space))
        if options.sockets != "off":
            from normal_world.supplicant.policy import Policy

            Policy.parse(options.sockets)
        self._calls: dict[int, Cancellation] = {}
        self._pid = os.getpid()
        self._peer: Peer | None = None
        self._lock = threading.Lock()
        self._log = options.log
        self._on_crash = on_crash
        try:
            for name, folders in (("ta_dirs", options.ta_dirs), ("plugin_dirs", options.plugin_dirs)):
                for folder in folders:
                    if not os.path.isdir(folder):
                        raise UsageError(f"{name}: {os.fspath(folder)}: no such folder")
            self._supplicant = Supplicant(_services(options))
            self._host = Host(
                _setup(options),
                normal=self._supplicant,
                on_crash=self._crashed,
                interruptible=False,
                console=None if options.log is None else LogConsole(options.log),
            )
        except UsageError as problem:
            raise TeeError(results.BAD_PARAMETERS, str(problem), Origin.API) from None
        self._world = self._host.world

    def resolve(self, ta: str) -> UUID:
        try:
            return self._host.resolve(ta)
        except UsageError as problem:
            raise ValueError(str(problem)) from None
        except ImageRefused as refused:
            raise TeeError(refused.result, refused.detail or str(refused), Origin.TEE) from None

    # --- memory

    def allocate(self, size: int) -> LocalMemory:
        return LocalMemory(self, size)

    def forget(self, pages: MappedPages) -> None:
        self._world.forget(pages)

    # --- sessions and calls

    def open_session(
        self, uuid: UUID, login: int, login_data: int, arguments: Sequence[Argument], call: int
    ) -> tuple[int, Outcome]:
        number = 0

        def run(params: Sequence[Param], cancellation: Cancellation) -> tuple[int, int]:
            nonlocal number
            opened = self._world.open_session(uuid, params, client=client, cancellation=cancellation)
            number = opened.session
            return opened.result, opened.origin

        client = self._client(login, login_data)
        self._host.images.problems.clear()
        outcome = self._run(run, arguments, call)
        if outcome.result and self._host.images.problems:
            self._explain(uuid)
        return number, outcome

    def invoke(self, session: int, command: int, arguments: Sequence[Argument], call: int) -> Outcome:
        return self._run(
            lambda params, cancellation: self._world.invoke(session, command, params, cancellation=cancellation),
            arguments,
            call,
        )

    def _run(
        self,
        run: Callable[[Sequence[Param], Cancellation], tuple[int, int]],
        arguments: Sequence[Argument],
        call: int,
    ) -> Outcome:
        self._check_process()
        params = [self._param(argument) for argument in arguments]
        cancellation = self._calls[call] = Cancellation()
        try:
            with Interruptible():
                result, origin = run(params, cancellation)
        finally:
            del self._calls[call]
        answers = tuple(_answer(param) for param in params)
        deaths = tuple(map(Death.of, cancellation.crashes)) if cancellation.crashes else ()
        return Outcome(results.Result.of(result), Origin(origin), answers, deaths)

    def _param(self, argument: Argument) -> Param:
        kind = argument.kind
        if kind == Kind.NONE:
            return None
        if kind < Kind.MEMREF_INPUT:
            return Value(kind, argument.a, argument.b)
        memory = argument.memory
        if memory is None:
            return Memref(kind, None, argument.size)
        if not isinstance(memory, LocalMemory) or memory.way is not self:
            raise TeeError(results.BAD_PARAMETERS, "memory of another context", Origin.API)
        if memory.pages is None:
            raise TeeError(results.BAD_STATE, "the shared memory was closed", Origin.API)
        if argument.offset + argument.size > len(memory.view):
            raise TeeError(results.BAD_PARAMETERS, "the memref is larger than its memory", Origin.API)
        return Memref(kind, memory.pages, argument.size, argument.offset)

    def close_session(self, session: int) -> None:
        self._check_process()
        with Interruptible():
            self._world.close_session(session)

    def cancel(self, call: int) -> bool:
        cancellation = self._calls.get(call)
        if cancellation is None:
            return False
        cancellation.request()
        return True

    def abandon(self, call: int) -> None:
        cancellation = self._calls.get(call)
        if cancellation is not None:
            cancellation.kill()

    def close(self) -> None:
        if os.getpid() == self._pid:
            try:
                with Interruptible():
                    self._world.close()
            finally:
                self._supplicant.close()

    def _crashed(self, crash: Crash) -> None:
        if self._on_crash is not None:
            self._on_crash(crash)
            return
        if self._log is None:
            tell_crash(crash)
            return
        from tee.crash import crash_lines

        self._log("\n".join(crash_lines(crash)) + "\n")

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise TeeError(results.BAD_STATE, "the TEE of this context is in the parent process", Origin.API)

    def _client(self, login: int, group: int) -> Client:
        with self._lock:
            if self._peer is None:
                pid = os.getpid()
                self._peer = Peer(pid, os.geteuid(), os.getegid(), frozenset(os.getgroups()), start_time(pid))
        return client_of(self._peer, login, group)

    def _explain(self, uuid: UUID) -> None:
        """Why the image was refused, if it was: a result alone says little."""
        for refused, error in self._host.images.problems:
            if refused == uuid:
                raise TeeError(error.result, error.detail or str(error), Origin.TEE)


def _answer(param: Param) -> tuple[int, int]:
    if param is None:
        return 0, 0
    return (param.a, param.b) if isinstance(param, Value) else (param.size, 0)


def _setup(options: LocalOptions) -> Setup:
    return Setup(
        ta_dirs=tuple(os.fspath(folder) for folder in options.ta_dirs),
        trust=tuple(os.fspath(key) for key in options.trust),
        allow_unsigned=options.allow_unsigned,
        enc_key=options.enc_key,
        state=None if options.state is None else os.fspath(options.state),
        memory=options.memory,
        storage_limit=options.storage_limit,
        timeout=options.timeout,
        elf=tuple(os.fspath(path) for path in options.elf),
        rpmb_integrity=options.rpmb_integrity,
        layout=read_layout(options.address_space, "address_space"),
        profile_dir=None if options.profile_dir is None else os.fspath(options.profile_dir),
    )


def _services(options: LocalOptions) -> ServiceOptions:
    return ServiceOptions(
        sockets=options.sockets,
        plugin_dirs=tuple(os.fspath(folder) for folder in options.plugin_dirs),
        state=None if options.state is None else os.fspath(options.state),
        plugin_seconds=options.plugin_seconds,
    )
