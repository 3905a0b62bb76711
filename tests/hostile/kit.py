"""What the hostile tests share: quiet worlds, a TA that makes any system call, and a bystander that must not notice."""

from __future__ import annotations

import functools
import struct
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from south.linux_host import linux_host
from south.linux_host.host import NullConsole
from south.platform import PAGE, Arch, Prot, RegionFlag
from ta_loader import samples
from ta_loader.source import Loader
from ta_loader.store import TaStore
from ta_loader.trust import TrustStore
from tee.abi.results import SUCCESS, TARGET_DEAD, Origin, Result
from tee.observe import Observer
from tee.params import Kind, Memref, Value
from tee.records import Crash
from tee.world import Outcome, SecureWorld
from tests.tas import cryptdrv

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path
    from uuid import UUID

    from south.platform import Console, Pages
    from tee.instance import TaInstance
    from tee.limits import Limits
    from tee.normal import NormalWorld, Profiles

DIED = Outcome(TARGET_DEAD, Origin.TEE)
FINE = Outcome(SUCCESS, Origin.TRUSTED_APP)
SCRATCH = 4 * PAGE
UNANSWERED = 0x5A5A5A5A
"""What a record's result holds until the call returned."""


class Hello:
    """Commands of the hello TA (ta_loader/samples/README.md)."""

    INCREMENT, HASH, PANIC, OWN_HASH, RANDOM, LOG, SPIN, EMPTY, SYSTEM_TIME, REE_TIME = range(10)
    WRITE_BYTE, RECURSE, EXECUTE_DATA, TOUCH, EXHAUST_HANDLES, BARE_LOOP, READ_BYTE, FLOAT, COUNT = range(10, 19)


class Crashes(Observer):
    """Keeps what died."""

    def __init__(self) -> None:
        self.seen: list[Crash] = []

    def on_crash(self, crash: Crash) -> None:
        self.seen.append(crash)

    def last(self) -> Crash:
        return self.seen[-1]


def make_world(
    state: Path | str,
    *,
    limits: Limits | None = None,
    folders: Sequence[Path] = (),
    allow_unsigned: bool = False,
    observer: Observer | None = None,
    console: Console | None = None,
    enc_key: Callable[[int], bytes] | None = None,
    normal: NormalWorld | None = None,
    profiles: Profiles | None = None,
) -> SecureWorld:
    """A world with the samples and the driver TA; `folders` come first."""
    platform = linux_host(str(state), console=console or NullConsole())
    trust = TrustStore([str(samples.public_key())], allow_unsigned=allow_unsigned)
    dirs = [*map(str, folders), str(samples.hello().parent), str(cryptdrv.HERE)]
    return SecureWorld(
        platform,
        Loader(TaStore(dirs, trust, enc_key=enc_key)),
        limits=limits,
        observer=observer or Crashes(),
        normal=normal,
        profiles=profiles,
    )


def open_ta(world: SecureWorld, uuid: UUID) -> int:
    opened = world.open_session(uuid)
    assert not opened.result, opened
    return opened.session


def instance_of(world: SecureWorld, session: int) -> TaInstance:
    instance = world._sessions[session].instance
    assert instance is not None
    return instance


def increments(world: SecureWorld, session: int, start: int = 41) -> None:
    """The hello TA in `session` still works."""
    value = Value(Kind.VALUE_INOUT, start)
    assert world.invoke(session, Hello.INCREMENT, [value]) == FINE
    assert value.a == start + 1


class Bystander:
    """Another session, used from another thread all the while; `with` fails if it was ever disturbed.

    longest: seconds that its slowest call took.
    """

    def __init__(self, world: SecureWorld, arch: Arch) -> None:
        self.world = world
        self.session = open_ta(world, samples.HELLO[arch])
        self.calls = 0
        self.longest = 0.0
        self._error: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                start = time.monotonic()
                increments(self.world, self.session, self.calls)
                self.longest = max(self.longest, time.monotonic() - start)
                self.calls += 1
                self._stop.wait(0.0005)
        except BaseException as error:
            self._error = error

    def __enter__(self) -> Bystander:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        while not self.calls and self._thread.is_alive():
            time.sleep(0.001)
        self._stop.set()
        self._thread.join(10)
        assert not self._thread.is_alive()
        if self._error is not None:
            raise self._error
        increments(self.world, self.session)
        self.world.close_session(self.session)


class RawCall(NamedTuple):
    """A system call with any words. scratch: indices of those that are offsets into the scratch memory."""

    number: int
    words: tuple[int, ...]
    scratch: frozenset[int] = frozenset()

    def record(self) -> bytes:
        relocate = sum(1 << i for i in self.scratch)
        raw = cryptdrv.raw(self.number, *self.words, relocate=relocate)
        return raw[:-4] + UNANSWERED.to_bytes(4, "little")


class Driver:
    """A session of cryptdrv, opened anew whenever it died. scratch: normal-world memory that all calls may use."""

    def __init__(self, world: SecureWorld, arch: Arch) -> None:
        self.world = world
        self.arch = arch
        self.scratch: Pages = world.platform.pages.shared(SCRATCH)
        self._records: Pages = world.platform.pages.shared(256 * cryptdrv.RAW_SIZE)
        self.session = open_ta(world, cryptdrv.UUIDS[arch])
        self.deaths = 0

    @property
    def instance(self) -> TaInstance:
        return instance_of(self.world, self.session)

    def reopen(self) -> None:
        self.world.close_session(self.session)
        self.session = open_ta(self.world, cryptdrv.UUIDS[self.arch])

    def close(self) -> None:
        self.world.close_session(self.session)

    def batch(self, calls: Sequence[RawCall], scratch: Memref | None = None) -> tuple[Outcome, list[int]]:
        """Make up to 256 calls in one entry; the entry's outcome, and each result (UNANSWERED if never returned).

        scratch: in place of the driver's own.
        """
        data = b"".join(call.record() for call in calls)
        self._records.view(0, len(data))[:] = data
        outcome = self.world.invoke(
            self.session,
            cryptdrv.CMD_RAW,
            [
                Memref(Kind.MEMREF_INOUT, self._records, len(data)),
                scratch or Memref(Kind.MEMREF_INOUT, self.scratch, SCRATCH),
            ],
        )
        after = bytes(self._records.view(0, len(data)))
        return outcome, [cryptdrv.raw_result(after, i) for i in range(len(calls))]

    def one(self, number: int, *words: int, scratch: Iterable[int] = ()) -> Result:
        """One call that the TA must survive."""
        outcome, (result,) = self.batch([RawCall(number, words, frozenset(scratch))])
        assert outcome == FINE, outcome
        return Result(result)

    def put(self, offset: int, data: bytes) -> None:
        self.scratch.view(offset, len(data))[:] = data

    def word(self, offset: int, size: int = 4) -> int:
        return int.from_bytes(self.scratch.view(offset, size), "little")


PARAMS_AT, UUID_AT, CELL_AT, ORIGIN_AT = 0x100, 0x180, 0x1A0, 0x1A8
NO_TIMEOUT = 0xFFFFFFFF  # TEE_TIMEOUT_INFINITE


def open_from_ta(driver: Driver, uuid: UUID) -> tuple[Result, int]:
    """A TA-to-TA open without parameters: its result and the session."""
    driver.put(PARAMS_AT, bytes(72))
    driver.put(UUID_AT, uuid.bytes_le)
    result = driver.one(5, UUID_AT, NO_TIMEOUT, PARAMS_AT, CELL_AT, ORIGIN_AT, scratch=(0, 2, 3, 4))
    return result, driver.word(CELL_AT)


def invoke_from_ta(driver: Driver, session: int, command: int, types: int, *vals: int) -> Result:
    """A TA-to-TA call; its parameters stay in the scratch memory at PARAMS_AT."""
    driver.put(PARAMS_AT, struct.pack("<9Q", types, *vals, *[0] * (8 - len(vals))))
    return driver.one(7, session, NO_TIMEOUT, command, PARAMS_AT, ORIGIN_AT, scratch=(3, 4))


@functools.cache
def wild_words(arch: Arch) -> tuple[int, ...]:
    """Addresses and sizes that mean trouble, the same for every instance."""
    top = 1 << 8 * arch.word
    words = {0, 1, 7, 8, 0xFFF, PAGE, 1 << 26, (1 << 31) - 1, 1 << 31, (1 << 32) - 8, (1 << 32) - 1}
    words |= {top - 1, top - 8, top - PAGE, top // 2, top // 2 - 1, 0xC000_0000, 0xDEAD_BEEF}
    if arch is Arch.AARCH64:  # a kernel's half; the ends of the user range and of what the engine can name
        words |= {0xFFFF_8000_0000_0000, 1 << 39, (1 << 46) - 8, 1 << 46, 1 << 47, 1 << 63, 0x1_0000_0000}
    return tuple(sorted(words))


def own_addresses(instance: TaInstance) -> tuple[int, ...]:
    """The TA's own code, constants and stack: read-only as an output, and each region's last bytes."""
    words: set[int] = set()
    for region in instance.space:
        if region.flags & RegionFlag.PRIVATE:
            words |= {region.end - 1, region.end - 4, region.end}
            if not region.prot & Prot.W:
                words |= {region.va, region.va + 2}
    return tuple(sorted(words))
