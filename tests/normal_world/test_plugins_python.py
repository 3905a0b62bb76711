"""Python plugins: installed as entry points, good ones and others."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from normal_world.supplicant.plugins import HostPlugins
from normal_world.supplicant.plugins_python import MOST_CALLS
from tee.abi import results
from tee.errors import TeeError
from tests.normal_world.plugin_kit import TEST_UUID, compile_plugin
from tests.threads import PATIENCE, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

GOOD, ODD, HANGS = (UUID(int=number) for number in (1, 2, 3))
SOURCE = f'''
import threading
from uuid import UUID

class Good:
    def __init__(self):
        self.calls = 0

    def invoke(self, cmd, sub_cmd, data):
        self.calls += 1
        data[:] = bytes(byte + sub_cmd for byte in data)
        return cmd, len(data)

class Named(Good):
    uuid = "{ODD}"

class Odd:
    uuid = UUID("{ODD}")

    def __init__(self):
        self.kept = []

    def invoke(self, cmd, sub_cmd, data):
        if cmd == 1:
            raise ValueError("not today")
        if cmd == 2:
            raise SystemExit(3)
        if cmd == 3:
            raise KeyboardInterrupt
        if cmd == 4:
            data[:] = bytes(len(data) + 1)
        if cmd == 5:
            self.kept.append(data)
            return 0, len(data)
        return {{10: None, 11: 0, 12: (0,), 13: ("0", 0), 14: (-1, 0), 15: (1 << 32, 0), 16: (0, -1), 17: (0, 1 << 64),
                18: (0, 1 << 40), 19: [0, 0]}}[cmd]

class Hangs:
    uuid = "{HANGS}"
    go = threading.Event()

    def invoke(self, cmd, sub_cmd, data):
        if cmd:
            data[:] = b"late"
            return 0, 4
        self.go.wait(20)
        data[:] = b"late"
        return 0, 4

class Fails:
    def __init__(self):
        raise OSError("no such device")

nothing = object()
good = Good()
'''


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Callable[..., None]:
    """A distribution with these entry points, as pip leaves it."""

    def install(**points: str) -> None:
        module = f"plugin_of_{request.node.name.partition('[')[0]}"
        (tmp_path / f"{module}.py").write_text(SOURCE)
        info = tmp_path / f"{module}-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1\n")
        lines = [f"{name} = {value.replace('@', module)}" for name, value in points.items()]
        (info / "entry_points.txt").write_text("[litebox_ta.plugins]\n" + "\n".join(lines) + "\n")
        monkeypatch.syspath_prepend(str(tmp_path))

    return install


@pytest.fixture
def plugins(install: Callable[..., None], told: list[str]) -> Iterator[HostPlugins]:
    install(**{str(GOOD): "@:Good", "odd": "@:Odd", "hangs": "@:Hangs"})
    made = HostPlugins(limit=0.5, tell=told.append)
    yield made
    made.close()


def call(
    plugins: HostPlugins, uuid: UUID, command: int, data: bytes = b"", stop: Callable[[], bool] = lambda: False
) -> tuple[int, int, bytes]:
    buffer = bytearray(data)
    answer = plugins.invoke(uuid, command, 1, buffer, stop)
    return answer.result, answer.length, bytes(buffer)


def failure(plugins: HostPlugins, uuid: UUID, command: int, stop: Callable[[], bool] = lambda: False) -> TeeError:
    with pytest.raises(TeeError) as caught:
        call(plugins, uuid, command, b"data", stop)
    return caught.value


def test_a_plugin_changes_what_it_is_given(plugins: HostPlugins, told: list[str]) -> None:
    assert plugins.uuids == [GOOD, ODD, HANGS]
    assert call(plugins, GOOD, results.BAD_STATE, b"abc") == (results.BAD_STATE, 3, b"bcd")
    assert call(plugins, GOOD, 0) == (0, 0, b"")
    assert call(plugins, ODD, 18)[1] == 1 << 40, "the length is the plugin's, however large"
    assert not told


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (1, "ValueError: not today"),
        (2, "SystemExit: 3"),
        (3, "KeyboardInterrupt"),
        (4, "ValueError: "),
        (99, "KeyError: 99"),
        *((number, "TypeError: it answered") for number in (10, 11, 12, 13, 14, 15, 16, 17)),
    ],
)
def test_errors_and_nonsense_are_told(plugins: HostPlugins, told: list[str], command: int, says: str) -> None:
    error = failure(plugins, ODD, command)
    assert error.result == results.GENERIC
    assert says in error.detail
    assert len(told) == 1
    assert told[0].startswith("odd = ")
    assert says in told[0]
    assert call(plugins, GOOD, 0, b"a") == (0, 1, b"b")


def test_data_that_a_plugin_keeps(plugins: HostPlugins) -> None:
    """It has a copy: what it writes there later reaches nobody."""
    assert call(plugins, ODD, 5, b"data") == (0, 4, b"data")


def test_a_plugin_that_hangs(plugins: HostPlugins) -> None:
    start = time.monotonic()
    assert failure(plugins, HANGS, 0).result == results.TIMEOUT
    assert failure(plugins, HANGS, 0, lambda: time.monotonic() > start).result == results.CANCEL
    assert time.monotonic() - start < PATIENCE
    assert call(plugins, HANGS, 1, b"data")[2] == b"late", "others are served meanwhile"


def test_too_many_calls(plugins: HostPlugins) -> None:
    """Those that nobody waits for any more count."""
    others = set(threading.enumerate())
    for _ in range(MOST_CALLS):
        assert failure(plugins, HANGS, 0, lambda: True).result == results.CANCEL
    assert failure(plugins, HANGS, 1).result == results.BUSY
    hung = set(threading.enumerate()) - others
    assert len(hung) == MOST_CALLS
    sys.modules["plugin_of_test_too_many_calls"].Hangs.go.set()
    assert eventually(lambda: not any(thread.is_alive() for thread in hung))
    assert call(plugins, HANGS, 1, b"data")[2] == b"late"


def test_those_that_cannot_be_used(install: Callable[..., None], told: list[str]) -> None:
    install(
        fails="@:Fails", missing="@:Missing", no_module="no_such_module_here:Plugin", no_plugin="@:nothing",
        no_uuid="@:good", named="@:Named", twice="@:Odd",
    )  # fmt: skip
    plugins = HostPlugins(tell=told.append)
    assert plugins.uuids == [ODD]
    said = {line.partition(" ")[0]: line.partition(": ")[2] for line in told}
    assert said == {
        "fails": "OSError: no such device",
        "missing": "AttributeError: module 'plugin_of_test_those_that_cannot_be_used' has no attribute 'Missing'",
        "no_module": "ModuleNotFoundError: No module named 'no_such_module_here'",
        "no_plugin": "TypeError: it has no method invoke",
        "no_uuid": "AttributeError: 'Good' object has no attribute 'uuid'",
        "twice": f"there is a plugin {ODD} already",
    }


def test_c_comes_before_python(tmp_path: Path, install: Callable[..., None], told: list[str]) -> None:
    install(**{str(TEST_UUID): "@:Good"})
    compile_plugin(tmp_path / "c")
    plugins = HostPlugins([str(tmp_path / "c")], tell=told.append)
    try:
        assert call(plugins, TEST_UUID, 3)[1] == 1, "the count of calls, of csrc/plugin.c"
        assert len(told) == 1
        assert told[0].endswith(f"there is a plugin {TEST_UUID} already")
    finally:
        plugins.close()
