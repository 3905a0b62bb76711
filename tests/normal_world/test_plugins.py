"""C plugins of a supplicant, in processes of their own: loading, calls, limits, and plugins that misbehave."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from normal_world.supplicant.plugins import MOST, HostPlugins
from south.errors import UsageError
from tee.abi import results
from tee.errors import TeeError
from tee.normal import PLUGIN_DATA_MAX
from tests.normal_world.plugin_kit import TEST_UUID, compile_plugin, why_not
from tests.threads import PATIENCE, eventually, together

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SEES, ADD, ANY_LENGTH, COUNT, SLEEP, WORD, PRINT = range(7)
SEGV, EXIT, SPIN, FORK, FLOOD, BABBLE, CLOSE_ALL = range(20, 27)
SECOND = UUID(int=TEST_UUID.int + 1)
HANG = 0.5
"""Seconds of a call in the tests that wait for its limit."""


def never() -> bool:
    return False


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One good plugin, compiled once."""
    made = tmp_path_factory.mktemp("plugins")
    compile_plugin(made)
    return made


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def plugins(folder: Path, told: list[str]) -> Iterator[HostPlugins]:
    made = HostPlugins([str(folder)], limit=20, tell=told.append)
    yield made
    made.close()


@pytest.fixture
def hasty(folder: Path, told: list[str]) -> Iterator[HostPlugins]:
    """Its calls may take HANG seconds."""
    made = HostPlugins([str(folder)], limit=HANG, tell=told.append)
    yield made
    made.close()


def call(
    plugins: HostPlugins,
    command: int,
    sub_command: int = 0,
    data: bytes = b"",
    *,
    uuid: UUID = TEST_UUID,
    stop: Callable[[], bool] = never,
) -> tuple[int, int, bytes]:
    """Result, output length and data of a call."""
    buffer = bytearray(data)
    answer = plugins.invoke(uuid, command, sub_command, buffer, stop)
    assert len(buffer) == len(data)
    return answer.result, answer.length, bytes(buffer)


def failure(plugins: HostPlugins, command: int, **rest: object) -> TeeError:
    with pytest.raises(TeeError) as caught:
        call(plugins, command, **rest)  # type: ignore[arg-type]
    return caught.value


# --- calls


def test_a_plugin_changes_what_it_is_given(plugins: HostPlugins, told: list[str]) -> None:
    assert plugins.uuids == [TEST_UUID]
    assert call(plugins, ADD, 2, b"abc") == (results.SUCCESS, 3, b"cde")
    assert not told


def test_no_data_is_a_null_pointer(plugins: HostPlugins) -> None:
    assert call(plugins, SEES, data=b"x")[0] == results.SUCCESS
    assert call(plugins, SEES)[0] == results.NO_DATA


def test_the_result_and_the_output_length_are_the_plugins(plugins: HostPlugins) -> None:
    assert call(plugins, ANY_LENGTH, 0, b"ab") == (results.SUCCESS, 0, b"ab"), "without output nothing comes back"
    assert call(plugins, ANY_LENGTH, 5, b"ab") == (results.SUCCESS, 7, b"\x9eb"), "more than there is room for"
    assert call(plugins, ANY_LENGTH, 1 << 16 | 1, b"ab") == (results.BAD_STATE, 3, b"\x9eb")
    assert call(plugins, 999)[0] == results.NOT_SUPPORTED


def test_the_largest_data(plugins: HostPlugins) -> None:
    data = os.urandom(PLUGIN_DATA_MAX)
    assert call(plugins, ADD, 0, data) == (results.SUCCESS, PLUGIN_DATA_MAX, data)
    assert failure(plugins, ADD, data=data + b"x").result == results.OUT_OF_MEMORY


def test_an_unknown_plugin(plugins: HostPlugins) -> None:
    assert failure(plugins, ADD, uuid=SECOND).result == results.ITEM_NOT_FOUND


def test_a_plugin_keeps_its_state_and_serves_threads_in_turn(plugins: HostPlugins) -> None:
    def some(byte: int) -> None:
        for _ in range(20):
            assert call(plugins, ADD, 1, bytes([byte]) * 100)[2] == bytes([byte + 1]) * 100

    together(some, range(4))
    assert call(plugins, COUNT)[1] == 81


def test_what_a_plugin_prints_is_the_daemons(plugins: HostPlugins, capfd: pytest.CaptureFixture[str]) -> None:
    with HostOf(plugins) as again:
        call(again, PRINT, data=b"hello\0")
    assert "plugin says hello" in capfd.readouterr().out


class HostOf:
    """The same plugins, started now: their output goes where ours goes now."""

    def __init__(self, plugins: HostPlugins) -> None:
        self.path = plugins._started[0]._process.args[1]  # type: ignore[index]

    def __enter__(self) -> HostPlugins:
        self.made = HostPlugins([os.path.dirname(str(self.path))])
        return self.made

    def __exit__(self, *_: object) -> None:
        self.made.close()


# --- misbehaviour


@pytest.mark.parametrize(
    ("command", "says"),
    [(SEGV, "SIGSEGV"), (EXIT, "exit code 7"), (BABBLE, "ended"), (CLOSE_ALL, "ended")],
)
def test_a_plugin_that_dies_is_replaced(plugins: HostPlugins, command: int, says: str) -> None:
    call(plugins, COUNT)
    error = failure(plugins, command, data=b"data")
    assert error.result == results.COMMUNICATION
    assert says in error.detail
    assert call(plugins, COUNT)[1] == 1, "a new process"


def test_a_plugin_that_writes_past_its_data_harms_nobody(plugins: HostPlugins) -> None:
    assert call(plugins, FLOOD, data=b"abc") == (results.SUCCESS, 3, b"\xee" * 3)
    assert call(plugins, ADD, 1, b"abc") == (results.SUCCESS, 3, b"bcd")


def test_a_call_that_takes_too_long(hasty: HostPlugins) -> None:
    start = time.monotonic()
    assert failure(hasty, SPIN).result == results.TIMEOUT
    assert HANG * 0.9 < time.monotonic() - start < HANG + PATIENCE
    assert call(hasty, COUNT)[1] == 1


def test_a_cancelled_call(plugins: HostPlugins) -> None:
    start = time.monotonic()
    error = failure(plugins, SPIN, stop=lambda: time.monotonic() > start + 0.1)
    assert error.result == results.CANCEL
    assert time.monotonic() - start < PATIENCE
    assert call(plugins, COUNT)[1] == 1


def test_a_call_that_waits_for_another(plugins: HostPlugins, monkeypatch: pytest.MonkeyPatch) -> None:
    done = threading.Event()
    first = threading.Thread(target=lambda: failure(plugins, SPIN, stop=done.is_set))
    first.start()
    [plugin] = plugins._started
    assert eventually(plugin._lock.locked)
    assert failure(plugins, ADD, stop=lambda: True).result == results.CANCEL
    monkeypatch.setattr(plugin, "_limit", 0.1)
    assert failure(plugins, ADD).result == results.BUSY
    done.set()
    first.join(10)
    monkeypatch.undo()
    assert call(plugins, ADD, 1, b"a")[2] == b"b"


@pytest.mark.parametrize("end", ["crash", "close"])
def test_what_a_plugin_starts_ends_with_it(plugins: HostPlugins, end: str) -> None:
    _, _, data = call(plugins, FORK, data=bytes(4))
    child = Path(f"/proc/{int.from_bytes(data, 'little')}")
    assert child.exists()
    if end == "crash":
        start = time.monotonic()
        assert failure(plugins, SEGV).result == results.COMMUNICATION
        assert time.monotonic() - start < PATIENCE, "the child holds the worker's socket open"
    else:
        plugins.close()
    assert eventually(lambda: not alive(child))


def alive(process: Path) -> bool:
    """A zombie, which waits for its parent alone, is not."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_keeper_is_killed(plugins: HostPlugins) -> None:
    [plugin] = plugins._started
    plugin._process.kill()
    plugin._process.wait(10)
    assert failure(plugins, ADD, data=b"a").result == results.COMMUNICATION
    assert failure(plugins, ADD, data=b"a").result == results.COMMUNICATION


def test_close_ends_the_processes(folder: Path) -> None:
    plugins = HostPlugins([str(folder)])
    [plugin] = plugins._started
    plugins.close()
    assert plugin._process.poll() == 0
    plugins.close()
    assert failure(plugins, ADD).result == results.ITEM_NOT_FOUND


def test_a_plugin_that_does_not_start_again(tmp_path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken"
    monkeypatch.setenv("PLUGIN_BROKEN", str(broken))
    compile_plugin(tmp_path / "p", variant="INIT_FAILS_LATER")
    plugins = HostPlugins([str(tmp_path / "p")], tell=told.append)
    try:
        failure(plugins, EXIT)
        broken.touch()
        error = failure(plugins, COUNT)
        assert error.result == results.COMMUNICATION
        assert "did not start again: its init failed with 0xffff0001" in error.detail
        broken.unlink()
        assert call(plugins, COUNT)[1] == 1
    finally:
        plugins.close()


# --- loading


@pytest.mark.parametrize(
    ("variant", "says"),
    [
        ("NO_SYMBOL", "no symbol plugin_method"),
        ("NO_NAME", "no name or no invoke"),
        ("NO_INVOKE", "no name or no invoke"),
        ("INIT_FAILS", "init failed with 0xffff0007"),
        ("INIT_CRASHES", "SIGSEGV"),
        ("INIT_EXITS", "exit code 5"),
    ],
)
def test_a_plugin_that_cannot_be_used_is_told_and_passed_over(
    tmp_path: Path, told: list[str], variant: str, says: str
) -> None:
    compile_plugin(tmp_path, "bad.plugin", variant=variant)
    compile_plugin(tmp_path, "good.plugin")
    plugins = HostPlugins([str(tmp_path)], tell=told.append)
    try:
        assert plugins.uuids == [TEST_UUID]
        assert len(told) == 1
        assert told[0].startswith(f"{tmp_path}/bad.plugin: ")
        assert says in told[0]
    finally:
        plugins.close()


def test_files_that_are_no_plugins(tmp_path: Path, folder: Path, told: list[str]) -> None:
    whole = (folder / f"{TEST_UUID}.plugin").read_bytes()
    (tmp_path / "a-text").write_text("not an ELF file")
    (tmp_path / "b-cut").write_bytes(whole[:1000])
    (tmp_path / "c-empty").touch()
    (tmp_path / "d-odd-machine").write_bytes(whole[:18] + (243).to_bytes(2, "little") + whole[20:])
    (tmp_path / "e-dangling").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "f-fifo")
    (tmp_path / "g-folder").mkdir()
    plugins = HostPlugins([str(tmp_path)], tell=told.append)
    plugins.close()
    assert [line.removeprefix(f"{tmp_path}/")[0] for line in sorted(told)] == list("abcdef")


def test_two_plugins_of_one_uuid(tmp_path: Path, told: list[str]) -> None:
    compile_plugin(tmp_path, "1.plugin")
    compile_plugin(tmp_path, "2.plugin")
    compile_plugin(tmp_path, "3.plugin", last=2)
    plugins = HostPlugins([str(tmp_path)], tell=told.append)
    try:
        assert plugins.uuids == [TEST_UUID, SECOND]
        assert len(told) == 1
        assert f"2.plugin (test [1m plugin): there is a plugin {TEST_UUID} already" in told[0]
        assert len(plugins._started) == 2
    finally:
        plugins.close()


def test_folders(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--plugin-dir .*No such file"):
        HostPlugins([str(tmp_path / "nowhere")])
    for number in range(MOST + 1):
        (tmp_path / str(number)).touch()
    with pytest.raises(UsageError, match="more than 64"):
        HostPlugins([str(tmp_path)])


@pytest.mark.parametrize(("machine", "word"), [("aarch64", 8), ("arm", 4)])
def test_a_plugin_of_another_machine(tmp_path: Path, told: list[str], machine: str, word: int) -> None:
    if why_not(machine):
        pytest.skip(why_not(machine))
    compile_plugin(tmp_path, machine=machine)
    plugins = HostPlugins([str(tmp_path)], limit=20, tell=told.append)
    try:
        assert not told
        assert call(plugins, WORD)[1] == word
        assert call(plugins, ADD, 2, b"abc") == (results.SUCCESS, 3, b"cde")
        assert failure(plugins, EXIT).result == results.COMMUNICATION
        assert failure(plugins, SEGV).result == results.COMMUNICATION
        assert call(plugins, COUNT)[1] == 1
    finally:
        plugins.close()


def test_an_emulator_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    whole = bytearray((folder / f"{TEST_UUID}.plugin").read_bytes())
    whole[18:20] = (183 if os.uname().machine == "x86_64" else 62).to_bytes(2, "little")
    (tmp_path / "p.plugin").write_bytes(whole)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(UsageError, match=r"qemu|compiler|machine"):
        HostPlugins([str(tmp_path)])
