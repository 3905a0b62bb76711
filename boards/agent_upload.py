"""Bringing the TEE agent onto a board that does not have it, through its shell."""

from __future__ import annotations

import base64
import gzip
import hashlib
import shlex
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

from boards.console_log import Direction
from boards.errors import TargetError
from normal_world.agent.build import place
from ta_loader.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from boards.board import Board

NAME = "litebox-tee-agent"
CHUNK = 6000
"""Characters of one command: what a bad line makes us send again is little, what a good one makes us wait for, too."""
TELL_SECONDS = 2.0
"""A transfer that takes longer is told of."""


class Agent(NamedTuple):
    """program: as a shell takes it. folder: what it was brought in, to be removed in the end; "": it was there."""

    program: str
    folder: str = ""


def agent_on(board: Board) -> Agent:
    """The board's own agent, or ours, brought there. UsageError if there is none for it; TargetError."""
    shell = board.shell
    # Ours in an image may be an older one's, in an image that was made long ago: its name tells.
    found = shell.run(f"command -v {NAME} || command -v {place()}")
    if found.exit_code == 0 and found.output.strip():
        return Agent(shlex.quote(found.output.strip().splitlines()[-1]))
    machine = shell.run("uname -m", check=True).output.strip()
    program = _built(machine).read_bytes()
    packed = base64.b64encode(gzip.compress(program, mtime=0)).decode()
    _check_tools(board)
    folder = shlex.quote(shell.run("mktemp -d /tmp/litebox-XXXXXX", check=True).output.strip())
    path = f"{folder}/{NAME}"
    _send(board, f"{path}.b64", packed)
    shell.run(f"base64 -d <{path}.b64 | gzip -dc >{path} && rm {path}.b64 && chmod 755 {path}", check=True)
    # gzip has looked at its own checksum; this is for what does not tell when it fails in the middle of a pipe.
    digest = shell.run(f"sha256sum {path} || cksum {path}").output.split()
    if not digest or digest[0] not in (hashlib.sha256(program).hexdigest(), str(posix_cksum(program))):
        raise TargetError(f"{NAME} came to {board.name} damaged")
    return Agent(path, folder)


def _built(machine: str) -> Path:
    from normal_world.agent.build import ensure
    from normal_world.libteec import BuildError

    try:
        return ensure(machine)
    except BuildError as problem:
        raise UsageError(
            f"{problem}\n(or put {NAME} on the board's PATH; its sources need a C compiler alone)"
        ) from None


def _check_tools(board: Board) -> None:
    done = board.shell.run("for t in base64 gzip mktemp; do command -v $t >/dev/null || echo $t; done", check=True)
    if missing := done.output.split():
        raise UsageError(f"{board.name} has no {', '.join(missing)}, so put {NAME} on its PATH or name it: [tee] agent")


def _send(board: Board, path: str, text: str) -> None:
    began = time.monotonic()
    told = False
    for at in range(0, len(text), CHUNK):
        board.shell.run(f"printf %s {text[at : at + CHUNK]} >>{path}", 120.0, check=True)
        done = min(at + CHUNK, len(text))
        if done < len(text) and (told or time.monotonic() - began > TELL_SECONDS):
            told = True
            share = f"sending {NAME} to {board.name}: {100 * done // len(text)} %"
            board.log.add(board.console.name, Direction.EVENT, share)
            print(share, file=sys.stderr)


def posix_cksum(data: bytes) -> int:
    """POSIX.1-2017 XCU cksum: CRC-32 with the polynomial 0x04C11DB7, of the data and its length."""
    octets = bytearray(data)
    length = len(data)
    while length:
        octets.append(length & 0xFF)
        length >>= 8
    crc = 0
    for octet in octets:
        crc ^= octet << 24
        for _ in range(8):
            crc = (crc << 1) ^ (0x04C11DB7 if crc & 0x80000000 else 0)
        crc &= 0xFFFFFFFF
    return ~crc & 0xFFFFFFFF
