"""A TA that nobody here wrote calls plugins of a supplicant: OP-TEE's supp_plugin test TA, over `Context`."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import pytest

from normal_world import Context, Memref, TeeError, Value
from normal_world.client.options import LocalOptions
from tee.abi import results
from tests.real.tas import SUPP_PLUGIN

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PASS_VALUES, WRITE, READ = 0, 1, 2
"""Commands of the TA (optee_test ta/supp_plugin/include/ta_supp_plugin.h); opening a session pings the plugin."""
SECONDS = 1.5
"""Of one call of the TA."""
PLUGIN = """
import threading

class Plugin:
    # optee_test host/supp_plugin/include/test_supp_plugin.h
    uuid = "f07bfc66-958c-4a15-99c0-260e4e7375dd"
    go = threading.Event()
    go.set()
    kept = b""

    def invoke(self, cmd, sub_cmd, data):
        self.go.wait(20)
        if cmd == 2:
            Plugin.kept = bytes(data)
        if cmd == 3:
            data[:] = Plugin.kept[:len(data)]
        return 0, len(data)
"""


@pytest.fixture
def tee(debian_tas: Path, debian_kit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    (tmp_path / "plugin_for_supp_plugin.py").write_text(PLUGIN)
    info = tmp_path / "plugin_for_supp_plugin-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin_for_supp_plugin\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[litebox_ta.plugins]\nsupp = plugin_for_supp_plugin:Plugin\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    options = LocalOptions(
        ta_dirs=[debian_tas], trust=[debian_kit], state=tmp_path / "state", timeout=SECONDS, log=lambda _: None
    )
    with Context.local(options) as context:
        yield context


def test_a_python_plugin_serves_it(tee: Context) -> None:
    with tee.open_session(SUPP_PLUGIN) as session:
        data = bytes(range(50))
        session.invoke(WRITE, Memref.inout(bytearray(data)), Value.output())
        back, length = session.invoke(READ, Memref.output(50), Value.output())
        assert isinstance(back, Memref)
        assert isinstance(length, Value)
        assert (bytes(back), length.a) == (data, 50)


def test_a_ta_that_waits_for_a_plugin_is_stopped_by_its_own_limit(tee: Context) -> None:
    with tee.open_session(SUPP_PLUGIN) as session:
        plugin = sys.modules["plugin_for_supp_plugin"].Plugin
        plugin.go.clear()
        start = time.monotonic()
        try:
            with pytest.raises(TeeError) as stopped:
                session.invoke(WRITE, Memref.inout(bytearray(50)), Value.output())
        finally:
            plugin.go.set()
        assert stopped.value.result == results.TARGET_DEAD
        assert SECONDS * 0.9 < time.monotonic() - start < SECONDS + 5
