"""What libcrypto computes for seconds ends with the call it is in, as a loop of the TA's own would."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

from south.linux_host.interrupt import Interruptible
from south.platform import PAGE, Arch
from ta_loader.machines import TA_ARCHES
from tee.abi.results import SUCCESS
from tee.activity import Cancellation
from tee.instance import TaInstance
from tee.limits import Limits
from tee.params import Kind, Memref
from tests.hostile.kit import DIED, FINE, Bystander, Crashes, make_world, open_ta
from tests.tas import cryptdrv, hogs
from tests.threads import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

    from south.platform import Pages
    from tee.world import SecureWorld

arches = pytest.mark.parametrize("arch", TA_ARCHES, ids=lambda a: a.value)
any_hog = pytest.mark.parametrize(
    "hog", [*hogs.HOGS.values(), *hogs.DATA_HOGS.values()], ids=[*hogs.HOGS, *hogs.DATA_HOGS]
)
every_hog = pytest.mark.parametrize("hog", hogs.HOGS.values(), ids=hogs.HOGS)
GET_FLAG, UNMASK = 9, 10
FLAG_AT, MASK_AT = 0x300, 0x310
ITERATIONS = 1 << 19
"""Some 0.2 s."""
SOON = 1.0
"""Seconds; a hog goes on for more than five."""


class Call:
    """One call of a fresh cryptdrv instance."""

    def __init__(self, world: SecureWorld, arch: Arch, hog: hogs.Hog) -> None:
        self.world = world
        self.hog = hog
        self.session = open_ta(world, cryptdrv.UUIDS[arch])
        self.records = self._pages(hog.records, len(hog.records))
        self.scratch = self._pages(hog.scratch, hog.room)
        self.cancellation = Cancellation()

    def _pages(self, data: bytes, room: int) -> Pages:
        pages = self.world.platform.pages.shared(-(-room // PAGE) * PAGE)
        pages.view(0, len(data))[:] = data
        return pages

    def __call__(self) -> tuple[int, int]:
        params = [
            Memref(Kind.MEMREF_INOUT, self.records, len(self.hog.records)),
            Memref(Kind.MEMREF_INOUT, self.scratch, self.hog.room),
        ]
        outcome = self.world.invoke(self.session, cryptdrv.CMD_RAW, params, cancellation=self.cancellation)
        return outcome.result, outcome.origin

    def result_of_each(self) -> list[int]:
        return list(self.hog.results(bytes(self.records.view(0, len(self.hog.records)))))

    def word(self, at: int) -> int:
        return int.from_bytes(self.scratch.view(at, 4), "little")

    def derived_right(self) -> bool:
        expected = hashlib.pbkdf2_hmac("sha512", hogs.PASSWORD, hogs.SALT, ITERATIONS, hogs.DERIVED)
        return bytes(self.scratch.view(hogs.DERIVED_AT, hogs.DERIVED)) == expected


@arches
@any_hog
def test_a_deadline_ends_it(tmp_path: Path, arch: Arch, hog: hogs.Hog) -> None:
    crashes = Crashes()
    with make_world(tmp_path, limits=Limits(call_seconds=1.0), observer=crashes) as world, Bystander(world, arch) as by:
        call = Call(world, arch, hog)
        start, computed = time.monotonic(), time.thread_time()
        assert call() == DIED
        assert time.monotonic() - start > 0.9
        assert time.thread_time() - computed < 1 + SOON
        assert crashes.last().kind == "limit"
        assert crashes.last().registers["pc"]
        assert call() == DIED
        world.close_session(call.session)
        assert by.longest < PATIENCE / 2


@arches
@any_hog
def test_a_kill_ends_it(tmp_path: Path, arch: Arch, hog: hogs.Hog) -> None:
    crashes = Crashes()
    with make_world(tmp_path, observer=crashes) as world, Bystander(world, arch):
        call = Call(world, arch, hog)
        threading.Timer(0.2, call.cancellation.kill).start()
        start, computed = time.monotonic(), time.thread_time()
        assert call() == DIED
        assert time.monotonic() - start > 0.1
        assert time.thread_time() - computed < SOON
        assert crashes.last().kind == "killed"


@pytest.mark.parametrize("masked", [True, False], ids=["masked", "unmasked"])
def test_a_cancellation_only_raises_the_flag(tmp_path: Path, masked: bool) -> None:
    """GP makes no derivation cancellable: it goes on to its right end, and then the TA looks at the flag."""
    before = [] if masked else [cryptdrv.raw(UNMASK, MASK_AT, relocate=1)]
    after = [cryptdrv.raw(GET_FLAG, FLAG_AT, relocate=1)]
    with make_world(tmp_path) as world:
        call = Call(world, Arch.AARCH64, hogs.pbkdf2(ITERATIONS, before, after))
        threading.Timer(0.05, call.cancellation.request).start()
        assert call() == FINE
        assert set(call.result_of_each()) == {SUCCESS}
        assert call.derived_right()
        assert call.word(FLAG_AT) == (not masked)


@pytest.mark.parametrize("in_main_thread", [True, False], ids=["main thread", "another thread"])
def test_a_signal_whose_handler_returns_costs_nothing(
    tmp_path: Path, in_main_thread: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The computation is taken up again where it was, and ends right."""
    seen: list[int] = []
    resumed: list[TaInstance] = []
    go_on = TaInstance.go_on

    def counted(self: TaInstance) -> None:
        resumed.append(self)
        go_on(self)

    monkeypatch.setattr(TaInstance, "go_on", counted)
    old = signal.signal(signal.SIGTERM, lambda number, _: seen.append(number))
    try:
        with make_world(tmp_path) as world, Interruptible():
            call = Call(world, Arch.AARCH64, hogs.pbkdf2(ITERATIONS))
            outcome: list[tuple[int, int]] = []
            elsewhere = threading.Thread(target=lambda: outcome.append(call()))
            sender = threading.Thread(target=signals, args=(signal.SIGTERM, 3, 0.05))
            sender.start()
            if in_main_thread:
                outcome.append(call())
            else:
                elsewhere.start()
                elsewhere.join()
            sender.join()
            assert outcome == [FINE]
            assert call.derived_right()
            assert seen
            assert resumed
    finally:
        signal.signal(signal.SIGTERM, old)


def signals(number: int, times: int, seconds: float) -> None:
    """To this process, with that time before each."""
    for _ in range(times):
        time.sleep(seconds)
        os.kill(os.getpid(), number)


@every_hog
def test_a_signal_whose_handler_raises_ends_it(tmp_path: Path, hog: hogs.Hog) -> None:
    """As Ctrl-C does."""
    crashes = Crashes()
    with make_world(tmp_path, observer=crashes) as world, Interruptible():
        call = Call(world, Arch.AARCH64, hog)
        sender = threading.Thread(target=signals, args=(signal.SIGINT, 1, 0.3))
        start = time.thread_time()
        sender.start()
        with pytest.raises(KeyboardInterrupt):
            call()
        assert time.thread_time() - start < SOON
        assert crashes.last().kind == "killed"
        assert call() == DIED
        sender.join()
