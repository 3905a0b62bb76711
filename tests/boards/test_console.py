"""Consoles over lines that misbehave."""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boards.console import MAX_UNREAD, Alarm, Console, Pace
from boards.console_link import MAX_UNIX_PATH, DescriptorLink, SerialLink, link_maker
from boards.console_log import MAX_LINE, Direction, Lines, Log, printable
from boards.console_plain import Plain
from boards.errors import TargetError
from boards.testing import FakeLine, Faults
from south.errors import UsageError
from tests.threads import PATIENCE, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from boards.console_link import Link


class Pair:
    """A console and the other end of its line."""

    def __init__(self, log: Log, alarms: tuple[Alarm, ...] = (), pace: Pace = Pace()) -> None:  # noqa: B008
        self.ends: list[socket.socket] = []
        self.console = Console("uart", self.make, log, alarms=alarms, pace=pace)

    def make(self) -> Link:
        near, far = socket.socketpair()
        self.ends.append(far)
        return DescriptorLink(near.detach())

    def say(self, data: bytes) -> None:
        self.console.wait_connected()
        self.ends[-1].sendall(data)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    made = Pair(Log(tmp_path / "console.log"), (Alarm("BOOM", "it blew up"),))
    with made.console:
        yield made
    for end in made.ends:
        end.close()


def test_a_machine_that_panicked_and_ended_did_panic(pair: Pair) -> None:
    """Also for a wait that lets alarms pass, as those of a command do, which may print such text."""
    pair.say(b"BOOM\r\n")
    assert eventually(lambda: pair.console.alarm)
    pair.console.health = lambda: "the process ended"
    with pytest.raises(TargetError, match="it blew up: BOOM"):
        pair.console.expect("never", PATIENCE, alarms=False)


def test_expect_takes_what_it_matched(pair: Pair) -> None:
    pair.say(b"one\r\ntwo\r\nthree\r\n")
    match = pair.console.expect("^(t)wo$", 5)
    assert (match.before, match.text, match.groups) == ("one\n", "two", ("t",))
    assert pair.console.expect("three", 5).before == "\n"


def test_a_match_may_come_in_pieces(pair: Pair) -> None:
    def say() -> None:
        for byte in b"login\x1b[1;32m: ":
            pair.say(bytes([byte]))
            time.sleep(0.002)

    thread = threading.Thread(target=say)
    thread.start()
    assert pair.console.expect("login: $", 5).text == "login: "
    thread.join()


def test_a_failure_shows_pattern_output_and_log(pair: Pair, tmp_path: Path) -> None:
    pair.say(b"half a boot\n\xff\x00")
    began = time.monotonic()
    with pytest.raises(TargetError) as caught:
        pair.console.expect("login:", 0.3)
    assert time.monotonic() - began < PATIENCE
    text = str(caught.value)
    assert "'login:' did not come within 0.3 s" in text
    assert "| half a boot" in text
    assert "\\xff\\x00" in text
    assert str(tmp_path / "console.log") in text


def test_an_alarm_ends_a_wait_at_once(pair: Pair) -> None:
    pair.say(b"BOOM now\n")
    with pytest.raises(TargetError, match="it blew up: BOOM now"):
        pair.console.expect("login:", 60)
    pair.console.clear_alarm()
    with pytest.raises(TargetError, match="did not come"):
        pair.console.expect("login:", 0.1)


def test_a_dead_target_ends_a_wait(tmp_path: Path) -> None:
    pair = Pair(Log())
    with pair.console as console:
        console.wait_connected()
        console.health = lambda: "the process died"
        with pytest.raises(TargetError, match="the process died"):
            console.expect("x", 60)


def test_the_log_has_both_directions_and_times(pair: Pair, tmp_path: Path) -> None:
    pair.say(b"question? ")
    pair.console.expect(r"\? ", 5)
    pair.console.send_line("answer")
    pair.say(b"thanks\n")
    pair.console.expect("thanks\n", 5)
    entries = pair.console.log.entries("uart")
    said = {(entry.direction, entry.text) for entry in entries}
    assert {(Direction.EVENT, "connected"), (Direction.OUT, "answer\\x0a"), (Direction.IN, "question? thanks")} <= said
    assert [entry.time for entry in entries] == sorted(entry.time for entry in entries)
    assert "uart     < question? thanks" in (tmp_path / "console.log").read_text()


def test_a_secret_is_not_logged(pair: Pair, tmp_path: Path) -> None:
    pair.console.write(b"hunter2\n", secret=True)
    assert pair.ends[0].recv(100) == b"hunter2\n"
    assert "hunter2" not in (tmp_path / "console.log").read_text()


def test_a_line_that_breaks_is_opened_again(pair: Pair) -> None:
    pair.say(b"before\n")
    pair.console.expect("before", 5)
    pair.ends[0].close()
    assert eventually(lambda: len(pair.ends) == 2)
    pair.say(b"after\n")
    pair.console.expect("after", 5)
    events = [entry.text for entry in pair.console.log.entries() if entry.direction is Direction.EVENT]
    assert events == ["connected", "disconnected: closed by the other end", "connected"]


def test_unplugged_and_plugged_in_again() -> None:
    with FakeLine(link_maker("process:/bin/cat")) as line:
        with Console("usb", line.make, Log()) as console:
            console.send_line("one")
            console.expect("one", 5)
            line.unplug()
            assert eventually(lambda: not console.connected)
            line.plug()
            console.send_line("two")
            console.expect("two", 5)


def test_nobody_there() -> None:
    def make() -> Link:
        raise OSError("no such port")

    with Console("none", make, Log()) as console:
        with pytest.raises(TargetError, match=r"no connection within 0.2 s: no such port"):
            console.wait_connected(0.2)


def test_a_flood_stays_bounded(pair: Pair) -> None:
    noise = random.Random(1).randbytes(1 << 16).replace(b"BOOM", b"")
    for _ in range(3 * MAX_UNREAD // len(noise)):
        pair.say(noise)
    pair.say(b"\nthe end\n")
    pair.console.expect("the end", 20)
    assert all(len(entry.text) <= 4 * MAX_LINE for entry in pair.console.log.entries())


def test_a_slow_pattern_is_not_searched_again_and_again(pair: Pair) -> None:
    def flood() -> None:
        for _ in range(200):
            pair.say(b"x" * 1000)

    thread = threading.Thread(target=flood)
    thread.start()
    with pytest.raises(TargetError):
        pair.console.expect("x.*y", 1.0)
    thread.join()


def test_a_paced_write() -> None:
    pair = Pair(Log(), pace=Pace(4, 0.01))
    with pair.console as console:
        began = time.monotonic()
        console.write(b"x" * 40)
        assert time.monotonic() - began >= 0.1
        assert pair.ends[0].recv(100) == b"x" * 40


def test_pyserial_opens_a_pty() -> None:
    pytest.importorskip("serial")
    with FakeLine(link_maker("process:/bin/cat")) as line:
        with Console("serial", link_maker(line.path), Log()) as console:
            console.send_line("over pyserial")
            console.expect("over pyserial", 5)


def test_tcp_and_unix_sockets(tmp_path: Path) -> None:
    path = str(tmp_path / "uart.sock")
    for family, address in ((socket.AF_INET, ("127.0.0.1", 0)), (socket.AF_UNIX, path)):
        with socket.socket(family) as server:
            server.bind(address)
            server.listen(1)
            name = f"unix:{path}" if family == socket.AF_UNIX else f"socket://127.0.0.1:{server.getsockname()[1]}"
            with Console("net", link_maker(name), Log()) as console:
                far, _ = server.accept()
                with far:
                    far.sendall(b"hello\n")
                    console.expect("hello", 5)


class Rfc2217Server:
    """A serial server with one port, whose two ends are tied together."""

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.name = f"rfc2217://127.0.0.1:{self._server.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Rfc2217Server:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._server.close()

    def _serve(self) -> None:
        import serial
        from serial.rfc2217 import PortManager

        client, _ = self._server.accept()
        port = serial.serial_for_url("loop://", timeout=0)
        with client, port:
            client.settimeout(0.01)
            manager = PortManager(port, SimpleNamespace(write=client.sendall))
            while not self._ended.is_set():
                try:
                    data = client.recv(4096)
                    if not data:
                        return
                    port.write(b"".join(manager.filter(data)))
                except TimeoutError:
                    pass
                client.sendall(b"".join(manager.escape(port.read(4096))))


@pytest.mark.filterwarnings("ignore:set(Daemon|Name)\\(\\) is deprecated:DeprecationWarning")  # pyserial's
def test_a_serial_server() -> None:
    pytest.importorskip("serial")
    with Rfc2217Server() as server:
        with Console("far", link_maker(server.name), Log()) as console:
            console.write(b"far away \xff\n")
            console.expect("far away ", 10)


def asks_after_silence(line: socket.socket) -> bool:
    """Within half a minute, and gives up what is not acknowledged (tcp(7))."""
    options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
    idle, between, count, unacknowledged = (line.getsockopt(socket.IPPROTO_TCP, option) for option in options)
    alive = line.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    return bool(alive) and idle + between * count <= 30 and 0 < unacknowledged <= 30_000


def test_a_tcp_line_notices_that_its_server_is_gone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        link = link_maker(f"socket://127.0.0.1:{server.getsockname()[1]}")()
        assert isinstance(link, DescriptorLink)
        with socket.socket(fileno=os.dup(link.descriptor)) as line:
            assert asks_after_silence(line)
        link.close()


@pytest.mark.filterwarnings("ignore:set(Daemon|Name)\\(\\) is deprecated:DeprecationWarning")  # pyserial's
def test_a_serial_server_that_is_gone_is_noticed() -> None:
    pytest.importorskip("serial")
    with Rfc2217Server() as server:
        link = link_maker(server.name)()
        assert isinstance(link, SerialLink)
        assert link.line is not None
        assert asks_after_silence(link.line)
        link.close()


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "is no link"),
        ("telnet:host", "is no link"),
        ("socket://host", "write socket://HOST:PORT"),
        ("socket://host:0", "write socket://HOST:PORT"),
        ("process:", "names no program"),
        ("unix:", "names no socket"),
    ],
)
def test_names_that_are_no_link(name: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        link_maker(name)


def test_a_socket_path_that_is_too_long() -> None:
    with pytest.raises(UsageError, match="at most 107 bytes"):
        link_maker("unix:/" + "x" * MAX_UNIX_PATH)()


def test_without_pyserial_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "serial", None)
    with pytest.raises(UsageError, match=r"pip install 'pyserial>=3.5,<4'"):
        link_maker("/dev/ttyUSB0")


@settings(max_examples=200)
@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=6))
def test_plain_is_the_same_however_it_is_cut(data: bytes, cuts: list[int]) -> None:
    data = data.replace(b"~", b"\x1b[").replace(b"^", b"\x1b")
    whole = Plain().feed(data)
    plain = Plain()
    out, before = b"", 0
    for cut in [*sorted(cuts), len(data)]:
        out += plain.feed(data[before : max(before, cut)])
        before = max(before, min(cut, len(data)))
    assert out == whole
    assert b"\r" not in out


@settings(max_examples=100)
@given(st.lists(st.binary(max_size=6000), max_size=5))
def test_lines_lose_nothing(pieces: list[bytes]) -> None:
    lines = Lines()
    out = [line for piece in pieces for _, line in lines.feed(piece, 0.0)]
    assert all(len(line) <= MAX_LINE for line in out)
    assert b"".join(out) + lines.unfinished == b"".join(pieces).replace(b"\n", b"")


@given(st.binary(max_size=200))
def test_printable_is_one_line(data: bytes) -> None:
    text = printable(data)
    assert len(text.splitlines()) <= 1 or set(text) & set("\u2028\u2029")
    text.encode("utf-8")


@given(st.binary(max_size=100), st.integers())
def test_faults_keep_a_sound_line_sound(data: bytes, seed: int) -> None:
    assert Faults().spoil(data, random.Random(seed)) == data
    assert Faults(drop=1.0).spoil(data, random.Random(seed)) == b""
    assert len(Faults(double=1.0).spoil(data, random.Random(seed))) == 2 * len(data)


def test_a_console_leaves_no_thread_and_no_descriptor() -> None:
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    for _ in range(3):
        with Console("gone", link_maker("process:/bin/cat"), Log()) as console:
            console.wait_connected()
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before
