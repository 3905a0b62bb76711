"""The console script `litebox-ta`: gets the process into a state in which commands can run, then hands over to them.

A user may press Ctrl-C at any moment, and a caller may close any of the three standard streams. Nothing but this module
(and the packages that it lies in) is imported before that is taken care of.
"""

from __future__ import annotations

import sys
from _signal import SIG_DFL, SIGINT, default_int_handler, getsignal, pthread_kill, signal  # `signal` takes 3 ms
from _thread import get_ident, start_new_thread
from time import sleep

INTERRUPTED = 130
"""`ta_loader.cli.exits.INTERRUPTED`."""


def main() -> int:
    """Exit code of the command that `sys.argv` asks for."""
    # Until a command runs, and once it has ended, there is nothing to clean up: Ctrl-C ends the process without a word.
    ours = getsignal(SIGINT) is default_int_handler
    if ours:
        signal(SIGINT, SIG_DFL)
    try:
        _standard_streams()
        from ta_loader.cli.dispatch import main as dispatch

        if ours:
            sys.unraisablehook = _interrupt_again
            signal(SIGINT, default_int_handler)
        return dispatch()
    except KeyboardInterrupt:  # a second one, while the first was dealt with
        return INTERRUPTED
    finally:
        if ours:
            signal(SIGINT, SIG_DFL)


def _interrupt_again(dropped: sys.UnraisableHookArgs) -> None:
    """Python drops what is raised in a finaliser or in a weak reference's callback, and each import makes one: a Ctrl-C
    would be lost just there. Again, then, a moment later and from elsewhere: in here it would be dropped, too."""
    if dropped.exc_type is KeyboardInterrupt:
        start_new_thread(_interrupt_soon, (get_ident(),))
    else:
        sys.__unraisablehook__(dropped)


def _interrupt_soon(thread: int) -> None:
    """A true signal, which ends what it sleeps in."""
    sleep(0.005)
    pthread_kill(thread, SIGINT)


def _standard_streams() -> None:
    """Open the closed ones on /dev/null, or the next file to be opened would get what is printed. Text that an encoding
    lacks is escaped: a file's name or a TA's output may hold any."""
    closed = sys.stdin is None
    if sys.stdin is None or sys.stdout is None or sys.stderr is None:
        import os

        while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
            os.set_inheritable(fd, True)
        os.close(fd)
        sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
        sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
        sys.stderr = sys.stderr or os.fdopen(2, "w", errors="backslashreplace", closefd=False)
    if closed:
        from ta_loader import inputs

        inputs.stdin_closed = True
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
