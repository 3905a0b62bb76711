"""A TA in an endless loop: every way to a TEE gives up after the limit, Ctrl-C and SIGTERM end a run at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from normal_world import Context, Memref, TaDied, Value
from normal_world.api import given_up
from normal_world.client.ports import Outcome
from normal_world.died import Death
from normal_world.dies import expect_death
from normal_world.limited import GivenUp, within
from south.platform import Arch
from ta_loader import samples
from tee.abi import results
from tee.abi.results import Origin
from tests.normal_world.ways import WAYS, connected
from tests.threads import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from normal_world.daemon.server import Server

HELLO = samples.HELLO[Arch.AARCH64]
INCREMENT, SPIN, BARE_LOOP = 0, 6, 15
LIMIT = 0.3
"""Seconds."""
SOON = 30.0
"""Seconds: generous, and far from for ever."""


@pytest.fixture(params=WAYS)
def tee(
    request: pytest.FixtureRequest, daemon: tuple[str, Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Context]:
    with connected(request.param, daemon[0], tmp_path, monkeypatch) as made:
        yield made


def test_an_endless_loop_is_given_up(tee: Context) -> None:
    """The context goes on, and so do its other sessions; the end does not wait for the loop either."""
    tee.limit = SOON
    began = time.monotonic()
    with tee.open_session(HELLO) as stuck, tee.open_session(HELLO) as other:
        tee.limit = LIMIT
        with pytest.raises(TaDied) as died:
            stuck.invoke(SPIN)
        assert (died.value.kind, died.value.ta, died.value.origin) == ("limit", HELLO, Origin.API)
        assert f"TA {HELLO} was given up: the call took more than 0.3 s" in died.value.death.summary
        tee.limit = SOON
        # Of this session no call is made any more, whether or not the TA still runs.
        with expect_death("limit"):
            stuck.invoke(INCREMENT, Value.inout(1))
        assert other.invoke(INCREMENT, Value.inout(1))[0].a == 2  # type: ignore[union-attr]
        with tee.open_session(HELLO) as third:
            third.invoke(INCREMENT, Value.inout(1))
    assert time.monotonic() - began < SOON


def test_an_answer_after_the_limit_is_none(tee: Context) -> None:
    with tee.open_session(HELLO) as session:
        tee.limit = 0.01
        with expect_death("limit"):
            session.invoke(BARE_LOOP, 1 << 27)


def test_where_a_ta_of_this_process_was(tmp_path: Path) -> None:
    with Context(state=tmp_path, log=lambda _: None) as tee, tee.open_session("hello") as session:
        tee.limit = LIMIT
        with pytest.raises(TaDied) as died:
            session.invoke(SPIN, b"abc")
        assert died.value.pc
        assert died.value.report.index("was given up") < died.value.report.index("registers:")
        assert "backtrace" in died.value.death.summary
        assert not tee._left  # it is not at it any more


def test_what_a_late_answer_says() -> None:
    def kinds(*deaths: Death) -> list[tuple[str, UUID]]:
        answer = Outcome(results.TARGET_DEAD, Origin.TEE, (), deaths)
        return [(death.kind, death.ta) for death in given_up(HELLO, 1.0, answer)]

    other = UUID(int=5)
    assert kinds() == [("limit", HELLO)]
    assert kinds(Death(other, "killed"), Death(HELLO, "killed")) == [("limit", other), ("limit", HELLO)]
    assert kinds(Death(other, "unknown")) == [("limit", HELLO), ("limit", other)]
    assert kinds(Death(HELLO, "panic", 5)) == [("panic", HELLO)]
    assert [death.kind for death in given_up(HELLO, 1.0, None)] == ["limit"]


def test_a_daemon_stops_the_ta_that_was_given_up(daemon: tuple[str, Server]) -> None:
    with Context.daemon(daemon[0]) as tee, tee.open_session(HELLO) as session:
        tee.limit = LIMIT
        with pytest.raises(TaDied):
            session.invoke(SPIN)
        assert eventually(lambda: all(instance.dead for instance in daemon[1].world.alive()))


def test_a_call_in_time_is_as_ever(tee: Context) -> None:
    tee.limit = SOON
    with tee.open_session(HELLO) as session:
        assert session.invoke(INCREMENT, Value.inout(41))[0].a == 42  # type: ignore[union-attr]
        with pytest.raises(TaDied):
            session.invoke(2, 0xBAD)
    for wrong in (0, -1, float("nan"), "5"):
        with pytest.raises((TypeError, ValueError)):
            tee.limit = wrong  # type: ignore[assignment]


def test_memory_of_a_call_that_was_given_up_is_not_used_again(daemon: tuple[str, Server]) -> None:
    with Context.daemon(daemon[0]) as tee, tee.open_session(HELLO) as session:
        session.invoke(1, b"abc", Memref.output(32))
        idle = len(tee._shadows._idle)
        tee.limit = LIMIT
        with pytest.raises(TaDied):
            session.invoke(SPIN, b"abc")
        assert len(tee._left) == 1
        assert len(tee._shadows._idle) == idle - 1


def test_within() -> None:
    gave_up: list[int] = []
    assert within(SOON, lambda: 5, lambda: gave_up.append(1)) == 5
    with pytest.raises(KeyError):
        within(SOON, lambda: os.environ["NO SUCH NAME"], lambda: gave_up.append(1))
    assert not gave_up
    release = threading.Event()
    with pytest.raises(GivenUp):
        within(0.05, release.wait, lambda: gave_up.append(1))
    assert gave_up == [1]
    with pytest.raises(GivenUp) as late:
        within(0.05, release.wait, release.set)
    assert late.value.answer is True


TEST = """
import time

def test_before(session):
    session.invoke(7)

def test_loops(session):
    open("began", "w").close()
    session.invoke(6)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "test_it.py").write_text(TEST)
    (folder / "pytest.ini").write_text("[pytest]\nlitebox_ta = hello\n")
    return folder


def start(project: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "--junit-xml=junit.xml"]
    return subprocess.Popen(
        [*command, *options], cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.mark.parametrize("way", ["local", "daemon"])
def test_the_plugins_limit(project: Path, daemon: tuple[str, Server], way: str) -> None:
    where = way if way == "local" else f"daemon:{daemon[0]}"
    running = start(project, f"--litebox-way={where}", "--litebox-timeout=0.5")
    out, _ = running.communicate(timeout=120)
    assert "1 failed, 1 passed" in out
    assert "TaDied" in out
    assert "more than 0.5 s" in out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("way", ["local", "daemon"])
def test_a_signal_ends_a_run_and_its_report_is_written(
    project: Path, daemon: tuple[str, Server], way: str, number: signal.Signals
) -> None:
    running = start(project, f"--litebox-way={'local' if way == 'local' else f'daemon:{daemon[0]}'}")
    try:
        assert eventually(lambda: (project / "began").exists(), 60)
        time.sleep(0.3)
        running.send_signal(number)
        out, _ = running.communicate(timeout=SOON)
    finally:
        running.kill()
        running.wait()
    assert running.returncode == 2, out
    assert "KeyboardInterrupt" in out
    report = (project / "junit.xml").read_text()
    assert "test_before" in report
    assert os.path.getsize(project / "junit.xml")
