"""`run --script FILE`: steps with expected results and outputs, which make a test by themselves.

The file is TOML. At its top: `trust`, `ta_dirs`, `elf` (lists of paths, relative to the file),
`allow_unsigned`, `memory`, `timeout`. Then `[[step]]` tables; each has one of `open = TA`,
`invoke = COMMAND`, `close = true`, and `session = NAME` where there are several. docs/cli.md lists
the rest.

A script is checked wholly before its first step. Files of `in:@FILE` and of outputs are read when their step's turn
comes, since an earlier step may have saved them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from south.errors import UsageError
from south.linux_host.log import STDERR
from ta_loader.cli import exits
from ta_loader.cli.calls import Caller, Step
from ta_loader.cli.compose import Host, read_setup
from ta_loader.cli.expect import Expectation, read_expectation
from ta_loader.cli.junit import Case, write_junit
from ta_loader.cli.options import seconds, size
from ta_loader.cli.params import ParamSpec, parse_params, read_named
from ta_loader.cli.run import complain, crash_reports
from ta_loader.inputs import read_input
from tee.errors import TeeError
from tee.session import PUBLIC, Client

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from ta_loader.cli.compose import Setup
    from ta_loader.cli.options import Arguments
    from ta_loader.cli.params import Read

MAX_SCRIPT = 16 << 20
"""Bytes."""
TOP = {"trust", "ta_dirs", "elf", "allow_unsigned", "memory", "timeout", "step"}
STEP = {
    "open", "invoke", "close", "name", "session", "login", "params", "result", "origin", "outputs", "panic", "died",
    "save", "repeat",
}  # fmt: skip


class ScriptStep(NamedTuple):
    """A step as written. ta: of an open; command: of an invoke; neither: close."""

    name: str
    session: str
    ta: str | None
    command: int | None
    client: Client
    params: tuple[ParamSpec, ...]
    expected: Expectation
    save: tuple[tuple[int, str], ...]
    repeat: int


class Script(NamedTuple):
    """steps: as far as they can be read before the first of them runs; `fresh` is one with its files."""

    path: str
    folder: str
    table: dict[str, Any]
    steps: tuple[ScriptStep, ...]

    def fresh(self, number: int) -> ScriptStep:
        """Step `number`, from 1, with what its files hold now. UsageError."""
        row = self.table["step"][number - 1]
        return _read_step(row, f"{self.path}: step {number}", self.folder, read_named)


def read_script(path: str) -> Script:
    """UsageError, naming the step, for anything malformed."""
    import tomllib

    text = read_input(path, "--script", MAX_SCRIPT)
    try:
        table = tomllib.loads(text.decode())
    except (ValueError, RecursionError) as problem:  # TOML's and UTF-8's errors are ValueErrors, and not the only ones
        raise UsageError(f"{path}: {problem}") from None
    _known(table, TOP, path)
    rows = table.get("step", [])
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise UsageError(f"{path}: a script is made of [[step]] tables, and has at least one")
    folder = os.path.dirname(path)
    files = _Files()
    steps = []
    for number, row in enumerate(rows, 1):
        steps.append(_read_step(row, f"{path}: step {number}", folder, files.check))
        files.saved.update(os.path.abspath(place) for _, place in steps[-1].save)
    return Script(path, folder, table, tuple(steps))


class _Files:
    """Files of a script, looked at before any step runs. saved: those that the steps so far make."""

    def __init__(self) -> None:
        self.saved: set[str] = set()

    def check(self, path: str, text: str) -> bytes:
        """UsageError if nobody will have made it."""
        if path != "-" and os.path.abspath(path) not in self.saved and not os.path.exists(path):
            raise UsageError(f"{text[:60]}: there is no {path}, and no earlier step saves it")
        return b""


def _known(table: dict[str, Any], names: set[str], where: str) -> None:
    for key in table:
        if key not in names:
            raise UsageError(f"{where}: unknown key {key!r}; there are {', '.join(sorted(names))}")


def _read_step(row: dict[str, Any], where: str, folder: str, read: Read) -> ScriptStep:
    _known(row, STEP, where)
    kinds = [kind for kind in ("open", "invoke", "close") if kind in row]
    if len(kinds) != 1:
        raise UsageError(f"{where}: needs exactly one of open, invoke, close")
    try:
        params = parse_params([_based(text, folder) for text in _strings(row, "params", where)], read)
        expected = read_expectation(row, folder, read)
    except UsageError as problem:
        raise UsageError(f"{where}: {problem}") from None
    login = _text(row, "login", "", where)
    client = PUBLIC
    if login:
        from ta_loader.cli.login import parse_login

        client = Client(*parse_login(login))
    if kinds[0] == "close" and row["close"] is not True:
        raise UsageError(f"{where}: write close = true")
    return ScriptStep(
        name=_text(row, "name", "", where),
        session=_text(row, "session", "main", where),
        ta=_text(row, "open", "", where) if kinds[0] == "open" else None,
        command=_number(row, "invoke", 0, (1 << 32) - 1, where) if kinds[0] == "invoke" else None,
        client=client,
        params=params,
        expected=expected,
        save=_save(row, where, folder),
        repeat=_number(row, "repeat", 1, 1_000_000, where) if "repeat" in row else 1,
    )


def _save(row: dict[str, Any], where: str, folder: str) -> tuple[tuple[int, str], ...]:
    table = row.get("save", {})
    if not isinstance(table, dict) or not all(
        key in ("0", "1", "2", "3") and isinstance(path, str) for key, path in table.items()
    ):
        raise UsageError(f'{where}: save is a table of parameter number to file: save = {{ 1 = "out.bin" }}')
    return tuple((int(key), os.path.join(folder, path)) for key, path in table.items())


def _based(text: str, folder: str) -> str:
    """Files in a script are relative to the script."""
    for prefix in ("in:@", "inout:@"):
        path = text.removeprefix(prefix)
        if path != text and path != "-":
            return prefix + os.path.join(folder, path)
    return text


def _text(row: dict[str, Any], key: str, default: str, where: str) -> str:
    value = row.get(key, default)
    if not isinstance(value, str):
        raise UsageError(f"{where}: {key} must be a string")
    return value


def _number(row: dict[str, Any], key: str, low: int, high: int, where: str) -> int:
    value = row[key]
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise UsageError(f"{where}: {key} must be a number between {low} and {high}")
    return value


def _strings(row: dict[str, Any], key: str, where: str) -> list[str]:
    value = row.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise UsageError(f"{where}: {key} must be a list of strings")
    return value


def script_setup(script: Script, setup: Setup) -> Setup:
    """The command line's options, with what the script adds; the command line wins."""
    table, where = script.table, "script"

    def paths(key: str) -> tuple[str, ...]:
        return tuple(os.path.join(script.folder, os.path.expanduser(path)) for path in _strings(table, key, where))

    allow = table.get("allow_unsigned", False)
    if not isinstance(allow, bool):
        raise UsageError("script: allow_unsigned must be true or false")
    setup = setup._replace(
        ta_dirs=(*setup.ta_dirs, *paths("ta_dirs")),
        trust=(*setup.trust, *paths("trust")),
        elf=(*setup.elf, *paths("elf")),
        allow_unsigned=setup.allow_unsigned or allow,
    )
    if "timeout" in table and setup.timeout is None:
        setup = setup._replace(timeout=seconds(str(table["timeout"]), "script: timeout"))
    if "memory" in table:
        setup = setup._replace(memory=max(1 << 20, size(str(table["memory"]), "script: memory", 1 << 32)))
    return setup


class Player:
    """Runs a script's steps. sessions: by name, (number, TA)."""

    def __init__(self, host: Host, script: Script) -> None:
        self._host = host
        self._script = script
        self._caller = Caller(host)
        self.sessions: dict[str, tuple[int, UUID]] = {}

    def play(self, step: ScriptStep) -> Step:
        if step.ta is not None:
            return self._open(step, step.ta)
        try:
            number, uuid = self.sessions[step.session]
        except KeyError:
            raise UsageError(f"step {step.name or step.session!r}: no open session {step.session!r}") from None
        if step.command is not None:
            return self._caller.invoke(number, uuid, step.command, step.params)
        del self.sessions[step.session]
        return self._caller.close(number, uuid)

    def _open(self, step: ScriptStep, ta: str) -> Step:
        if step.session in self.sessions:
            raise UsageError(f"session {step.session!r} is open already; name another with session = ...")
        nearby = os.path.join(self._script.folder, ta)
        uuid = self._host.resolve(nearby if os.path.exists(nearby) else ta)
        session, result = self._caller.open(uuid, step.params, step.client)
        if session is not None:
            self.sessions[step.session] = (session, uuid)
        return result


def run_script(path: str, arguments: Arguments) -> int:
    """Play a script; the exit code says how its first failing step ended, 0 when all went as expected."""
    if arguments.words or arguments.lists("--invoke") or arguments.lists("--open"):
        raise UsageError("--script takes its TAs and commands from the file: drop TA, --open and --invoke")
    script = read_script(path)
    rows: list[dict[str, Any]] = []
    cases: list[Case] = []
    code = exits.OK
    quiet = arguments.switch("--quiet")
    as_json = arguments.switch("--json")
    try:
        with Host(script_setup(script, read_setup(arguments))) as host:
            player = Player(host, script)
            for number in range(1, len(script.steps) + 1):
                wanted = script.fresh(number)
                step, differences = _play(player, wanted)
                _keep(step, wanted.save)
                cases.append(_case(number, wanted, step, differences))
                if as_json:
                    rows.append(_row(number, wanted, step, differences))
                elif not quiet:
                    _print(number, wanted, step, differences)
                if differences:
                    code = step.exit or exits.TA_ERROR
                    break
    except (UsageError, TeeError) as problem:
        cases.append(Case(_title(len(cases) + 1, script.steps[len(cases)], None), differences=(str(problem),)))
        raise
    finally:
        report = arguments.one("--junit")
        if report is not None:
            left = range(len(cases), len(script.steps))
            cases += [Case(_title(at + 1, script.steps[at], None), ran=False) for at in left]
            write_junit(report, path, cases)
    if as_json:
        from ta_loader.cli.output import print_json

        print_json({"script": path, "exit": code, "passed": not code, "steps": rows})
    elif not quiet:
        done = len(script.steps)
        print(f"{done} steps as expected" if not code else f"step {number} of {done} was not as expected")
    return code


def _play(player: Player, wanted: ScriptStep) -> tuple[Step, list[str]]:
    for turn in range(wanted.repeat):
        step = player.play(wanted)
        differences = wanted.expected.differences(step)
        if differences:
            times = f" (turn {turn + 1} of {wanted.repeat})" if wanted.repeat > 1 else ""
            return step, [text + times for text in differences]
    return step, []


def _keep(step: Step, save: Sequence[tuple[int, str]]) -> None:
    from ta_loader.cli.output import memref_bytes, write_file
    from tee.params import Memref

    for index, path in save:
        param = step.params[index] if index < len(step.params) else None
        if not isinstance(param, Memref):
            raise UsageError(f"save: parameter {index} is no memref")
        write_file(path, memref_bytes(param))


def _title(number: int, wanted: ScriptStep, step: Step | None) -> str:
    what = wanted.name or (step.title if step and step.kind != "close" else f"close {wanted.session}")
    return f"{number} {what}"


def _print(number: int, wanted: ScriptStep, step: Step, differences: Sequence[str]) -> None:
    print(f"{'ok  ' if not differences else 'FAIL'} {_title(number, wanted, step)}")
    for text in differences:
        print(f"     {text}")
    if differences:
        complain(step)
    elif len(step.crashes) > bool(step.crash):
        # What was called did as expected, and is not all that died.
        STDERR.write(crash_reports(crash for crash in step.crashes if crash is not step.crash) + "\n")


def _case(number: int, wanted: ScriptStep, step: Step, differences: Sequence[str]) -> Case:
    report = crash_reports(step.crashes) if differences else ""
    return Case(_title(number, wanted, step), step.seconds, tuple(differences), report)


def _row(number: int, wanted: ScriptStep, step: Step, differences: list[str]) -> dict[str, Any]:
    from ta_loader.cli.output import step_json

    row: dict[str, Any] = {"number": number, "name": wanted.name, "session": wanted.session}
    row |= {"passed": not differences, "differences": differences}
    return row | step_json(step)
