"""A board that is taken through its stages, and remembers how far it got and what went wrong."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from boards.board_tee import BoardTee
from boards.catalogue import BoardEntry, Stage
from boards.console import Console
from boards.console_link import link_maker
from boards.console_lock import LineLocks
from boards.console_log import Direction, Log
from boards.console_login import Login
from boards.console_restart import Lookout
from boards.console_shell import Completed, Shell
from boards.errors import TargetError
from boards.pattern import compile_pattern
from boards.power import CommandPower, ManualPower, NoPower, ProcessPower
from boards.variables import expand, resolve
from south.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from boards.catalogue import ShellEntry, StageEntry
    from boards.power import Power
    from normal_world.api import Context

HARNESS = "board"
"""The name under which our own events stand in the log."""
RUN_FILES = ("report.html", "junit.xml", "merged.log", "power.log")
"""In the folder of a run, beside console.log."""
GONE_SECONDS = 2.0
TRACE_SECONDS = 15.0
"""At most, for all that a console says after a panic."""
TRACE_QUIET = 1.0
"""Seconds of silence that end it."""


class StageRecord(NamedTuple):
    """began, ended: seconds since the log began. problem: "" if the stage was reached."""

    stage: Stage
    began: float
    ended: float
    problem: str

    @property
    def seconds(self) -> float:
        return self.ended - self.began


class Outcome(NamedTuple):
    """outcome: pytest's passed, failed or skipped. seconds: how long it took. problem: why it failed.

    began, ended: seconds since the log began.
    """

    name: str
    outcome: str
    seconds: float
    problem: str
    began: float = 0.0
    ended: float = 0.0


class Board:
    """One run of a board. Close it: its power goes off (keep: stays), and its lines are freed.

    folder: for its log and what it runs on (None: a temporary one, kept if the board failed). given: values of its
    variables.
    """

    def __init__(
        self, entry: BoardEntry, folder: Path | None = None, given: Mapping[str, str] | None = None, keep: bool = False
    ) -> None:
        self.entry = entry
        resolve(entry, given or {}, Path())  # a mistake there must leave no folder behind
        self._temporary = folder is None
        try:
            self.folder = Path(tempfile.mkdtemp(prefix="board-")) if folder is None else folder.absolute()
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise UsageError(f"{folder or tempfile.gettempdir()}: {problem.strerror}") from None
        self.log = Log(self.folder / "console.log")
        for name in RUN_FILES:
            (self.folder / name).unlink(missing_ok=True)  # an earlier run's: a folder is of one
        self._values = resolve(entry, given or {}, self.folder)
        self.stage = Stage.OFF
        self.records: list[StageRecord] = []
        self.commands: list[Completed] = []
        self.tests: list[Outcome] = []
        self.failure: TargetError | None = None
        self.interrupted = ""
        """By what the run was ended before its end, "" if it was not."""
        self._keep = keep
        self.power = self._make_power()
        self.consoles = {
            console.name: Console(
                console.name,
                link_maker(expand(console.link, self._values), console.baud),
                self.log,
                pace=console.pace,
                alarms=entry.alarms,
                health=partial(self._trouble, console.name),
            )
            for console in entry.consoles
        }
        self._shell: Shell | None = None
        self._tee = BoardTee(self)
        self._locks = LineLocks()
        self._opened = False
        """Whether the lines are ours."""
        self._settled: dict[str, str] = {}
        """By console: the alarm after which its output has been awaited."""

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def console(self) -> Console:
        """The one with the shell, else the first."""
        shell = self.entry.shell
        return self.consoles[shell.console] if shell else next(iter(self.consoles.values()))

    @property
    def shell(self) -> Shell:
        """Of a board that has reached the stage shell. UsageError before."""
        if self._shell is None:
            raise UsageError(f'{self.name} is at stage {self.stage.word}; advance_to("shell") first')
        return self._shell

    def text(self, text: str) -> str:
        """With the board's variables in place of `${...}`."""
        return expand(text, self._values)

    def run(self, command: str, timeout: float = 30.0, *, subshell: bool = False) -> Completed:
        """In the shell, remembered for the report. subshell: `exit` ends the command alone."""
        self.notice()
        if self.stage < Stage.SHELL or self.failure is not None:
            self.advance_to(Stage.SHELL)
        done = self.shell.run(command, timeout, subshell=subshell)
        self.commands.append(done)
        return done

    def tee(self) -> Context:
        """A connection to its TEE; close it. Takes the board as far as it must be. TargetError, TeeError, UsageError.

        Where the TEE is spoken to over the shell's own console, commands wait until no such connection is open.
        """
        wanted = Stage.TEE if Stage.TEE in [entry.stage for entry in self.entry.stages] else Stage.SHELL
        self.notice()
        if self.stage < wanted or self.failure is not None:
            self.advance_to(wanted)
        contexts: list[Context] = []
        self.guarded("tee", lambda: contexts.append(self._tee.context()))
        return contexts[0]

    def advance_to(self, stage: Stage | str) -> None:
        """Take the board there from where it is; one that is past it starts anew.

        TargetError if it does not get there. From then on this board is given up: each further call says so, in
        one line, and `power_cycle` clears it.
        """
        wanted = Stage.of(stage) if isinstance(stage, str) else stage
        if self.failure is not None:
            where = self.failure.stage or "use"
            raise TargetError(f"{self.name} failed before, at {where}: {self.failure.problem}", latched=True)
        if wanted is Stage.OFF:
            self.power_off()
            return
        self._check_known(wanted)
        self.notice()
        if wanted < self.stage:
            self.power_off()
        if self.stage == Stage.OFF:
            self.guarded("power on", self._start)
        for entry in self.entry.stages:
            if self.stage < entry.stage <= wanted:
                self._reach(entry)

    def open(self, *, power: bool = True) -> None:
        """Read the consoles, then turn the power on (power); `advance_to` does this itself.

        TargetError if another run has one of them: then nothing is switched.
        """
        self._claim()
        for console in self.consoles.values():
            console.open()
            console.discard()
            console.clear_alarm()
        self._settled.clear()
        if power:
            self.log.add(HARNESS, Direction.EVENT, "power on")
            self.power.on()

    def settle(self) -> None:
        """Wait for the rest where a console said what raised an alarm: a panic's trace comes after its first line."""
        for console in self.consoles.values():
            if console.alarm and self._settled.get(console.name) != console.alarm:
                self._settled[console.name] = console.alarm
                console.quiet(TRACE_QUIET, TRACE_SECONDS)

    def _claim(self) -> None:
        """Every line is ours before the power is touched. QEMU's come with it, labgrid has its own ways, and a program
        of this machine is nobody else's."""
        if self._opened:
            return
        links = {console.name: expand(console.link, self._values) for console in self.entry.consoles}
        shared = [name for name, link in links.items() if not link.startswith(("process:", "labgrid:"))]
        if self.entry.power.kind != "qemu":
            for name in shared:
                self._locks.take(name, links[name])
            for name in shared:
                self.consoles[name].open()
            for name in shared:
                self.consoles[name].wait_claimed()
        self._opened = True

    def power_off(self) -> None:
        """TargetError if another run has the board's lines: it is that one's to switch."""
        if self.entry.power.kind not in ("qemu", "none"):
            self._claim()
        if self._opened:
            self.settle()
        self.log.add(HARNESS, Direction.EVENT, "power off")
        self._tee.forget()
        self.power.off()
        if self.entry.power.kind == "qemu" and self._opened:
            # Or a console that has not noticed yet would pass for one that is connected to the next QEMU.
            for console in self.consoles.values():
                console.wait_disconnected(GONE_SECONDS)
        self.stage = Stage.OFF
        self._shell = None
        for console in self.consoles.values():
            console.lookout = None

    def power_cycle(self) -> None:
        """Off, and a failure is forgotten; `advance_to` turns it on again."""
        self.power_off()
        self.failure = None

    def close(self) -> None:
        """Whatever fails on the way, the lines and files are freed."""
        try:
            self._tee.close()
            # Nobody wants to be asked to flip a switch because a test has ended.
            if self._opened and not self._keep and self.entry.power.kind != "manual":
                self.power_off()
        finally:
            for console in self.consoles.values():
                console.close()
            self._locks.free()
            self.log.close()
            if self._temporary and self.failure is None:
                shutil.rmtree(self.folder, ignore_errors=True)

    def _trouble(self, name: str) -> str:
        """Why a console will not say what is waited for: the power is gone, or another told of a panic."""
        others = [console for console in self.consoles.values() if console.name != name]
        said = (f"console {console.name}: {console.alarm}" for console in others if console.alarm)
        return self.power.trouble() or next(said, "")

    def _check_known(self, wanted: Stage) -> None:
        stages = [entry.stage for entry in self.entry.stages]
        if wanted not in stages:
            has = ", ".join(stage.word for stage in stages)
            raise UsageError(f"{self.name} has no stage {wanted.word}; its description has {has}")

    def _start(self) -> None:
        # A board that still runs would answer for the one that is to start. (QEMU has not been started.)
        if self.entry.power.kind in ("command", "relay", "labgrid"):
            self._claim()
            self.power.off()
        self.open()
        for console in self.consoles.values():
            console.wait_connected()

    def _reach(self, entry: StageEntry) -> None:
        began = self.log.now()
        try:
            self.guarded(entry.stage.word, lambda: self._stage(entry))
        except TargetError as problem:
            self.records.append(StageRecord(entry.stage, began, self.log.now(), problem.problem))
            raise
        self.stage = entry.stage
        record = StageRecord(entry.stage, began, self.log.now(), "")
        self.records.append(record)
        self.log.add(HARNESS, Direction.EVENT, f"stage {entry.stage.word} reached in {record.seconds:.2f} s")

    def guarded(self, stage: str, step: Callable[[], None]) -> None:
        """Run a step; if the board fails it, it is given up, as `advance_to` tells. TargetError."""
        try:
            step()
        except TargetError as problem:
            self.failure = problem.at(stage)
            self.log.add(HARNESS, Direction.EVENT, f"failed: {problem.problem}")
            raise self.failure from None

    def _stage(self, entry: StageEntry) -> None:
        if entry.stage is Stage.SHELL:
            assert self.entry.shell is not None
            self._log_in(self.entry.shell)
            return
        if entry.run:
            deadline = time.monotonic() + entry.timeout
            for command in entry.run:
                self.shell.run(self.text(command), max(0.1, deadline - time.monotonic()), check=True)
            return
        if entry.steps:
            self._steps(self.consoles[entry.console], entry)
            return
        console = self.consoles[entry.console]
        console.expect(entry.pattern, entry.timeout)
        if entry.send:
            console.write(os.fsencode(self.text(entry.send)))

    def _steps(self, console: Console, entry: StageEntry) -> None:
        deadline = time.monotonic() + entry.timeout
        for number, step in enumerate(entry.steps, 1):
            if step.expect:
                left = max(0.0, deadline - time.monotonic())
                try:
                    console.expect(step.expect, min(step.timeout or left, left))
                except TargetError as problem:
                    where = f"step {number} of {len(entry.steps)}: {problem.problem}"
                    raise TargetError(where, output=problem.output, log=problem.log) from None
            if step.send:
                console.write(os.fsencode(self.text(step.send)), secret=step.secret)

    def _log_in(self, entry: ShellEntry) -> None:
        login = Login(
            self.consoles[entry.console],
            entry,
            self.text(entry.user),
            self.text(entry.password),
            always_on=self.entry.power.kind == "none",
        )
        shell = login.run()
        shell.before = self._tee.give_back
        shell.restarted = self._restarted
        self._shell = shell
        first = self.entry.stages[0]
        sign = first.pattern or next((step.expect for step in first.steps if step.expect), "")
        for console in self.consoles.values():
            signs = [sign] if sign and console.name == first.console else []
            own = console.name == entry.console
            patterns = map(compile_pattern, [*signs, *([entry.countdown] if own else [])])
            console.lookout = Lookout(list(patterns), compile_pattern(entry.login) if own and entry.login else None)

    def _restarted(self) -> str:
        """What was said that shows that the board started again, "" if it did not."""
        for console in self.consoles.values():
            if console.lookout is not None and console.lookout.line:
                own = console is self.console
                return console.lookout.restarted(console.last_line) if own else console.lookout.line
        return ""

    def notice(self) -> None:
        """A board that has started again since is where it is now; `advance_to` takes it on and logs in again."""
        if self._shell is None or self.failure is not None:
            return
        said = [c.lookout.line for c in self.consoles.values() if c.lookout is not None and c.lookout.line]
        if not said and not self._shell.restarted_already:
            return
        self.log.add(HARNESS, Direction.EVENT, f"the board started again: {(said or [self._shell.lost])[0]}")
        self._tee.forget()
        self._shell = None
        first = self.entry.stages[0]
        self.stage = first.stage if first.stage < Stage.SHELL and said and self._by(first, said[0]) else Stage.ROM
        for console in self.consoles.values():
            console.lookout = None
            console.clear_alarm()

    def _by(self, first: StageEntry, line: str) -> bool:
        """Whether the first stage's own pattern is in that line."""
        return bool(first.pattern) and compile_pattern(first.pattern).search(line.encode()) is not None

    def _make_power(self) -> Power:
        entry = self.entry.power
        if entry.kind == "qemu":
            # Not before it is turned on: variables may have to be made.
            return ProcessPower(
                lambda: [self.text(word) for word in entry.on],
                self.folder / "power.log",
                self.text(self.entry.power.folder) or None,
            )
        if entry.kind == "labgrid":
            from boards.labgrid import LabgridPower, Place

            return LabgridPower(Place(*[self.text(word) for word in entry.on]), entry.settle)
        if entry.kind in ("command", "relay"):
            on, off = [[self.text(word) for word in words] for words in (entry.on, entry.off)]
            return CommandPower(on, off, entry.settle)
        return ManualPower(self.name) if entry.kind == "manual" else NoPower()
