"""A secure world over Debian's TAs and our samples, and short ways to call TAs in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from south.linux_host import linux_host
from ta_loader import samples
from ta_loader.source import Loader
from ta_loader.store import TaStore
from ta_loader.trust import TrustStore
from tee.observe import Observer
from tee.params import Kind, Memref, Param, Value
from tee.world import Cancellation, Client, Outcome, SecureWorld
from tests.fakes import Lines
from tests.tas import cryptdrv

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from uuid import UUID

    from tee.limits import Limits
    from tee.records import Crash


class Watch(Observer):
    """Keeps crashes and log lines."""

    def __init__(self) -> None:
        self.crashes: list[Crash] = []
        self.log = ""

    def on_crash(self, crash: Crash) -> None:
        self.crashes.append(crash)

    def on_log(self, uuid: UUID, text: str) -> None:
        self.log += text


class Host:
    """dirs: folders with TAs; trust: keys as `TrustStore` takes them; state: folder of the root of trust."""

    def __init__(
        self, state: Path, dirs: Sequence[Path] = (), trust: Sequence[Path] = (), limits: Limits | None = None
    ) -> None:
        own = [samples.hello().parent, cryptdrv.HERE]
        self.console = Lines()
        self.watch = Watch()
        self.platform = linux_host(str(state), console=self.console)
        self.store = TaStore([str(d) for d in (*own, *dirs)], TrustStore([str(samples.public_key()), *map(str, trust)]))
        self.world = SecureWorld(self.platform, Loader(self.store), limits=limits, observer=self.watch)

    def close(self) -> None:
        self.world.close()

    # --- calls

    def open(self, uuid: UUID, *params: Param, client: Client | None = None) -> int:
        """Open a session that must open."""
        opened = (
            self.world.open_session(uuid, params)
            if client is None
            else self.world.open_session(uuid, params, client=client)
        )
        assert not opened.result, f"{uuid}: {opened}\n{self.watch.log}{self.console.text}"
        return opened.session

    def invoke(
        self,
        session: int,
        command: int,
        *params: Param,
        timeout: float | None = None,
        cancellation: Cancellation | None = None,
    ) -> Outcome:
        return self.world.invoke(session, command, params, timeout=timeout, cancellation=cancellation)

    def succeed(self, session: int, command: int, *params: Param) -> None:
        """Invoke a command that must succeed."""
        outcome = self.invoke(session, command, *params)
        assert not outcome.result, f"command {command}: {outcome}\n{self.watch.log}{self.console.text}"

    def close_session(self, session: int) -> None:
        self.world.close_session(session)

    # --- parameters

    def memref(self, kind: Kind, data: bytes, size: int | None = None) -> Memref:
        size = len(data) if size is None else size
        pages = self.platform.pages.shared(max(size, 1))
        pages.view(0, len(data))[:] = data
        return Memref(kind, pages, size)

    def input(self, data: bytes) -> Memref:
        return self.memref(Kind.MEMREF_INPUT, data)

    def output(self, size: int) -> Memref:
        return self.memref(Kind.MEMREF_OUTPUT, b"", size)

    def inout(self, data: bytes, size: int | None = None) -> Memref:
        return self.memref(Kind.MEMREF_INOUT, data, size)


def null(kind: Kind) -> Memref:
    """A NULL memref of no bytes."""
    return Memref(kind, None, 0)


def value(a: int = 0, b: int = 0) -> Value:
    return Value(Kind.VALUE_INPUT, a, b)


def value_out() -> Value:
    return Value(Kind.VALUE_OUTPUT)


def value_inout(a: int = 0, b: int = 0) -> Value:
    return Value(Kind.VALUE_INOUT, a, b)


def content(memref: Memref) -> bytes:
    """What the TA left there, `memref.size` bytes."""
    assert memref.pages is not None
    return bytes(memref.pages.view(memref.offset, memref.size))


def functions(crash: Crash) -> list[str]:
    """Names in the call stack, innermost first; "" where a stripped image has none."""
    return [frame.function for frame in crash.backtrace]
