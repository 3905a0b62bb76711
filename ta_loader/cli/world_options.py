"""Options of every command that runs TAs, and the `Setup` they mean."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from normal_world.host.setup import MIN_MEMORY, Setup, read_layout
from south.errors import UsageError
from south.linux_host.root_of_trust import require_usable
from ta_loader.cli.options import Option, seconds, size
from ta_loader.inputs import shown
from ta_loader.trust import read_config

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ta_loader.cli.options import Arguments

TRUST_OPTIONS = (
    Option("--trust", "KEY", "PEM file, or folder of a TA development kit, whose signatures are believed", many=True),
    Option("--allow-unsigned", "", "also run bare ELF files, and images that no trusted key signed"),
    Option("--enc-key", "HEX", "key of encrypted TAs, 32 bytes; by default derived from the device's key"),
)
STATE_OPTION = Option("--state", "DIR", "the device's key and trusted storage (default: the user's XDG state folder)")
WORLD_OPTIONS = (
    Option("--ta-dir", "DIR", "folder where TAs and libraries are found by UUID", many=True),
    *TRUST_OPTIONS,
    STATE_OPTION,
    Option("--rpmb-integrity", "", "refuse an older copy of trusted storage: the RPMB keeps the root of its files"),
    Option("--storage-limit", "SIZE", "trusted storage of each TA (default: no limit)"),
    Option("--memory", "SIZE", "private memory of each TA instance (default 64M)"),
    Option(
        "--address-space", "KIND", "addresses of TAs: board (default): 1 GiB at 0x40000000, as under OP-TEE; or wide"
    ),
    Option("--timeout", "SECONDS", "stop a TA whose call takes longer (default: never)"),
    Option("--elf", "FILE", "unstripped ELF of a TA or library: backtraces show files and lines", many=True),
    Option(
        "--profile-dir", "DIR", "where TAs built with gprof or ftrace leave gmon-UUID.out and ftrace-UUID.out", out=True
    ),
    Option("--trace", "", "print every system call on standard error"),
    Option("--trace-out", "FILE", "write system calls as Chrome trace JSON (chrome://tracing, Perfetto)", out=True),
)


def read_setup(arguments: Arguments) -> Setup:
    """The options of `WORLD_OPTIONS` and the user's configuration file. UsageError."""
    config = read_config()
    memory, timeout = arguments.one("--memory"), arguments.one("--timeout")
    storage = arguments.one("--storage-limit")
    folders = require_folders((*arguments.many("--ta-dir"), *config.ta_dirs))
    setup = Setup(
        ta_dirs=folders,
        trust=(*arguments.many("--trust"), *config.trust),
        allow_unsigned=arguments.switch("--allow-unsigned"),
        enc_key=read_enc_key(arguments),
        state=read_state(arguments),
        timeout=None if timeout is None else seconds(timeout, "--timeout"),
        elf=tuple(arguments.many("--elf")),
        trace=arguments.switch("--trace"),
        trace_out=arguments.one("--trace-out"),
        quiet=arguments.switch("--quiet"),
        rpmb_integrity=arguments.switch("--rpmb-integrity"),
        layout=read_layout(arguments.one("--address-space"), "--address-space"),
        profile_dir=arguments.one("--profile-dir"),
        storage_limit=None if storage is None else size(storage, "--storage-limit"),
    )
    return setup if memory is None else setup._replace(memory=read_memory(memory, "--memory"))


def read_state(arguments: Arguments) -> str | None:
    """The state folder that the user named, None: none. StateError: it is refused, needed or not."""
    path = arguments.one("--state")
    if path is not None:
        require_usable(path)
    return path


def require_folders(paths: Sequence[str]) -> tuple[str, ...]:
    """Those of `--ta-dir` or of a file in its place. UsageError if one is not there."""
    for path in paths:
        if not os.path.isdir(path):
            raise UsageError(f"{shown(path, '--ta-dir')}: no such folder")
    return tuple(paths)


def read_memory(text: str, what: str) -> int:
    """Bytes that a TA instance may have. UsageError names `what` it was for."""
    limit = size(text, what, 1 << 32)
    if limit < MIN_MEMORY:
        raise UsageError(f"{what} {text}: a TA instance needs at least 1M")
    return limit


def read_enc_key(arguments: Arguments) -> bytes | None:
    text = arguments.one("--enc-key")
    if text is None:
        return None
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise UsageError("--enc-key takes 64 hexadecimal digits: a 256-bit AES key")
    return key
