"""What a board or a guest did wrong, told apart from a mistake of our caller (`south.errors.UsageError`)."""

from __future__ import annotations


class TargetError(Exception):
    """A board, its firmware, its kernel or the line to it misbehaved.

    stage: the boot stage that was being waited for, "" outside of one. output: the last that the console
    printed. log: path of the whole log, "" if there is none on disk. latched: this board failed before, and
    this is a reminder rather than the first report.
    """

    def __init__(
        self, problem: str, *, stage: str = "", output: str = "", log: str = "", latched: bool = False
    ) -> None:
        self.problem = problem
        self.stage = stage
        self.output = output
        self.log = log
        self.latched = latched
        super().__init__(problem)

    def __str__(self) -> str:
        parts = [f"stage {self.stage}: {self.problem}" if self.stage else self.problem]
        if self.output:
            parts.append("last output:")
            parts += [f"  | {line}" for line in self.output.splitlines()]
        if self.log:
            parts.append(f"whole log: {self.log}")
        return "\n".join(parts)

    def at(self, stage: str) -> TargetError:
        """The same failure, naming the stage it happened in."""
        return type(self)(self.problem, stage=self.stage or stage, output=self.output, log=self.log)


class CommandTimeout(TargetError):
    """A command did not end in time. The shell has been regained, unless `Shell.lost` says otherwise."""


class TargetRestarted(TargetError):
    """The board started again, or the shell ended, while something was waited for."""
