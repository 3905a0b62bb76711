"""How a TA died reaches the caller of the Python API, over each way that can know, and is "unknown" elsewhere."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from normal_world import Context, TaDied, TeeError, Value
from normal_world.died import UNKNOWN, Death, pack, unpack
from normal_world.dies import DeathUnknownWarning, expect_death, expect_panic
from south.platform import Arch
from ta_loader import samples
from tee.abi import results
from tee.abi.results import Origin
from tests.normal_world.ways import connected

pytest_plugins = ["pytester"]

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from normal_world import Session
    from normal_world.daemon.server import Server

HELLO = samples.HELLO[Arch.AARCH64]
OTHER = UUID(int=5)
INCREMENT, PANIC, WRITE, RECURSE, EXECUTE, SPIN = 0, 2, 10, 11, 12, 6
KNOWING = ("local", "daemon")
MUTE = ("device", "agent")


@pytest.fixture(params=(*KNOWING, *MUTE))
def tee(
    request: pytest.FixtureRequest, daemon: tuple[str, Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Context]:
    with connected(request.param, daemon[0], tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture
def session(tee: Context) -> Iterator[Session]:
    with tee.open_session(HELLO) as session:
        yield session


def dies(session: Session, command: int, *params: Any) -> TaDied:
    with pytest.raises(TeeError) as dead:
        session.invoke(command, *params)
    assert isinstance(dead.value, TaDied)
    assert (dead.value.result, dead.value.origin) == (results.TARGET_DEAD, Origin.TEE)
    assert dead.value.ta == HELLO
    return dead.value


@pytest.mark.parametrize("tee", KNOWING, indirect=True)
def test_a_panic(tee: Context, session: Session) -> None:
    died = dies(session, PANIC, 0xBAD)
    assert (died.kind, died.code, died.address) == ("panic", 0xBAD, None)
    assert died.pc
    assert "it panicked with code 0x00000bad" in str(died)
    assert died.report.startswith(f"TA {HELLO} panicked with code 0x00000bad")
    assert "ta_panic" in died.report
    assert died.report.index("backtrace:") < died.report.index("registers:") < died.report.index("mapped regions:")
    assert "registers" not in died.death.summary
    # Later calls of the session say the same; another instance is as before.
    assert dies(session, INCREMENT, Value.inout(1)).death == died.death
    with tee.open_session(HELLO) as again:
        assert again.invoke(INCREMENT, Value.inout(1))[0].a == 2  # type: ignore[union-attr]


@pytest.mark.parametrize("tee", KNOWING, indirect=True)
def test_faults(tee: Context, session: Session) -> None:
    address = 0x1234_0000_1000
    died = dies(session, WRITE, (address & 0xFFFFFFFF, address >> 32), 5)
    assert (died.kind, died.code, died.address) == ("fault", None, address)
    assert died.pc
    with tee.open_session(HELLO) as other:
        died = dies(other, RECURSE)
    assert died.kind == "fault"
    assert died.address
    with tee.open_session(HELLO) as third:
        died = dies(third, EXECUTE)
    assert (died.kind, died.address) == ("fault", died.pc)


def test_a_limit(tmp_path: Path) -> None:
    options: dict[str, Any] = {"state": tmp_path, "timeout": 0.3, "log": lambda _: None}
    with Context(**options) as tee, tee.open_session("hello") as session:
        died = dies(session, SPIN)
        assert (died.kind, died.code, died.address) == ("limit", None, None)
        with expect_death("limit"):
            session.invoke(INCREMENT)


@pytest.mark.parametrize("tee", MUTE, indirect=True)
def test_a_way_that_cannot_know(session: Session) -> None:
    died = dies(session, PANIC, 0xBAD)
    assert (died.kind, died.code, died.address, died.pc, died.report) == (UNKNOWN, None, None, None, "")
    with pytest.warns(DeathUnknownWarning, match="does not say"), expect_panic(0xBAD):
        session.invoke(PANIC, 0xBAD)


def test_a_stranger_sees_neither_registers_nor_addresses(daemon: tuple[str, Server]) -> None:
    with Context.daemon(daemon[0]) as tee, tee.open_session(HELLO) as session, tee.open_session(HELLO) as other:
        (connection,) = daemon[1].connections
        owner = connection.peer
        connection.peer = owner._replace(uid=owner.uid + 12345)
        died = dies(session, PANIC, 0xBAD)
        assert (died.kind, died.code, died.pc) == ("panic", 0xBAD, None)
        assert died.report == f"TA {HELLO} panicked with code 0x00000bad: TEE_Panic(0x00000bad)"
        died = dies(other, WRITE, (0x1000, 0x1234), 5)
        assert (died.kind, died.address, died.pc) == ("fault", None, None)
        assert "0x1234" not in str(died) + died.report
        connection.peer = owner


def test_an_agent_is_told_by_the_consoles(daemon: tuple[str, Server]) -> None:
    from normal_world.client.agent import AgentWay
    from tests.normal_world.agent_kit import agent

    class Printed:
        def __init__(self) -> None:
            self.asked: list[tuple[float, UUID]] = []

        def now(self) -> float:
            return 7.0

        def since(self, moment: float, ta: UUID) -> Sequence[Death]:
            self.asked.append((moment, ta))
            return [Death(ta, "panic", 0xBAD, reason="panicked")]

    printed = Printed()
    with agent(daemon[0]) as connection, Context.over(AgentWay(connection, deaths=printed)) as tee:
        with tee.open_session(HELLO) as session:
            session.invoke(INCREMENT, Value.inout(1))
            assert not printed.asked
            died = dies(session, PANIC, 0xBAD)
    assert (died.kind, died.code, printed.asked) == ("panic", 0xBAD, [(7.0, HELLO)])


def test_whose_death_it_is() -> None:
    """Of nested calls it is the TA that was called, where that died, too."""
    first, second = Death(OTHER, "fault", reason="died"), Death(HELLO, "panic", 5, reason="panicked")
    both = TaDied("a call", HELLO, Origin.TEE, [first, second])
    assert (both.ta, both.kind, both.code, both.deaths) == (HELLO, "panic", 5, (first, second))
    nested = TaDied("a call", HELLO, Origin.TRUSTED_APP, [first])
    assert (nested.ta, nested.kind) == (OTHER, "fault")
    assert f"TA {OTHER} died" in str(nested)


def test_what_a_daemon_sends_is_looked_at() -> None:
    good = (Death(HELLO, "panic", 5, None, 6, "x", "y", "z"), Death(OTHER, "fault", None, 1, 2))
    assert unpack(pack(good)) == good
    assert len(pack([Death(HELLO, "panic", 5, report="r" * (1 << 22))] * 16)) < 1 << 20
    row = json.loads(pack(good))[0]
    assert unpack(json.dumps([row]).encode()) == good[:1]
    wrong: tuple[dict[str, Any], ...] = (
        *({"ta": "x"}, {"ta": 5}, {"kind": "joy"}, {"kind": []}, {"code": "5"}, {"pc": 1.5}, {"report": 5}),
    )
    bad = [json.dumps([row | one]).encode() for one in wrong]
    for text in (b"", b"null", b"5", b"[5]", b"[{}]", b"\xff", b"[" * 100_000, *bad):
        assert unpack(text) == ()


def outcome(pytester: pytest.Pytester, body: str) -> tuple[dict[str, int], str]:
    pytester.makepyfile(
        "import pytest\nfrom uuid import UUID\nfrom normal_world import TeeError\n"
        "from normal_world.testing import expect_death, expect_panic\n"
        f"def test_it(session):\n    {body}\n"
    )
    result = pytester.runpytest("-p", "no:cacheprovider", "-p", "no:xdist", "--litebox-ta", "hello")
    return result.parseoutcomes(), result.stdout.str()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("with expect_panic(0xbad): session.invoke(2, 0xbad)", ""),
        ("with expect_panic(): session.invoke(2, 0xbad)", ""),
        ("with expect_death(): session.invoke(12)", ""),
        ("with expect_death('fault') as e: session.invoke(12)\n    assert e.error.address", ""),
        ("with expect_panic(6): session.invoke(2, 5)", "panicked with code 0x5, expected 0x6"),
        ("with expect_panic(): session.invoke(12)", "died of a fault"),
        ("with expect_panic(): session.invoke(0, 1)", "TEE_ERROR_BAD_PARAMETERS"),
        ("with expect_panic(): session.invoke(7)", "no TA died; a panic was expected"),
        ("with expect_death('fault'): session.invoke(2, 5)", "expected a fault"),
        ("with expect_death('joy'): session.invoke(2, 5)", "'joy' is none of"),
        ("with expect_panic(1 << 32): session.invoke(2, 5)", "code: "),
        ("with expect_panic(5, ta=UUID(int=1)): session.invoke(2, 5)", "did not die"),
    ],
)  # fmt: skip
def test_a_test_that_expects_a_death(pytester: pytest.Pytester, body: str, says: str) -> None:
    outcomes, text = outcome(pytester, body)
    assert outcomes == ({"failed": 1} if says else {"passed": 1}), text
    assert says in text
