"""Files to and from a board, through its shell: in blocks with checksums, over a line that may lose what it carries.

A block of a file that goes there is a command, which arrives whole and runs once; one that comes back has its checksum
beside it and is asked for again. The whole file is checked in the end, and takes its name only then.

What the board has of these is used: base64 (else printf's and od's octets), gzip, sha256sum (else cksum).
"""

from __future__ import annotations

import base64
import binascii
import gzip
import hashlib
import os
import posixpath
import secrets
import shlex
import stat
import time
import zlib
from typing import TYPE_CHECKING, NamedTuple

from boards.errors import TargetError
from south.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from boards.console_shell import Completed, Shell

CHUNK = 6000
"""Characters of base64 in one command: little to send again over a bad line, and to wait for over a good one."""
OVERHEAD = 1200
"""Characters of an encoded command beside what it carries. A byte becomes eight where there is no base64."""
BLOCK = 16384
"""Bytes of a file that one command fetches; half as many as before after each that comes damaged."""
LEAST = 256
"""Bytes; a line that damages nearly every so small a block is given up after ATTEMPTS."""
ATTEMPTS = 10
SECONDS = 300.0
"""For one command: a slow line carries a block in seconds, a slow card may take longer."""
MAX_BYTES = 1 << 28
"""Of one file."""
FIRST = 100
"""Exit code of the first check that fails."""
TOOLS = ("base64", "gzip", "sha256sum", "cksum")


class _Tools(NamedTuple):
    base64: bool
    gzip: bool
    sha256sum: bool
    cksum: bool


def put(
    shell: Shell, data: bytes, path: str, *, mode: int | None = None, tell: Callable[[int, int], None] = lambda *_: None
) -> None:
    """A file of these bytes on the board; one that is there is replaced, wholly or not at all.

    path: there; not a folder. mode: permissions, None for the shell's own. tell: called with (done, all), in bytes.
    UsageError for a path that cannot be written, TargetError.
    """
    if len(data) > MAX_BYTES:
        raise UsageError(f"{path}: a file for a board has at most {MAX_BYTES} bytes")
    path = _sound(path)
    quoted = shlex.quote(path)
    tools = _tools(shell)
    made = f"{path}.lb-{secrets.token_hex(4)}"
    temporary = shlex.quote(made)
    folder = posixpath.dirname(path) or "."
    within = shlex.quote(folder)
    _usage(
        shell,
        path,
        (f"[ -e {quoted} ] && ! [ -f {quoted} ]", "it is no file"),
        (f"! [ -d {within} ]", f"there is no folder {folder}"),
        (f"! [ -w {within} ]", f"the folder {folder} may not be written to"),
        then=f": >{temporary}",
    )
    try:
        packed = gzip.compress(data, mtime=0) if tools.gzip else data
        packed = packed if len(packed) < len(data) else data
        _fill(shell, packed, path, temporary, tools, tell)
        if packed is not data:
            _do(shell, path, f"gzip -dc <{temporary} >{temporary}z && mv -f {temporary}z {temporary}")
        if not _same(_sum(shell, made, tools), data):
            raise TargetError(f"{path} came damaged")
        chmod = "" if mode is None else f"chmod {mode & 0o7777:o} {temporary} && "
        # Through a link, and not in its place.
        move = (
            f"if [ -h {quoted} ]; then cat {temporary} >{quoted} && rm {temporary}; else mv -f {temporary} {quoted}; fi"
        )
        _do(shell, path, f"{chmod}{move}")
    except BaseException:
        _forget(shell, temporary)
        raise


def get(shell: Shell, path: str, *, tell: Callable[[int, int], None] = lambda *_: None) -> bytes:
    """The bytes of a file of the board. tell: called with (done, all), in bytes.

    UsageError for one that cannot be read; TargetError, also if it changes meanwhile.
    """
    path = _sound(path)
    quoted = shlex.quote(path)
    tools = _tools(shell)
    done = _usage(
        shell,
        path,
        (f"[ -d {quoted} ]", "it is a folder"),
        (f"! [ -e {quoted} ]", "there is no such file"),
        (f"! [ -f {quoted} ]", "it is no file"),
        (f"! [ -r {quoted} ]", "it may not be read"),
        then=f"wc -c <{quoted}",
    )
    size = int(done.output) if done.output.strip().isdecimal() else MAX_BYTES + 1
    if size > MAX_BYTES:
        raise UsageError(f"{path}: a file from a board has at most {MAX_BYTES} bytes")
    out = bytearray()
    block, failed = BLOCK, 0
    while len(out) < size:
        data = _block(shell, quoted, block, len(out) // block, tools)
        if data is not None:
            failed = 0
            out += data
            tell(len(out), size)
            if len(data) < block:
                break
        elif block > LEAST:
            block //= 2
        else:
            failed += 1
            if failed == ATTEMPTS:
                raise TargetError(
                    f"{path}: what stands at {len(out)} came damaged {ATTEMPTS} times; is the line sound?"
                )
    if len(out) != size or not _same(_sum(shell, path, tools), bytes(out)):
        raise TargetError(f"{path} changed while it was read")
    return bytes(out)


def local_file(source: Path) -> tuple[bytes, int]:
    """The bytes and permissions of a file of ours. UsageError."""
    try:
        # Not a named pipe, which could be waited for without end, nor a device.
        with open(source, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UsageError(f"{source}: is no regular file")
            data = file.read(MAX_BYTES + 1) if status.st_size <= MAX_BYTES else b""
    except OSError as problem:
        raise UsageError(f"{source}: {problem.strerror}") from None
    if max(len(data), status.st_size) > MAX_BYTES:
        raise UsageError(f"{source}: a file for a board has at most {MAX_BYTES} bytes")
    return data, status.st_mode & 0o777


def posix_cksum(data: bytes) -> int:
    """POSIX.1-2017 XCU cksum: CRC-32 with the polynomial 0x04C11DB7, of the data and its length."""
    octets = bytearray(data)
    length = len(data)
    while length:
        octets.append(length & 0xFF)
        length >>= 8
    crc = 0
    for octet in octets:
        crc = (crc << 8 & 0xFFFFFFFF) ^ _TABLE[crc >> 24 ^ octet]
    return ~crc & 0xFFFFFFFF


def _table() -> Iterator[int]:
    for octet in range(256):
        crc = octet << 24
        for _ in range(8):
            crc = (crc << 1) ^ (0x04C11DB7 if crc & 0x80000000 else 0)
        yield crc & 0xFFFFFFFF


_TABLE = tuple(_table())


def _sound(path: str) -> str:
    if not path or "\0" in path or path.endswith("/"):
        raise UsageError(f"{path!r} is no name of a file on a board")
    return f"./{path}" if path.startswith("-") else path


def _tools(shell: Shell) -> _Tools:
    names = " ".join(TOOLS)
    done = shell.run(
        f"for lbf in {names}; do command -v $lbf >/dev/null 2>&1 && echo $lbf; done; true", SECONDS, check=True
    )
    found = done.output.split()
    tools = _Tools(*(tool in found for tool in TOOLS))
    if not tools.sha256sum and not tools.cksum:
        raise UsageError("the board has neither sha256sum nor cksum, without which no file is sure to arrive whole")
    return tools


def _fill(
    shell: Shell, data: bytes, path: str, temporary: str, tools: _Tools, tell: Callable[[int, int], None]
) -> None:
    # What is too long would be sent as a file itself.
    room = max(64, min(CHUNK, shell.room - OVERHEAD))
    size = room // 4 * 3 if tools.base64 else room // 8
    for at in range(0, len(data), size):
        piece = data[at : at + size]
        if tools.base64:
            command = f"printf %s {base64.b64encode(piece).decode()} | base64 -d >>{temporary}"
        else:
            octets = "".join(chr(c) if chr(c).isalnum() and c < 128 else f"\\0{c:03o}" for c in piece)
            command = f"printf %b '{octets}' >>{temporary}"
        _do(shell, path, command, f"(block {at // size + 1} of {-(-len(data) // size)} of {path})")
        tell(min(at + size, len(data)), len(data))


def _block(shell: Shell, quoted: str, size: int, number: int, tools: _Tools) -> bytes | None:
    """The block of so many bytes with that number, shorter at the file's end; None: it came damaged."""
    read = f"dd if={quoted} bs={size} skip={number} count=1 2>/dev/null"
    pack = " | gzip -c" if tools.gzip else ""
    show = "base64" if tools.base64 else "od -An -v -tx1"
    total = "cksum" if tools.cksum else "sha256sum"
    done = shell.run(f"{read}{pack} | {show}; {read} | {total}", SECONDS, check=True)
    *lines, last = done.output.strip().splitlines() or [""]
    try:
        text = "".join(lines)
        data = base64.b64decode(text, validate=True) if tools.base64 else bytes.fromhex(text)
        if tools.gzip:
            data = zlib.decompressobj(31).decompress(data, size + 1)
    except (binascii.Error, ValueError, zlib.error):
        return None
    return data if len(data) <= size and _same(last.split()[:1], data) else None


def _sum(shell: Shell, path: str, tools: _Tools) -> list[str]:
    return shell.run(f"{'sha256sum' if tools.sha256sum else 'cksum'} <{shlex.quote(path)}", SECONDS).output.split()[:1]


def _same(digest: list[str], data: bytes) -> bool:
    """Whether it is one of the two of these bytes."""
    if not digest:
        return False
    if digest[0].isdecimal() and len(digest[0]) <= 10:
        return int(digest[0]) == posix_cksum(data)
    return digest[0] == hashlib.sha256(data).hexdigest()


def _do(shell: Shell, path: str, command: str, shown: str | None = None) -> None:
    done = shell.run(command, SECONDS, shown=shown)
    if done.exit_code:
        raise TargetError(f"{path}: cannot be written", output=done.output)


def _usage(shell: Shell, path: str, *wrong: tuple[str, str], then: str) -> Completed:
    """Run `then`, unless a condition holds. wrong: (condition, what is wrong then); UsageError says it in our words,
    for a shell's begin with what it was running.
    """
    checks = "".join(f"if {test}; then (exit {FIRST + at}); el" for at, (test, _) in enumerate(wrong))
    done = shell.run(f"{checks}se {then}; fi", SECONDS)
    if done.exit_code:
        at = done.exit_code - FIRST
        problem = wrong[at][1] if 0 <= at < len(wrong) else "it cannot be used"
        raise UsageError(f"{path} on the board: {problem}")
    return done


def _forget(shell: Shell, temporary: str) -> None:
    try:
        shell.run(f"rm -f {temporary} {temporary}z", SECONDS)
    except (TargetError, UsageError):
        pass  # what went wrong before is what matters


class Report:
    """Tells how far a transfer has come, if it takes long. say: shows one line."""

    def __init__(self, what: str, say: Callable[[str], None], patience: float = 2.0, again: float = 5.0) -> None:
        self._what = what
        self._say = say
        self._next = time.monotonic() + patience
        self._again = again

    def __call__(self, done: int, total: int) -> None:
        if done < total and time.monotonic() > self._next:
            self._next = time.monotonic() + self._again
            self._say(f"{self._what}: {100 * done // total} %")
