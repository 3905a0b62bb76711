"""`litebox-ta demo`: the bundled sample TA counts, hashes, and panics on purpose, with a word on each."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ta_loader.cli import exits
from ta_loader.cli.calls import Caller
from ta_loader.cli.compose import WORLD_OPTIONS, Host, read_setup
from ta_loader.cli.options import Command
from ta_loader.cli.output import step_lines
from ta_loader.cli.params import parse_params
from tee.crash import crash_lines
from tee.session import PUBLIC

if TYPE_CHECKING:
    from ta_loader.cli.options import Arguments

PANIC_CODE = 0xC0FFEE
_STEPS: tuple[tuple[int, tuple[str, ...], str], ...] = (
    (0, ("value:41",), "Command 0 adds one to a value. The two words go into the TA and come back."),
    (
        1,
        ("in:str:hello", "out:32"),
        "Command 1 hashes a buffer with the TEE's own SHA-256. The TA sees our memory itself, not a copy.",
    ),
    (
        2,
        (f"value-in:{PANIC_CODE:#x}",),
        "Command 2 panics on purpose. The TA dies alone; this is what its developer gets to see:",
    ),
)


def run(arguments: Arguments) -> int:
    """Ends with 0 if the sample did all that it should: the panic, too."""
    with Host(read_setup(arguments)) as host:
        uuid = host.resolve("hello")
        print(f"A signed TA is verified, linked at a random address, and a session to it is opened.\n$ open {uuid}")
        caller = Caller(host)
        session, step = caller.open(uuid, (), PUBLIC)
        print("\n".join(step_lines(step)))
        if session is None:
            print(f"litebox-ta: {step.problem}", file=sys.stderr)
            return step.exit
        for command, texts, about in _STEPS:
            print(f"\n{about}\n$ --invoke {command} {' '.join(texts)}")
            step = caller.invoke(session, uuid, command, parse_params(texts))
            print("\n".join(step_lines(step)))
            if step.crash:
                print("\n".join(crash_lines(step.crash)))
        caller.close(session)
    panicked = step.crash is not None and step.crash.kind == "panic" and step.crash.code == PANIC_CODE
    return exits.OK if panicked else step.exit or exits.TA_ERROR


COMMAND = Command(
    name="demo",
    summary="Run the bundled sample TA: increment a value, hash a buffer, panic on purpose.",
    words=(),
    options=tuple(option for option in WORLD_OPTIONS if option.key in ("--state", "--trace", "--trace-out")),
    run=run,
)
