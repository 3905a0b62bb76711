"""`run --script FILE`: steps with expected results and outputs, which make a test by themselves.

The file is TOML. At its top: `trust`, `ta_dirs`, `elf` (lists of paths, relative to the file),
`allow_unsigned`, `memory`, `timeout`. Then `[[step]]` tables; each has one of `open = TA`,
`invoke = COMMAND`, `close = true`, and `session = NAME` where there are several. docs/cli.md lists
the rest.

A script is checked wholly before its first step. Files of `in:@FILE` and of outputs are read when their step's turn
comes, since an earlier step may have saved them. Every mistake is one line, `FILE: step N (NAME): problem`.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from normal_world.host.compose import Host
from south.errors import UsageError
from south.linux_host.log import STDERR
from ta_loader.cli import exits
from ta_loader.cli.calls import Caller, Step
from ta_loader.cli.expect import Expectation, read_expectation
from ta_loader.cli.failure import failure_of, say
from ta_loader.cli.fields import flag, known, number_of, strings, text_of
from ta_loader.cli.junit import Case, write_junit
from ta_loader.cli.options import seconds
from ta_loader.cli.params import ParamSpec, parse_params, read_named
from ta_loader.cli.run import complain, crash_reports
from ta_loader.cli.world_options import read_memory, read_setup, require_folders
from ta_loader.inputs import NamedPath, read_toml
from ta_loader.outputs import refuse_same
from tee.session import PUBLIC, Client

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from uuid import UUID

    from normal_world.host.setup import Setup
    from ta_loader.cli.failure import Failure
    from ta_loader.cli.options import Arguments
    from ta_loader.cli.params import Read

MAX_SCRIPT = 16 << 20
"""Bytes."""
MAIN = "main"
"""The session of steps that name none."""
_LABEL = 60
"""Characters of what a step is called that has no name."""
TOP = {"trust", "ta_dirs", "elf", "allow_unsigned", "memory", "timeout", "step"}
STEP = {
    "open", "invoke", "close", "name", "session", "login", "params", "result", "origin", "outputs", "panic", "died",
    "save", "repeat",
}  # fmt: skip


class ScriptStep(NamedTuple):
    """A step as written. label: its name, or what it does; ta: of an open; command: of an invoke; neither: close."""

    name: str
    label: str
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
        """Step `number`, from 1, with what its files hold now. UsageError, which does not name the step."""
        return _read_step(self.table["step"][number - 1], self.folder, read_named)

    def where(self, number: int) -> str:
        """How messages name a step."""
        return _where(self.path, number, self.steps[number - 1].label)


def read_script(path: str) -> Script:
    """UsageError, naming the file and the step, for anything malformed."""
    table = read_toml(path, "--script", MAX_SCRIPT)
    with _located(path):
        known(table, TOP)
        rows = table.get("step", [])
        if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
            raise UsageError("a script is made of [[step]] tables, and has at least one")
    folder = os.path.dirname(path)
    files = _Files()
    steps = []
    for number, row in enumerate(rows, 1):
        with _located(_where(path, number, _label(row))):
            steps.append(_read_step(row, folder, files.check))
            for _, place in steps[-1].save:
                refuse_same(place, "save", [path])
        files.saved.update(os.path.abspath(place) for _, place in steps[-1].save)
    return Script(path, folder, table, tuple(steps))


@contextlib.contextmanager
def _located(where: str) -> Iterator[None]:
    """Say of a mistake where it stands: the one place that does."""
    try:
        yield
    except UsageError as problem:
        raise UsageError(f"{where}: {problem}") from None


def _where(path: str, number: int, label: str) -> str:
    return f"{path}: step {number} ({label})" if label else f"{path}: step {number}"


def _label(row: dict[str, Any]) -> str:
    """What a step is called, also one that cannot be read: its name, or what it does; "" for neither."""
    name = row.get("name")
    if name and isinstance(name, str):
        return name
    for kind in ("open", "invoke"):
        if kind in row:
            return f"{kind} {row[kind]}"[:_LABEL]
    return f"close {row.get('session', MAIN)}"[:_LABEL] if "close" in row else ""


class _Files:
    """Files of a script, looked at before any step runs. saved: those that the steps so far make."""

    def __init__(self) -> None:
        self.saved: set[str] = set()

    def check(self, path: str, text: str) -> bytes:
        """UsageError if nobody will have made it."""
        if path != "-" and os.path.abspath(path) not in self.saved and not os.path.exists(path):
            raise UsageError(f"{text[:60]}: there is no {path}, and no earlier step saves it")
        return b""


def _read_step(row: dict[str, Any], folder: str, read: Read) -> ScriptStep:
    known(row, STEP)
    kinds = [kind for kind in ("open", "invoke", "close") if kind in row]
    if len(kinds) != 1:
        raise UsageError("needs exactly one of open, invoke, close")
    if kinds[0] == "close" and row["close"] is not True:
        raise UsageError("write close = true")
    params = parse_params([_based(text, folder) for text in strings(row, "params")], read)
    login = text_of(row, "login", "")
    client = PUBLIC
    if login:
        from ta_loader.cli.login import parse_login

        client = Client(*parse_login(login))
    ta = text_of(row, "open", "") if kinds[0] == "open" else None
    if ta == "":
        raise UsageError("open names no TA")
    return ScriptStep(
        name=text_of(row, "name", ""),
        label=_label(row),
        session=text_of(row, "session", MAIN),
        ta=ta,
        command=number_of(row, "invoke", 0, (1 << 32) - 1) if kinds[0] == "invoke" else None,
        client=client,
        params=params,
        expected=read_expectation(row, folder, read),
        save=_save(row, params, folder),
        repeat=number_of(row, "repeat", 1, 1_000_000) if "repeat" in row else 1,
    )


def _save(row: dict[str, Any], params: Sequence[ParamSpec], folder: str) -> tuple[tuple[int, str], ...]:
    table = row.get("save", {})
    if not isinstance(table, dict) or not all(
        key in ("0", "1", "2", "3") and isinstance(path, str) and path and "\0" not in path
        for key, path in table.items()
    ):
        raise UsageError('save is a table of parameter number to file: save = { 1 = "out.bin" }')
    for key in table:
        if int(key) >= len(params) or not params[int(key)].is_memref:
            raise UsageError(f"save: parameter {key} is no memref")
    return tuple((int(key), os.path.join(folder, path)) for key, path in table.items())


def _based(text: str, folder: str) -> str:
    """Files in a script are relative to the script."""
    for prefix in ("in:@", "inout:@"):
        path = text.removeprefix(prefix)
        if path != text and path != "-":
            return prefix + os.path.join(folder, path)
    return text


def script_setup(script: Script, setup: Setup) -> Setup:
    """The command line's options, with what the script adds; the command line wins. UsageError."""
    table = script.table
    with _located(script.path):
        for key in ("trust", "ta_dirs", "elf"):
            if not all(path and "\0" not in path for path in strings(table, key)):
                raise UsageError(f"{key}: a path is empty, or has a NUL in it")

        def paths(key: str) -> tuple[str, ...]:
            found = (os.path.join(script.folder, os.path.expanduser(path)) for path in strings(table, key))
            return tuple(NamedPath(path, f"{script.path}: {key}") for path in found)

        allow = flag(table, "allow_unsigned")
        setup = setup._replace(
            ta_dirs=(*setup.ta_dirs, *paths("ta_dirs")),
            trust=(*setup.trust, *paths("trust")),
            elf=(*setup.elf, *paths("elf")),
            allow_unsigned=setup.allow_unsigned or allow,
        )
        if "timeout" in table and setup.timeout is None:
            setup = setup._replace(timeout=seconds(str(table["timeout"]), "timeout"))
        if "memory" in table:
            setup = setup._replace(memory=read_memory(str(table["memory"]), "memory"))
    require_folders(setup.ta_dirs)
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
            raise UsageError(f"no open session {step.session!r}") from None
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


class _Record:
    """What becomes of a script's steps: printed at once, or kept as JSON; and as cases of JUnit."""

    def __init__(self, path: str, *, as_json: bool, quiet: bool) -> None:
        self._path = path
        self._as_json = as_json
        self._quiet = quiet
        self._cases: list[Case] = []
        self._rows: list[dict[str, Any]] = []
        self._done = 0  # steps with a case
        self.script: Script | None = None
        self.playing = 0
        """Number of the step whose turn it is, or was last."""

    def step(self, wanted: ScriptStep, step: Step, differences: list[str]) -> None:
        number = self._done = self.playing
        crashes = crash_reports(step.crashes) if differences else ""
        self._cases.append(Case(_title(number, wanted), step.seconds, tuple(differences), crashes))
        if self._as_json:
            self._rows.append(_row(number, wanted, step, differences))
        elif not self._quiet:
            _print(number, wanted, step, differences)

    def mistake(self, failure: Failure) -> Failure:
        """Of the step whose turn it is, or of the script; what is printed of it."""
        title = "end" if self._done else "load"
        if self.script is not None and self.playing > self._done:
            self._done = self.playing
            title = _title(self.playing, self.script.steps[self.playing - 1])
            failure = failure._replace(message=f"{self.script.where(self.playing)}: {failure.message}")
        self._cases.append(Case(title, error=failure.message))
        return failure

    def end(self, code: int, failure: Failure | None) -> None:
        """The last words. failure: what ended the script early, if it is not a step's own end."""
        if self._as_json:
            from ta_loader.cli.output import print_json

            top: dict[str, Any] = {"script": self._path, "exit": code, "passed": not code, "steps": self._rows}
            print_json(top | (failure.json() if failure else {}))
        if failure is not None:
            say(failure.message, "(litebox-ta docs cli describes scripts)" if failure.kind == "usage" else "")
        elif not self._quiet and not self._as_json and self.script is not None:
            done = len(self.script.steps)
            print(f"{done} steps as expected" if not code else f"step {self.playing} of {done} was not as expected")

    def write_junit(self, report: str) -> None:
        steps = () if self.script is None else self.script.steps[self._done :]
        left = [Case(_title(number, wanted), ran=False) for number, wanted in enumerate(steps, self._done + 1)]
        write_junit(report, self._path, self._cases + left)


def run_script(path: str, arguments: Arguments) -> int:
    """Play a script; the exit code says how its first failing step ended, 0 when all went as expected."""
    if arguments.words or arguments.lists("--invoke") or arguments.lists("--open"):
        raise UsageError("--script takes its TAs and commands from the file: drop TA, --open and --invoke")
    record = _Record(path, as_json=arguments.switch("--json"), quiet=arguments.switch("--quiet"))
    failure: Failure | None = None
    try:
        code = _run(path, arguments, record)
    except (Exception, KeyboardInterrupt) as problem:
        failure = failure_of(problem)
        if failure is None:
            raise
        failure = record.mistake(failure)
        code = failure.code
    report = arguments.one("--junit")
    if report is not None:
        record.write_junit(report)
    record.end(code, failure)
    return code


def _run(path: str, arguments: Arguments, record: _Record) -> int:
    script = record.script = read_script(path)
    with Host(script_setup(script, read_setup(arguments))) as host:
        player = Player(host, script)
        for number in range(1, len(script.steps) + 1):
            record.playing = number
            wanted = script.fresh(number)
            step, differences = _play(player, wanted)
            _keep(step, wanted.save)
            record.step(wanted, step, differences)
            if differences:
                return step.exit or exits.TA_ERROR
    return exits.OK


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
        param = step.params[index]
        assert isinstance(param, Memref)  # _save has seen to it
        write_file(path, memref_bytes(param))


def _title(number: int, wanted: ScriptStep) -> str:
    return f"{number} {wanted.label}"


def _print(number: int, wanted: ScriptStep, step: Step, differences: Sequence[str]) -> None:
    print(f"{'ok  ' if not differences else 'FAIL'} {_title(number, wanted)}")
    for text in differences:
        print(f"     {text}")
    if differences:
        complain(step)
    elif len(step.crashes) > bool(step.crash):
        # What was called did as expected, and is not all that died.
        STDERR.write(crash_reports(crash for crash in step.crashes if crash is not step.crash) + "\n")


def _row(number: int, wanted: ScriptStep, step: Step, differences: list[str]) -> dict[str, Any]:
    from ta_loader.cli.output import step_json

    row: dict[str, Any] = {"number": number, "name": wanted.name, "session": wanted.session}
    row |= {"passed": not differences, "differences": differences}
    return row | step_json(step)
