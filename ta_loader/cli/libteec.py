"""`litebox-ta libteec`: what a C program is compiled and linked with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from south.errors import UsageError
from ta_loader.cli import exits
from ta_loader.cli.options import Command, Option

if TYPE_CHECKING:
    from ta_loader.cli.options import Arguments

MACHINES = ("x86_64", "aarch64", "arm")


def run(arguments: Arguments) -> int:
    from normal_world.libteec import INCLUDE, PKG_CONFIG, BuildError, ensure

    machine = arguments.one("--machine")
    if machine is not None and machine not in MACHINES:
        raise UsageError(f"--machine {machine}: there are {', '.join(MACHINES)}")
    flags, libs = arguments.switch("--cflags"), arguments.switch("--libs")
    if (flags or libs) and arguments.switch("--pkg-config"):
        raise UsageError("--pkg-config prints a folder alone; leave out --cflags and --libs")
    try:
        library = None if flags and not libs else ensure(machine)
    except BuildError as problem:
        raise UsageError(str(problem)) from None
    if flags or libs:
        words = [f"-I{INCLUDE}"] if flags else []
        words += [f"-L{library.parent}", "-lteec"] if library is not None else []
        print(*words)
    elif library is not None:
        print(library.parent / PKG_CONFIG if arguments.switch("--pkg-config") else library)
    return exits.OK


COMMAND = Command(
    name="libteec",
    summary="Print where the client library for C is, or the flags to compile and link with it.",
    words=(),
    options=(
        Option("--cflags", "", "the compiler's flags"),
        Option("--libs", "", "the linker's flags"),
        Option("--pkg-config", "", "the folder of libteec.pc, for PKG_CONFIG_PATH"),
        Option("--machine", "NAME", f"of {', '.join(MACHINES)} (default: this one)"),
    ),
    run=run,
    epilog="""\
A program that is linked so loads libteec.so.2 at run time, as one built for a device: litebox-ta with puts ours in its
way. It runs by itself where LD_LIBRARY_PATH names the library's folder and LITEBOX_SOCKET a daemon's socket.

examples:
  cc -o client client.c $(litebox-ta libteec --cflags --libs)
  PKG_CONFIG_PATH=$(litebox-ta libteec --pkg-config) pkg-config --cflags --libs libteec
  litebox-ta with -- ./client""",
)
