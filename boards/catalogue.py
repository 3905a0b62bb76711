"""Descriptions of boards in TOML: what they are connected to, how they get power, how they boot.

docs/boards.md explains each key. A description is checked whole before anything of it is used.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import IntEnum
from importlib.resources import files
from pathlib import Path

from boards.catalogue_read import VARIABLE, Mistakes, Table, load, suggest
from boards.console import Alarm, Pace
from boards.console_link import link_maker
from south.errors import UsageError

SCHEMA = 1
RESERVED = ("run", "board", "python")
"""Variables that every board has: the folder of this run, the board's name, this interpreter."""
MAX_SECONDS = 86400.0
TEE_KINDS = ("agent", "daemon")
POWER = ("none", "qemu", "command", "relay", "manual", "labgrid")


class Stage(IntEnum):
    """In the order in which a board reaches them; a description may leave some out."""

    OFF = 0
    ROM = 1
    FIRMWARE = 2
    BOOTLOADER = 3
    KERNEL = 4
    SHELL = 5
    TEE = 6

    @property
    def word(self) -> str:
        return self.name.lower()

    @classmethod
    def of(cls, word: str) -> Stage:
        """UsageError for a word that names none."""
        for stage in cls:
            if stage.word == word:
                return stage
        words = [stage.word for stage in cls]
        raise UsageError(f"{word!r} is no stage; there are {', '.join(words)}{suggest(word, words)}")


@dataclass(frozen=True)
class Variable:
    name: str
    help: str
    default: str | None
    """None: the user must give it, or it is made."""
    make: tuple[str, ...] = ()
    """A command; the last line that it prints is the value."""


@dataclass(frozen=True)
class ConsoleEntry:
    name: str
    link: str
    baud: int
    pace: Pace


@dataclass(frozen=True)
class PowerEntry:
    kind: str
    on: tuple[str, ...] = ()
    off: tuple[str, ...] = ()
    settle: float = 1.0
    folder: str = ""
    """Where QEMU is started, "" for the current one."""


@dataclass(frozen=True)
class Step:
    """Of a stage: wait for `expect`, "" for nothing, then write `send`. secret: what is written is not logged.

    timeout: seconds; 0: what is left of the stage's.
    """

    expect: str
    send: str = ""
    secret: bool = False
    timeout: float = 0.0


@dataclass(frozen=True)
class StageEntry:
    """pattern: on `console`, within `timeout` seconds; then `send` is written. run: commands in the shell instead.

    steps: instead of pattern and send, one after the other, within `timeout` together.
    """

    stage: Stage
    console: str
    pattern: str
    timeout: float
    send: str
    run: tuple[str, ...]
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class ShellEntry:
    """ask_password, refused, countdown: patterns of a password's prompt, a refused login and a bootloader's countdown.
    silence: seconds after which a newline asks for a prompt."""

    console: str
    prompt: str
    login: str
    user: str
    password: str
    timeout: float
    ask_password: str
    refused: str
    countdown: str
    silence: float


ASK_PASSWORD = (
    r"(?:[Pp]ass(?:word|wort|phrase|code)|[Mm]ot de passe|[Cc]ontrase\xc3\xb1a|[Ss]enha|[Pp]arola|[Hh]as\xc5\x82o"
    r"|[Hh]eslo|[Ww]achtwoord|[Ll]\xc3\xb6senord|[Ss]alasana|[Aa]dgangskode"
    r"|\xd0\xb0\xd1\x80\xd0\xbe\xd0\xbb\xd1\x8c"
    r"|\xe5\xaf\x86\xe7\xa0\x81|\xe3\x83\x91\xe3\x82\xb9\xe3\x83\xaf\xe3\x83\xbc\xe3\x83\x89)"
    r"[^\n:]{0,40}(?::|\xef\xbc\x9a) ?$"
)
"""Of login(1) in the languages of util-linux and busybox; Spanish, Polish, Swedish, Russian, Chinese and Japanese in
UTF-8."""
REFUSED = (
    r"[Ll]ogin incorrect|[Ii]ncorrect (?:login|password)|[Aa]uthentication failure|fehlgeschlagen|incorrecte?|denied"
)
COUNTDOWN = (
    r"(?:[Hh]it|[Pp]ress) [^\n]{1,60} to (?:stop|abort|interrupt|cancel|enter)[A-Za-z ,]{0,60}|[Aa]utoboot in [0-9]+"
)


@dataclass(frozen=True)
class TeeEntry:
    """How tests reach its TEE. kind: `agent`, a program that runs there, or `daemon`, of this machine, at `socket`.

    agent: where that program is on the board; "" if it is to be looked for, and brought there. console: that it is
    spoken to on, and device: what that console is on the board, "" if it is the shell's.
    """

    kind: str = "agent"
    socket: str = ""
    agent: str = ""
    console: str = ""
    device: str = ""


@dataclass(frozen=True)
class BoardEntry:
    """A description, checked; `${...}` is still in it until `resolve`."""

    name: str
    file: str
    summary: str
    variables: tuple[Variable, ...]
    consoles: tuple[ConsoleEntry, ...]
    power: PowerEntry
    stages: tuple[StageEntry, ...]
    shell: ShellEntry | None
    alarms: tuple[Alarm, ...]
    symbols: tuple[str, ...]
    core: str
    tee: TeeEntry = TeeEntry()

    @property
    def last_stage(self) -> Stage:
        return max((entry.stage for entry in self.stages), default=Stage.OFF)


USUAL_ALARMS = (
    Alarm(r"Kernel panic - not syncing", "the kernel panicked"),
    Alarm(r"Unable to mount root fs|---\[ end Kernel panic", "the kernel panicked"),
    Alarm(r"^PANIC (at|in) ", "the firmware panicked"),
    # At a line's start, but for a time: else one line of nothing but `E/TC:` would be searched from each of them.
    Alarm(r"^.{0,40}[EF]/TC:.*\bPanic\b", "OP-TEE panicked"),
    Alarm(r"### ERROR ### Please RESET the board ###", "the bootloader gave up"),
)


def read_board(path: Path) -> BoardEntry:
    """UsageError with every mistake in the file, one a line."""
    mistakes = Mistakes(str(path))
    data = load(path, mistakes)
    if mistakes.found:
        raise UsageError("\n".join(mistakes.found))
    top = Table(data, "", mistakes)
    variables = _variables(top, mistakes)
    mistakes.variables = frozenset([*RESERVED, *(variable.name for variable in variables)])
    if top.number("schema", None, 1, 1000, "a schema") != SCHEMA:
        top.wrong("schema", f"is not one that this version reads; write schema = {SCHEMA}")
    consoles = _consoles(top)
    names = [entry.name for entry in consoles]
    shell = _shell(top, names)
    board = BoardEntry(
        name=path.stem,
        file=str(path),
        summary=top.text("summary", expand=False),
        variables=variables,
        consoles=consoles,
        power=_power(top.table("power")),
        stages=_stages(top, names, shell),
        shell=shell,
        alarms=_alarms(top),
        symbols=(symbols := top.table("symbols")).texts("dirs", ()),
        core=symbols.text("core", ""),
        tee=_tee(top.table("tee"), names),
    )
    symbols.finish()
    top.finish()
    if mistakes.found:
        raise UsageError("\n".join(mistakes.found))
    return board


def _variables(top: Table, mistakes: Mistakes) -> tuple[Variable, ...]:
    tables = top.tables("variables")
    # One that is made may need one that is given, but none that is made: no circles.
    mistakes.variables = frozenset([*RESERVED, *(name for name, table in tables if not table.has("make"))])
    out: list[Variable] = []
    for name, table in tables:
        if name in RESERVED or not name.isidentifier():
            table.mistakes.add(table.key("")[:-1], "cannot be a variable's name; use letters, digits and _")
        default = table.text("default", "", expand=False) if table.has("default") else None
        make = table.texts("make") if table.has("make") else ()
        if make and default is not None:
            table.wrong("make", "cannot stand beside default; leave one out")
        out.append(Variable(name, table.text("help", expand=False), default, make))
        table.finish()
    return tuple(out)


def _consoles(top: Table) -> tuple[ConsoleEntry, ...]:
    out: list[ConsoleEntry] = []
    for name, table in top.tables("consoles"):
        pace = Pace(int(table.number("chunk", 0, 0, 65536, "bytes")), table.number("chunk_delay", 0.0, 0.0, 10.0))
        baud = int(table.number("baud", 115200, 50, 20_000_000, "bits a second"))
        link = table.text("link")
        if link and not VARIABLE.search(link):
            try:
                link_maker(link)
            except UsageError as problem:
                if "pyserial" not in str(problem):  # a board may be described where it is not attached
                    table.wrong("link", str(problem))
        out.append(ConsoleEntry(name, link, baud, pace))
        table.finish()
    if not out:
        top.wrong("consoles", 'is missing; a board needs a console: [consoles.normal] with link = "/dev/ttyUSB0"')
    return tuple(out)


def _power(table: Table) -> PowerEntry:
    if table.text("kind", "manual", expand=False) not in POWER:
        table.choice("kind", "manual", POWER)
        return PowerEntry("none")  # which of the other keys it may have, nobody knows
    kind = table.choice("kind", "manual", POWER)
    on: tuple[str, ...] = ()
    off: tuple[str, ...] = ()
    settle = 0.0
    if kind in ("qemu", "relay"):
        on = table.texts("command")
    elif kind == "command":
        on, off = table.texts("on"), table.texts("off")
    if kind == "relay":
        on, off = (*on, table.text("closed", "1")), (*on, table.text("open", "0"))
    if kind == "labgrid":
        on = (table.text("environment"), table.text("target", "main"), table.text("driver", ""))
    if kind in ("relay", "command", "labgrid"):
        settle = table.number("settle", 1.0, 0.0, 600.0)
    folder = table.text("folder", "") if kind == "qemu" else ""
    table.finish()
    return PowerEntry(kind, on, off, settle, folder)


def _shell(top: Table, consoles: list[str]) -> ShellEntry | None:
    if not top.has("shell"):
        return None
    table = top.table("shell")
    login = table.pattern("login", "")
    entry = ShellEntry(
        console=_console(table, consoles),
        prompt=table.pattern("prompt"),
        login=login,
        user=table.text("user", None if login else ""),
        password=table.text("password", ""),
        timeout=table.number("timeout", 60.0, 0.1, MAX_SECONDS),
        ask_password=table.pattern("ask_password", ASK_PASSWORD),
        refused=table.pattern("refused", REFUSED),
        countdown=table.pattern("countdown", COUNTDOWN),
        silence=table.number("silence", 5.0, 0.1, 600.0),
    )
    table.finish()
    return entry


def _console(table: Table, consoles: list[str]) -> str:
    """The first is the default."""
    first = consoles[0] if consoles else ""
    name = table.text("console", first, expand=False)
    if name not in consoles and consoles:
        table.wrong("console", f"{name!r} is no console of this board; it has {', '.join(consoles)}")
        return first
    return name


def _stages(top: Table, consoles: list[str], shell: ShellEntry | None) -> tuple[StageEntry, ...]:
    out: list[StageEntry] = []
    words = [stage.word for stage in Stage if stage not in (Stage.OFF, Stage.SHELL)]
    for word, table in top.tables("stages"):
        if word not in words:
            why = "is made of [shell]; leave it out" if word == "shell" else f"is no stage{suggest(word, words)}"
            table.mistakes.add(f"stages.{word}", f"{why}; [stages] may have {', '.join(words)}")
            continue
        stage = Stage.of(word)
        run = table.texts("run", ()) if stage is Stage.TEE else ()
        steps = _steps(table)
        entry = StageEntry(
            stage=stage,
            console=_console(table, consoles),
            pattern=table.pattern("pattern", "" if run or steps else None),
            timeout=table.number("timeout", None, 0.1, MAX_SECONDS),
            send=table.text("send", ""),
            run=run,
            steps=steps,
        )
        if run and shell is None:
            table.wrong("run", "needs a shell; describe one in [shell]")
        if steps and (entry.pattern or entry.send or run):
            table.wrong("steps", "cannot stand beside pattern, send or run; make each a step")
        if run and entry.pattern:
            table.wrong("pattern", "cannot stand beside run; a command's exit code decides")
        table.finish()
        out.append(entry)
    if shell is not None:
        out.append(StageEntry(Stage.SHELL, shell.console, "", shell.timeout, "", ()))
    return tuple(sorted(out, key=lambda entry: entry.stage))


def _steps(table: Table) -> tuple[Step, ...]:
    out: list[Step] = []
    for step in table.list_of_tables("steps"):
        expect, send = step.pattern("expect", ""), step.text("send", "")
        if not expect and not send:
            step.wrong("expect", "is missing; a step needs expect, send or both")
        limit = step.number("timeout", 0.0, 0.1, MAX_SECONDS)
        out.append(Step(expect, send, step.flag("secret", False), limit))
        step.finish()
    return tuple(out)


def _tee(table: Table, consoles: list[str]) -> TeeEntry:
    kind = table.choice("kind", "agent", TEE_KINDS)
    if kind == "daemon":
        entry = TeeEntry(kind, socket=table.text("socket", ""))
    else:
        console = _console(table, consoles) if table.has("console") else ""
        device = table.text("device", None if console else "")
        entry = TeeEntry(kind, "", table.text("agent", ""), console, device)
    table.finish()
    return entry


def _alarms(top: Table) -> tuple[Alarm, ...]:
    out: list[Alarm] = [] if not top.flag("usual_alarms", True) else list(USUAL_ALARMS)
    for name, table in top.tables("alarms"):
        out.append(Alarm(table.pattern("pattern"), table.text("meaning", name, expand=False)))
        table.finish()
    return tuple(out)


def shipped() -> dict[str, Path]:
    """The boards that come with us, by name. Templates, to be copied, begin with `template-`."""
    folder = Path(str(files("boards") / "shipped"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def find_board(name: str) -> BoardEntry:
    """A shipped board's name, a file, or a name in the folders of $LITEBOX_BOARDS (separated by `:`)."""
    if name.endswith(".toml") or "/" in name:
        return read_board(Path(name))
    for folder in os.environ.get("LITEBOX_BOARDS", "").split(":"):
        path = Path(folder) / f"{name}.toml"
        if folder and path.is_file():
            return read_board(path)
    known = shipped()
    if name not in known:
        hint = suggest(name, list(known)) or f"; there are {', '.join(known)}"
        raise UsageError(f"no board {name!r}{hint}; a description of your own is named by its file, ./NAME.toml")
    return read_board(known[name])
