"""The keeper of a C plugin (normal_world/plugin_host): its frames, and a daemon that says nonsense or is gone."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from normal_world.libteec import folders
from normal_world.plugin_host import frames
from normal_world.plugin_host.build import FLAGS, HERE, PROGRAM, build, ensure
from normal_world.plugin_host.frames import DATA_MAX, LAYOUT, Death, Frame, FrameError, Kind
from tests.normal_world.plugin_kit import TEST_UUID, compile_plugin

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIMIT = 20000
"""Milliseconds of a call."""


@contextlib.contextmanager
def keeper(plugin: Path) -> Iterator[tuple[socket.socket, subprocess.Popen[bytes]]]:
    """Started by hand; our end of its socket."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    memory = os.memfd_create("test")
    os.ftruncate(memory, DATA_MAX)
    command = [str(ensure()), str(plugin), str(theirs.fileno()), str(memory)]
    process = subprocess.Popen(command, pass_fds=(theirs.fileno(), memory))
    theirs.close()
    os.close(memory)
    ours.settimeout(20)
    try:
        yield ours, process
    finally:
        ours.close()
        assert process.wait(20) == 0


def receive(ours: socket.socket) -> Frame:
    return Frame.unpack(ours.recv(LAYOUT.size + 1))


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_plugin(tmp_path_factory.mktemp("plugin"))


def test_frames_are_the_same_in_c(tmp_path: Path) -> None:
    fields = ("version", "kind", "call", "a", "b", "limit", "length", "text")
    constants = {
        "LB_VERSION": frames.VERSION,
        "LB_DATA_MAX": frames.DATA_MAX,
        "LB_TEXT": frames.TEXT,
        **{f"LB_{kind.name}": kind for kind in Kind},
        **{f"LB_{death.name}": death for death in Death},
    }
    lines = [f'printf("%zu ", offsetof(struct lb_frame, {field}));' for field in fields]
    lines += [f'printf("%u ", (unsigned){name});' for name in constants]
    source = tmp_path / "layout.c"
    source.write_text(
        f'#include <stddef.h>\n#include <stdio.h>\n#include "{HERE}/csrc/frames.h"\n'
        f'int main(void) {{ printf("%zu ", sizeof(struct lb_frame)); {"".join(lines)} return 0; }}\n'
    )
    subprocess.run(["cc", "-Wall", "-Werror", "-o", tmp_path / "layout", source], check=True, timeout=60)
    done = subprocess.run([tmp_path / "layout"], capture_output=True, text=True, check=True, timeout=60)
    offsets = [0, 4, 8, 12, 16, 20, 24, 32]
    assert [int(word) for word in done.stdout.split()] == [LAYOUT.size, *offsets, *map(int, constants.values())]


def test_packing() -> None:
    frame = Frame(Kind.INVOKE, 1, 2, 3, 4, 5, b"text")
    again = Frame.unpack(frame.pack())
    assert again._replace(text=again.text.rstrip(b"\0")) == frame
    for bad in (b"", frame.pack()[:-1], frame.pack() + b"\0", b"\2" + frame.pack()[1:]):
        with pytest.raises(FrameError):
            Frame.unpack(bad)
    assert Frame(Kind.REFUSED, text=b" \x1b[1mbad\n\xff\0rest").message == "[1mbad \N{REPLACEMENT CHARACTER}"


def test_a_life(plugin: Path) -> None:
    with keeper(plugin) as (ours, _):
        ready = receive(ours)
        assert ready.kind == Kind.READY
        assert ready.identity() == (TEST_UUID, "test [1m plugin")
        ours.send(Frame(Kind.INVOKE, 7, 3, 0, LIMIT, 0).pack())
        answer = receive(ours)
        assert (answer.kind, answer.call, answer.a, answer.length) == (Kind.ANSWER, 7, 0, 1)
        ours.send(Frame(Kind.CANCEL, 7).pack())  # it crossed the answer
        ours.send(Frame(Kind.INVOKE, 8, 22, 0, LIMIT, 0).pack())
        ours.send(Frame(Kind.CANCEL, 7).pack())
        ours.send(Frame(Kind.CANCEL, 8).pack())
        death = receive(ours)
        assert (death.kind, death.call, death.a) == (Kind.DIED, 8, Death.CANCELLED)


@pytest.mark.parametrize(
    "packet",
    [
        b"x",
        Frame(Kind.INVOKE).pack()[:-1],
        b"\xff" * LAYOUT.size,
        Frame(Kind.READY).pack(),
        Frame(Kind.INVOKE, 1, 0, 0, LIMIT, DATA_MAX + 1).pack(),
        Frame(99).pack(),
    ],
)
@pytest.mark.parametrize("busy", [False, True])
def test_it_ends_when_the_daemon_says_nonsense(plugin: Path, packet: bytes, busy: bool) -> None:
    with keeper(plugin) as (ours, process):
        receive(ours)
        if busy:
            ours.send(Frame(Kind.INVOKE, 1, 22, 0, LIMIT, 0).pack())
        ours.send(packet)
        assert process.wait(20) == 0


@pytest.mark.parametrize("busy", [False, True])
def test_it_ends_with_the_daemon(plugin: Path, busy: bool) -> None:
    with keeper(plugin) as (ours, process):
        receive(ours)
        if busy:
            ours.send(Frame(Kind.INVOKE, 1, 22, 0, LIMIT, 0).pack())
        process.terminate()
        ours.send(Frame(Kind.CANCEL, 99).pack())
        ours.close()
        assert process.wait(20) == 0


def test_usage() -> None:
    done = subprocess.run([ensure()], capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ")


def test_it_compiles_without_warnings(tmp_path: Path) -> None:
    assert {"-Wall", "-Wextra"} <= set(FLAGS)
    program = build(tmp_path / "made", "cc")
    assert program == tmp_path / "made" / PROGRAM
    sources = [str(path) for path in sorted((HERE / "csrc").glob("*.c"))]
    include = HERE.parent / "libteec" / "include"
    subprocess.run(["cc", *FLAGS, "-Werror", "-fsyntax-only", f"-I{include}", *sources], check=True, timeout=60)


def test_where_it_is_built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    package, cache = folders("arm", HERE)
    assert package == HERE / "lib" / "arm-linux-gnueabihf"
    assert cache == tmp_path / "litebox-ta" / "plugin_host" / "arm-linux-gnueabihf"
