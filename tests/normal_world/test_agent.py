"""The agent: cancellation, lines that break, what it is told by nobody of ours, and other machines.

That the API behaves over it as over every other way, test_api.py shows.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import subprocess
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from boards.testing import Faults
from normal_world import Context, Memref, Operation, TeeError, Value
from normal_world.agent import lines, messages
from normal_world.agent.build import build, ensure
from normal_world.agent.messages import Op
from normal_world.client.agent import AgentWay
from normal_world.client.ports import Argument
from normal_world.libteec import BuildError, has_c_library
from normal_world.libteec import ensure as ensure_libteec
from south.platform import Arch
from ta_loader import samples
from tee.abi import results
from tee.params import Kind
from tests.normal_world.agent_kit import TOKEN, agent
from tests.normal_world.test_libteec import FLIP, WAIT, FakeDaemon
from tests.threads import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from normal_world.daemon.server import Server

HELLO = samples.HELLO[Arch.AARCH64]
SEED = lines.seed(TOKEN)


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[str]:
    made = FakeDaemon(tmp_path / "fake.sock")
    yield str(tmp_path / "fake.sock")
    made.listener.close()
    assert not made.problems


@pytest.mark.parametrize("faults", [Faults(), Faults(0.001, 0.001, 0.001, 0.002)], ids=["good", "bad"])
def test_a_call_is_cancelled_while_others_go_on(fake: str, faults: Faults) -> None:
    with agent(fake, faults) as connection, Context.over(AgentWay(connection)) as tee:
        session, other = tee.open_session(HELLO), tee.open_session(HELLO)
        operation = Operation()
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(session.invoke, WAIT, operation=operation)
            value = Value.inout(5)
            other.invoke(FLIP, value)
            assert value.a == 6
            assert not answer.done()
            operation.cancel()
            with pytest.raises(TeeError) as cancelled:
                answer.result(30)
        assert cancelled.value.result == results.CANCEL
        with pytest.raises(TeeError) as late:
            session.invoke(WAIT, timeout=0.2)
        assert late.value.result == results.CANCEL


def test_outputs_keep_what_the_ta_leaves_alone(fake: str) -> None:
    """The fake's TA flips all bits and says that half of it is the answer."""
    with agent(fake) as connection, Context.over(AgentWay(connection)) as tee, tee.open_session(HELLO) as session:
        buffer = bytearray(b"\xff" * 4 + bytes(4) + b"\xff" * 8)
        _, ref = session.invoke(FLIP, None, Memref.inout(buffer))
        assert ref is not None
        assert buffer == bytes(4) + b"\xff" * 12
        zeros = bytearray(b"\xff" * 8)
        session.invoke(FLIP, Memref.output(zeros))
        assert zeros == bytes(4) + b"\xff" * 4


@pytest.mark.parametrize(
    "faults",
    [Faults(drop=0.002), Faults(double=0.002), Faults(garble=0.002), Faults(delay=0.02), Faults(0.002, 0.002, 0.002)],
    ids=["drop", "double", "garble", "delay", "all"],
)
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.fuzz), pytest.param(2, marks=pytest.mark.fuzz)])
def test_a_bad_line_makes_each_call_once(
    daemon: tuple[str, Server], faults: Faults, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = 0
    real = daemon[1].world.open_session

    def count(*args: object, **options: object) -> object:
        nonlocal opened
        opened += 1
        return real(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(daemon[1].world, "open_session", count)
    data = random.Random(seed).randbytes(4000)
    with agent(daemon[0], faults, seed) as connection, Context.over(AgentWay(connection)) as tee:
        for number in range(3):
            with tee.open_session(HELLO) as session:
                value = Value.inout(number)
                session.invoke(0, value)
                assert value.a == number + 1
                _, digest = session.invoke(1, data, Memref.output(32))
                assert bytes(digest or b"") == hashlib.sha256(data).digest()  # type: ignore[arg-type]
    assert opened == 3


def test_a_megabyte_and_more_than_goes(daemon: tuple[str, Server]) -> None:
    data = os.urandom(1 << 20)
    with agent(daemon[0]) as connection, Context.over(AgentWay(connection)) as tee, tee.open_session(HELLO) as session:
        _, digest = session.invoke(1, data, Memref.output(32))
        assert bytes(digest or b"") == hashlib.sha256(data).digest()  # type: ignore[arg-type]
        nine = memoryview(bytes(9 << 20))
        with pytest.raises(TeeError) as error:
            session.invoke(1, nine, nine)
        assert error.value.result == results.OUT_OF_MEMORY


def test_a_line_that_falls_silent_is_a_defined_error(fake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with agent(fake, silence=1.5) as connection, Context.over(AgentWay(connection)) as tee:
        session = tee.open_session(HELLO)
        monkeypatch.setattr(connection._line, "write", lambda _: None)
        monkeypatch.setattr(connection, "feed", lambda _: True)
        began = time.monotonic()
        with pytest.raises(TeeError, match=r"nothing came from it for 1\.5 s") as error:
            session.invoke(FLIP, Value.inout(1))
        assert error.value.result == results.COMMUNICATION
        assert time.monotonic() - began < PATIENCE


@pytest.mark.parametrize("machine", ["aarch64", "arm"])
def test_another_machines(machine: str, daemon: tuple[str, Server]) -> None:
    emulator = shutil.which(f"qemu-{machine}")
    if emulator is None:
        pytest.skip(f"qemu-{machine} is not installed")
    try:
        ensure(machine), ensure_libteec(machine)
    except BuildError as problem:
        pytest.skip(str(problem))
    root = "/usr/" + {"aarch64": "aarch64-linux-gnu", "arm": "arm-linux-gnueabihf"}[machine]
    with agent(daemon[0], machine=machine, before=[emulator, "-L", root]) as connection:
        with Context.over(AgentWay(connection)) as tee, tee.open_session(HELLO) as session:
            value = Value.inout(41, 7)
            session.invoke(0, value)
            assert value.a == 42
            data = bytes(range(256)) * 100
            _, digest = session.invoke(1, data, Memref.output(32))
            assert bytes(digest or b"") == hashlib.sha256(data).digest()  # type: ignore[arg-type]


# --- what nobody of ours says


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not has_c_library("cc"):
        pytest.skip("cc is not installed")
    flags = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    return build(tmp_path_factory.mktemp("asan"), "cc", *flags)


def _requests(dice: random.Random) -> bytes:
    """A stream of messages, some of them bent."""
    view = memoryview(dice.randbytes(dice.randrange(200)))
    offers = [messages.Offer(Kind.MEMREF_INOUT, 0, 0, view, len(view)), messages.Offer(Kind.VALUE_INOUT, 1, 2)]
    params = messages.offers(offers[: dice.randrange(3)])
    bodies = [
        (Op.HELLO, b""),
        (Op.OPEN, messages.OPEN.pack(0, 0, HELLO.bytes) + params),
        (Op.INVOKE, messages.INVOKE.pack(1, 1) + params),
        (Op.CANCEL, messages.NUMBER.pack(2)),
        (Op.CLOSE, messages.NUMBER.pack(dice.randrange(3))),
    ]
    out = b""
    for id in range(12):
        op, body = bodies[min(id, 1)] if id < 2 else dice.choice(bodies)
        if id > 1 and dice.random() < 0.7:
            bent = bytearray(body)
            for _ in range(dice.randrange(1, 4)):
                if bent:
                    bent[dice.randrange(len(bent))] = dice.choice((0, 1, 5, 7, 0x7F, 0x80, 0xFF))
            body = bytes(bent[: dice.randrange(len(bent) + 1)]) if dice.random() < 0.5 else bytes(bent)
        out += messages.request(id, op, body)
    return out


def _lines(dice: random.Random) -> bytes:
    stream = _requests(dice)
    out, at = b"", 0
    while at < len(stream):
        piece = stream[at : at + dice.randrange(1, 720)]
        line = lines.format_line(lines.Line("D", at, piece, dice.randrange(16)), SEED)
        kind = dice.random()
        if kind < 0.3:
            bent = bytearray(line)
            for _ in range(dice.randrange(1, 5)):
                bent[dice.randrange(len(bent))] = dice.randrange(256)
            out += bytes(bent)
        if kind > 0.7:
            # Its checksum is right, whatever it says.
            text = dice.choice((b"#D0", b"#A0", b"#N5", b"#Pf", b"#")) + dice.choice(
                (b"ffffffffffffffff:AAAA", b"0:", b"0:====", b"0:A===", b":", b"fffffffffffffff8:" + b"AAAA" * 240)
            )
            out += text + b":%08x\n" % zlib.crc32(text, SEED)
        out += dice.choice((b"", b"", b"\n", b"x" * 3000 + b"\n", b"[    1.0] kernel # speaks\n"))
        out += line
        at += len(piece)
    return out


@pytest.mark.parametrize("rounds", [25, pytest.param(400, marks=pytest.mark.fuzz)])
def test_mutated_lines(sanitized: Path, fake: str, rounds: int) -> None:
    """Under AddressSanitizer: it goes on, or ends as it says."""
    environment = {**os.environ, "LITEBOX_SOCKET": fake, "LITEBOX_LIBTEEC": str(ensure_libteec())}
    for seed in range(rounds):
        given = _lines(random.Random(seed))
        with contextlib.suppress(subprocess.TimeoutExpired):
            done = subprocess.run(
                [str(sanitized), TOKEN], input=given, env=environment, capture_output=True, timeout=30, check=False
            )
            assert done.returncode in (0, 3), (seed, done)
            assert not done.stderr.strip() or b"litebox" in done.stderr, (seed, done.stderr)
            continue
        raise AssertionError(f"seed {seed}: it does not end")


def test_three_interrupts_give_the_terminal_back(tmp_path: Path) -> None:
    for given, code in ((b"\x03\x03\x03", 130), (b"\x03x\n\x03\n", 0)):
        done = subprocess.run([str(ensure()), TOKEN], input=given, capture_output=True, timeout=20, check=False)
        assert done.returncode == code


def test_offers_that_do_not_fit(fake: str) -> None:
    with agent(fake) as connection:
        way = AgentWay(connection)
        with pytest.raises(TeeError) as error:
            way.invoke(99, 0, [Argument(Kind.VALUE_INPUT, 1)], 1).result and way.allocate(1 << 30)
        assert error.value.result == results.OUT_OF_MEMORY
        assert not way.cancel(5)
        way.close()
