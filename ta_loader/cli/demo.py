"""`litebox-ta demo`: the bundled sample TA counts, hashes, and panics on purpose, with a word on each."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from normal_world.host.compose import Host
from ta_loader.cli import exits
from ta_loader.cli.calls import Caller
from ta_loader.cli.options import Command, Option
from ta_loader.cli.output import step_lines
from ta_loader.cli.params import parse_params
from ta_loader.cli.world_options import WORLD_OPTIONS, read_setup
from tee.crash import crash_lines
from tee.session import PUBLIC

if TYPE_CHECKING:
    from ta_loader.cli.calls import Step
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
    as_json = arguments.switch("--json")
    done: list[Step] = []

    def show(text: str, step: Step) -> None:
        done.append(step)
        if not as_json:
            print("\n".join((text, *step_lines(step), *(crash_lines(step.crash) if step.crash else ()))))

    with Host(read_setup(arguments)) as host:
        uuid = host.resolve("hello")
        caller = Caller(host)
        session, step = caller.open(uuid, (), PUBLIC)
        show(
            f"A signed TA is verified, linked at a random address, and a session to it is opened.\n$ open {uuid}", step
        )
        if session is None:
            print(f"litebox-ta: {step.problem}", file=sys.stderr)
        else:
            for command, texts, about in _STEPS:
                step = caller.invoke(session, uuid, command, parse_params(texts))
                show(f"\n{about}\n$ --invoke {command} {' '.join(texts)}", step)
            caller.close(session, uuid)
    panicked = step.crash is not None and step.crash.kind == "panic" and step.crash.code == PANIC_CODE
    code = exits.OK if panicked else step.exit or exits.TA_ERROR
    if as_json:
        from ta_loader.cli.output import print_json, step_json

        print_json({"ta": "hello", "exit": code, "steps": [step_json(step) for step in done]})
    return code


COMMAND = Command(
    name="demo",
    summary="Run the bundled sample TA: increment a value, hash a buffer, panic on purpose.",
    words=(),
    options=(
        *(option for option in WORLD_OPTIONS if option.key in ("--state", "--trace", "--trace-out")),
        Option("--json", "", "print one JSON object instead of text"),
    ),
    run=run,
)
