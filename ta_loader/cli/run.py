"""`litebox-ta run`: open a session, invoke commands, print what came back."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from normal_world.host.compose import Host
from north.text import visible_line
from south.errors import UsageError
from south.linux_host.log import STDERR
from ta_loader.cli.calls import Caller
from ta_loader.cli.options import Command, Option, integer
from ta_loader.cli.params import parse_params
from ta_loader.cli.world_options import WORLD_OPTIONS, read_setup
from tee.params import Kind
from tee.session import PUBLIC, Client

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ta_loader.cli.calls import Step
    from ta_loader.cli.options import Arguments
    from ta_loader.cli.params import ParamSpec
    from tee.records import Crash


class Plan(NamedTuple):
    """A command line, wholly understood before anything is loaded."""

    ta: str
    client: Client
    open: tuple[ParamSpec, ...]
    invokes: tuple[tuple[int, tuple[ParamSpec, ...]], ...]
    files: tuple[str, ...]


def read_plan(arguments: Arguments) -> Plan:
    if not arguments.words:
        raise UsageError("run needs a TA, before the first option that takes a list of parameters; or --script FILE")
    given = arguments.lists("--open")
    if len(given) > 1:
        raise UsageError("--open may be given only once; several sessions need a --script")
    invokes = tuple(
        (integer(words[0], "--invoke", 0, (1 << 32) - 1), parse_params(words[1:]))
        for words in arguments.lists("--invoke")
    )
    plan = Plan(
        arguments.words[0],
        _client(arguments.one("--login")),
        parse_params(given[0]) if given else (),
        invokes,
        tuple(arguments.many("--out")),
    )
    specs = [spec for params in (plan.open, *(params for _, params in invokes)) for spec in params]
    room = sum(spec.kind in (Kind.MEMREF_OUTPUT, Kind.MEMREF_INOUT) for spec in specs)
    if len(plan.files) > room:
        raise UsageError(f"{len(plan.files)} --out files, but only {room} out: or inout: parameters")
    return plan


def _client(text: str | None) -> Client:
    if text is None:
        return PUBLIC
    from ta_loader.cli.login import parse_login

    return Client(*parse_login(text))


def run(arguments: Arguments) -> int:
    script = arguments.one("--script")
    if script is not None:
        from ta_loader.cli.script import run_script

        return run_script(script, arguments)
    if arguments.one("--junit") is not None:
        raise UsageError("--junit reports a script's steps; name one with --script FILE")
    plan = read_plan(arguments)
    as_json = arguments.switch("--json")
    rows: list[dict[str, Any]] = []
    with Host(read_setup(arguments)) as host:
        steps, code = perform(host, plan)
        if as_json:
            from ta_loader.cli.output import step_json

            rows = [step_json(step) for step in steps]
        elif "-" not in plan.files and not arguments.switch("--quiet"):
            report(steps)
        for step in steps:
            complain(step)
        if plan.files:
            from ta_loader.cli.output import save_outputs

            save_outputs(steps, plan.files)
    if as_json:
        from ta_loader.cli.output import print_json

        # Last, for what fails until here is another object, and there shall be one.
        print_json({"ta": plan.ta, "exit": code, "steps": rows})
    return code


def perform(host: Host, plan: Plan) -> tuple[list[Step], int]:
    """Everything the plan says, up to the first failure, and the process's exit code."""
    uuid = host.resolve(plan.ta)
    caller = Caller(host)
    session, opened = caller.open(uuid, plan.open, plan.client)
    steps = [opened]
    if session is None:
        return steps, opened.exit
    for command, specs in plan.invokes:
        steps.append(caller.invoke(session, uuid, command, specs))
        if steps[-1].exit:
            break
    steps[-1] = steps[-1].with_close(caller.close(session, uuid))
    return steps, steps[-1].exit


def report(steps: Sequence[Step]) -> None:
    from ta_loader.cli.output import step_lines

    for step in steps:
        for line in step_lines(step):
            print(line)


def crash_reports(crashes: Iterable[Crash]) -> str:
    """In the order in which they died."""
    from tee.crash import crash_lines

    return "\n".join(line for crash in crashes for line in crash_lines(crash))


def complain(step: Step) -> None:
    """What a failed step has to say, on standard error."""
    if step.crashes:
        sys.stdout.flush()
        STDERR.write(crash_reports(step.crashes) + "\n")
    elif step.problem and not step.logged:
        sys.stdout.flush()
        STDERR.write(f"litebox-ta: {visible_line(step.problem)}\n")


EPILOG = """\
TA is a .ta file, a UUID found in a --ta-dir, or a sample that comes with this program: hello, hello-arm.
Libraries and other TAs are found by UUID in --ta-dirs, then in the folder of the TA's own file.

parameters, at most four a call:
  value:A[,B]             two 32-bit words, in and out; also value-in:A[,B] and value-out
  in:DATA                 memory the TA reads: in:@FILE  in:hex:00ff  in:str:text  in:zero:SIZE
  out:SIZE                memory the TA fills
  inout:DATA[,SIZE]       both; inout:SIZE begins with zeros
  null out:null inout:null   a NULL memref, which is not an empty one (out:0)
  none                    no parameter

login methods: public, user[:UID], group:GID, application:UUID, user-application:UUID,
  group-application:UUID, kernel

examples:
  litebox-ta run hello --invoke 0 value:41
  litebox-ta run 7371bc6b-0888-4252-9d3b-42ddcbca70fd.ta --trust vendor.pem \\
      --invoke 1 in:@message.bin out:32 --out digest.bin
  litebox-ta run 12345678-5b69-11e4-9dbb-101f74f00099 --ta-dir tas --trust kit/ --open value:1 --invoke 2
  litebox-ta run hello --trace --invoke 1 in:str:abc out:32
  litebox-ta run --script test.toml

exit codes: 0 success, 1 the TA returned an error, 2 usage, 3 panic or fault, 4 image refused,
  5 limit, 130 interrupted"""

COMMAND = Command(
    name="run",
    summary="Open a session to a TA, invoke commands and print what came back.",
    words=("[TA]",),
    options=(
        Option("--open", "PARAMS...", "parameters of the open-session call", rest=True),
        Option("--invoke", "CMD PARAMS...", "invoke a command, in order", rest=True),
        Option(
            "--out", "FILE", "n-th --out: where the n-th memref output goes ('-': standard output)", many=True, out=True
        ),
        Option("--login", "KIND[:DATA]", "as whom the session is opened (default: public)"),
        Option("--script", "FILE", "run the steps of a TOML file and compare results (litebox-ta docs cli)"),
        Option("--junit", "FILE", "write a script's steps as JUnit XML", out=True),
        *WORLD_OPTIONS,
        Option("--json", "", "print one JSON object instead of text"),
        Option("-q, --quiet", "", "print neither results nor the TAs' log; the exit code says how it ended"),
    ),
    run=run,
    epilog=EPILOG,
)
