"""`litebox-ta with ... -- PROGRAM`: run a client of TAs against a daemon of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from normal_world.run_with.program import Launcher, find_program, foreign
from south.errors import UsageError
from ta_loader.cli.options import Command, Option
from ta_loader.cli.private_daemon import PrivateDaemon, exit_code
from ta_loader.cli.serve import PLUGIN_OPTIONS
from ta_loader.cli.world_options import WORLD_OPTIONS, read_setup

if TYPE_CHECKING:
    from types import FrameType

    from ta_loader.cli.options import Arguments

_PASSED_ON = (
    *WORLD_OPTIONS,
    Option("--sockets", "POLICY", "what TAs may connect to: off (default), loopback, or HOST:PORT,..."),
    *PLUGIN_OPTIONS,
)
"""Options of `litebox-ta serve`, handed to the daemon as they are."""
_FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)

EPILOG = """
The program finds our libteec and our daemon through its environment, and nothing else changes for it. A program for
another machine runs under qemu-user. The exit code is the program's, or 128 + the signal that ended it.

examples:
  litebox-ta with --trust vendor.pem --ta-dir tas -- ./my_client --selftest
  litebox-ta with --trust kit --ta-dir root/lib/optee_armtz --sysroot root -- xtest -t regression 1004
"""


def run(arguments: Arguments) -> int:
    name, *rest = arguments.words
    sysroot = arguments.one("--sysroot")
    if sysroot is not None and not os.path.isdir(sysroot):
        raise UsageError(f"--sysroot {sysroot}: no such folder")
    read_setup(arguments)  # a mistake in what the daemon is handed is ours, too, and said at once
    program = find_program(name, sysroot)
    library = _library(program.machine if foreign(program) else None)
    log = arguments.one("--log")
    options = [*_passed_on(arguments), *_of_sysroot(sysroot)]
    options += ["--quiet"] if arguments.switch("--quiet") else []
    with PrivateDaemon(
        options,
        log,
        verbose=arguments.switch("--verbose"),
        state=arguments.one("--state"),
        reports=not arguments.switch("--quiet"),
    ) as daemon:
        launcher = Launcher(daemon.folder, program, library, sysroot)
        status = _run(launcher.command(rest), launcher.environment(daemon.socket))
        if not daemon.alive:
            print("litebox-ta: the daemon ended before the program did", file=sys.stderr)
    return exit_code(status)


def _library(machine: str | None) -> str:
    """The folder of our libteec for `machine` (None: this one), built now if it is not there. UsageError."""
    from normal_world.libteec import BuildError, ensure

    try:
        return str(ensure(machine).parent)
    except BuildError as problem:
        raise UsageError(str(problem)) from None


def _of_sysroot(sysroot: str | None) -> list[str]:
    """The daemon's options for what lies in the sysroot: plugins, after those of --plugin-dir."""
    if sysroot is None:
        return []
    from normal_world.run_with.plugins import folders_of

    out = ["--sysroot", sysroot]
    for folder in folders_of(sysroot):
        out += ["--plugin-dir", folder]
    return out


def _passed_on(arguments: Arguments) -> list[str]:
    """The daemon's part of the command line."""
    out: list[str] = []
    for option in _PASSED_ON:
        if option.key == "--state":
            continue
        if not option.metavar:
            out += [option.key] if arguments.switch(option.key) else []
        else:
            for value in arguments.many(option.key):
                out += [option.key, value]
    return out


def _run(command: list[str], environment: dict[str, str]) -> int:
    """The program's exit status. Ctrl-C reaches it from the terminal; we wait for what it makes of it."""
    try:
        child = subprocess.Popen(command, env=environment)
    except OSError as problem:
        raise UsageError(f"{command[0]}: {problem.strerror}") from None

    def forward(number: int, _: FrameType | None) -> None:
        child.send_signal(number)

    for number in _FORWARDED:
        signal.signal(number, forward)
    signal.signal(signal.SIGINT, lambda *_: None)
    while True:
        try:
            return child.wait()
        except InterruptedError:
            continue


COMMAND = Command(
    name="with",
    summary="Run a program that uses TAs, with our libteec and a daemon of its own.",
    words=("PROGRAM...",),
    options=(
        *_PASSED_ON,
        Option("--sysroot", "ROOT", "libraries and programs of the machine that PROGRAM is for"),
        Option("--log", "FILE", "write what the daemon and the TAs say to FILE", out=True),
        Option("-v, --verbose", "", "let the daemon and the TAs speak on standard error"),
        Option("-q, --quiet", "", "no TA log, and no reports of refused and dead TAs"),
    ),
    run=run,
    epilog=EPILOG,
)
