"""OP-TEE's concurrent and concurrent_large: threads' instances count each other in shared memory (1005, 1013)."""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tee.abi import results
from tee.abi.results import Origin
from tee.params import Kind, Memref, Param
from tee.world import Outcome
from tests.real.host import Host, content, value, value_inout
from tests.real.tas import CONCURRENT, CONCURRENT_LARGE, Concurrent
from tests.threads import together

if TYPE_CHECKING:
    from uuid import UUID

    from south.platform import Pages

THREADS = 3
SUCCESS = Outcome(results.SUCCESS, Origin.TRUSTED_APP)
BAD_PARAMETERS = Outcome(results.BAD_PARAMETERS, Origin.TRUSTED_APP)
BOTH = pytest.mark.parametrize("uuid", [CONCURRENT, CONCURRENT_LARGE], ids=["concurrent", "concurrent_large"])


class Seen(NamedTuple):
    """active: instances that were inside when this one came, itself included; digest: of the SHA-256 command."""

    outcome: Outcome
    active: int
    digest: bytes


def in_sessions(
    host: Host, uuid: UUID, command: Concurrent, rounds: int, counter: Pages, data: bytes | None = None
) -> list[Seen]:
    """The command in THREADS sessions at once, all with `counter` as shared memory."""
    seen: list[Seen] = []
    sessions = [host.open(uuid) for _ in range(THREADS)]
    gate = threading.Barrier(THREADS)

    def work(session: int) -> None:
        count = value_inout(rounds)
        digest = host.output(32)
        params: list[Param] = [Memref(Kind.MEMREF_INOUT, counter, 4), count]
        if data is not None:
            params += [host.input(data), digest]
        gate.wait()
        outcome = host.invoke(session, command, *params)
        seen.append(Seen(outcome, count.b, content(digest)))

    together(work, sessions)
    for session in sessions:
        host.close_session(session)
    return seen


@BOTH
def test_many_sessions(host: Host, uuid: UUID) -> None:
    sessions = [host.open(uuid) for _ in range(8)]
    for session in sessions:
        host.close_session(session)


@BOTH
def test_busy_loops(host: Host, uuid: UUID) -> None:
    """They share a page, and take turns by time slice, not by call: one comes in before another is done."""
    counter = host.platform.pages.shared(4)
    seen = in_sessions(host, uuid, Concurrent.BUSY_LOOP, 25_000, counter)
    assert [s.outcome for s in seen] == [SUCCESS] * THREADS
    assert 2 <= max(s.active for s in seen) <= THREADS
    assert bytes(counter.view(0, 4)) == bytes(4)


@BOTH
def test_sha256_loops(host: Host, uuid: UUID) -> None:
    counter = host.platform.pages.shared(4)
    seen = in_sessions(host, uuid, Concurrent.SHA256, 1000, counter, b"abc")
    assert [s.outcome for s in seen] == [SUCCESS] * THREADS
    assert {s.digest for s in seen} == {hashlib.sha256(b"abc").digest()}
    assert all(1 <= s.active <= THREADS for s in seen)
    assert bytes(counter.view(0, 4)) == bytes(4)


def test_no_count_is_lost(host: Host) -> None:
    """A guest's atomics hold between instances: short calls, often, and the count comes back to where it was."""
    counter = host.platform.pages.shared(4)
    counter.view(0, 4)[:] = (1000).to_bytes(4, "little")
    for _ in range(30):
        seen = in_sessions(host, CONCURRENT, Concurrent.BUSY_LOOP, 1, counter)
        assert all(s.outcome == SUCCESS and 1000 < s.active <= 1000 + THREADS for s in seen)
    assert int.from_bytes(counter.view(0, 4), "little") == 1000


@BOTH
def test_refused_parameters(host: Host, uuid: UUID) -> None:
    session = host.open(uuid)
    assert host.invoke(session, Concurrent.BUSY_LOOP) == BAD_PARAMETERS
    assert host.invoke(session, Concurrent.BUSY_LOOP, host.inout(bytes(3)), value_inout(1)) == BAD_PARAMETERS
    assert host.invoke(session, Concurrent.BUSY_LOOP, host.inout(bytes(4)), value(1)) == BAD_PARAMETERS
    short = host.inout(bytes(4)), value_inout(1), host.input(b"abc"), host.output(31)
    assert host.invoke(session, Concurrent.SHA256, *short) == BAD_PARAMETERS
    assert host.invoke(session, 99) == BAD_PARAMETERS
