"""The socket's file is what the daemon made, and Python's clients look who serves."""

from __future__ import annotations

import os
import socket
import stat
from typing import TYPE_CHECKING

import pytest

from normal_world import serving
from normal_world.client.remote import Remote
from normal_world.daemon.listen import listen
from normal_world.daemon.status import fetch
from south.errors import UsageError
from tee.abi import results
from tee.errors import TeeError

if TYPE_CHECKING:
    from pathlib import Path

    from normal_world.daemon.server import Server


@pytest.mark.parametrize("group", [None, os.getegid()])
@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_mode_and_group(tmp_path: Path, mode: int, group: int | None) -> None:
    before = os.umask(0o022)
    try:
        listener = listen(str(tmp_path / "s"), mode, group)
    finally:
        assert os.umask(before) == 0o022
    assert stat.S_IMODE(os.lstat(listener.path).st_mode) == mode
    listener.socket.close()
    listener.remove()
    assert not os.path.lexists(listener.path)


@pytest.mark.parametrize("group", [None, os.getegid()])
@pytest.mark.parametrize("what", ["link", "file", "nothing"])
def test_a_file_put_in_the_sockets_place_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, group: int | None
) -> None:
    """Somebody who may write to the folder wins the race: replaces the socket right after bind."""
    target, path = tmp_path / "private", tmp_path / "s"
    target.write_text("root only")
    target.chmod(0o600)
    real, calls = os.umask, []

    def umask(mask: int) -> int:
        calls.append(mask)
        if len(calls) == 2:  # bind is over
            os.rename(path, tmp_path / "moved")
            if what == "link":
                path.symlink_to(target)
            elif what == "file":
                os.link(target, path)
        return real(mask)

    monkeypatch.setattr(os, "umask", umask)
    try:
        listener = listen(str(path), 0o666, group)
        listener.socket.close()
        listener.remove()
    except UsageError:
        pass
    assert len(calls) == 2
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert target.read_text() == "root only"


def test_the_end_removes_no_file_that_is_not_the_daemons(tmp_path: Path) -> None:
    listener = listen(str(tmp_path / "s"), 0o600)
    os.rename(listener.path, tmp_path / "moved")
    os.symlink(tmp_path / "moved", listener.path)
    listener.remove()
    assert os.path.lexists(listener.path)
    listener.socket.close()


STRANGER = 54321


def test_a_stranger_that_serves_is_refused(daemon: tuple[str, Server], monkeypatch: pytest.MonkeyPatch) -> None:
    path, served = daemon
    monkeypatch.setattr(serving, "serving_uid", lambda _: STRANGER)
    for given in ("", "54322", "54321 ", "x"):
        monkeypatch.setenv(serving.UID_VARIABLE, given)
        with pytest.raises(TeeError) as refused:
            Remote(path)
        assert refused.value.result == results.ACCESS_DENIED
        assert "LITEBOX_SERVER_UID=54321" in str(refused.value.detail)
        with pytest.raises(UsageError, match="LITEBOX_SERVER_UID=54321"):
            fetch(path)
    assert not served.contexts
    monkeypatch.setenv(serving.UID_VARIABLE, str(STRANGER))
    Remote(path).close()
    assert fetch(path)["pid"] == os.getpid()


def test_the_kernels_word_is_taken(tmp_path: Path) -> None:
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client,
    ):
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        client.connect(str(tmp_path / "s"))
        assert serving.serving_uid(client) == os.geteuid()
        serving.require_trusted(client)
