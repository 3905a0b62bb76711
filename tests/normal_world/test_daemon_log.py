"""A daemon whose standard error takes no more serves on: TAs that log, TAs that panic, images that are refused."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from normal_world.daemon.metrics import render
from normal_world.daemon.status import fetch, lines
from south.platform import Arch
from ta_loader import samples
from tee.abi import results
from tee.params import Kind
from tests.normal_world.kit import LITEBOX_TA, RawClient, memory, memref, value

if TYPE_CHECKING:
    from pathlib import Path

HELLO = samples.HELLO[Arch.AARCH64]
PANIC, LOG = 2, 5


@pytest.mark.parametrize("how", ["full disk", "reader gone", "reader stuck", "closed"])
def test_a_log_that_takes_no_more_fails_no_call(tmp_path: Path, how: str) -> None:
    ours, theirs = os.pipe()
    ready, told = os.pipe()
    stderr = theirs
    if how == "full disk":
        stderr = os.open("/dev/full", os.O_WRONLY)
    elif how == "reader gone":
        os.close(ours)
    elif how == "reader stuck":
        os.set_blocking(theirs, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(theirs, bytes(4096))
        os.set_blocking(theirs, True)
    (tmp_path / "tas").mkdir()
    (tmp_path / "tas" / f"{UUID(int=5)}.ta").write_bytes(b"no image")
    path = str(tmp_path / "tee.sock")
    options = ["--ta-dir", samples.FOLDER, "--ta-dir", str(tmp_path / "tas"), "--trust", samples.public_key_file()]
    command = [*LITEBOX_TA, "serve", "--socket", path, "--state", str(tmp_path / "state"), "--ready-fd", str(told)]
    if how == "closed":
        command = ["sh", "-c", 'exec "$@" 2>&-', "sh", *command]
    daemon = subprocess.Popen([*command, *options], stderr=stderr, pass_fds=[told])
    try:
        os.close(told)
        assert select.select([ready], [], [], 30)[0]
        assert os.read(ready, 1)
        client = RawClient(path)
        file = memory(4096)
        os.pwrite(file, b"said by a TA", 0)
        shm = client.register(file, 4096).id
        os.close(file)
        for _ in range(3):
            session = client.open(HELLO).id
            assert client.invoke(session, LOG, memref(Kind.MEMREF_INPUT, shm, 12)).result == results.SUCCESS
            dead = client.invoke(session, PANIC, value(Kind.VALUE_INPUT, 9))
            assert dead.result == results.TARGET_DEAD
            assert client.open(UUID(int=5)).result not in (results.SUCCESS, results.COMMUNICATION, results.GENERIC)
        status = fetch(path)
        assert status["bugs"] == 0
        if how != "closed":  # then it has a standard error again: /dev/null
            assert status["log_lost"] >= 9
            assert any("log could not be written" in line for line in lines(status))
            assert f"litebox_log_lost_total {status['log_lost']}\n" in render(status)
        client.close()
        daemon.terminate()
        assert daemon.wait(30) == 0
    finally:
        daemon.kill()
        daemon.wait()
        for fd in (ready, theirs, *([] if how == "reader gone" else [ours])):
            os.close(fd)
        if stderr != theirs:
            os.close(stderr)
