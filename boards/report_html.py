"""A run of a board as an HTML page: how it ended, in numbers and colours, and where in the log each thing stands."""

from __future__ import annotations

import html
from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple

from boards.console_log import Direction, printable
from boards.console_script import PROTOCOL
from boards.report_junit import unexpected

if TYPE_CHECKING:
    from collections.abc import Sequence

    from boards.board import Board, Outcome
    from boards.console_log import Entry
    from boards.console_shell import Completed
    from boards.secure_log import Finding

MAX_LINES = 20_000
"""Of the log in the page; a browser copes with that, and the file beside it has all."""
MAX_OUTPUT = 4000
"""Characters of one command's output in the page, its last."""

# Nothing is wider than the window: long lines break, and no cell keeps its width.
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 1.5em auto; padding: 0 1.5em; max-width: 1400px; color: #222; }
h1 { margin-bottom: 0.2em; } h2 { margin: 1.6em 0 0.4em; font-size: 1.15em; }
.verdict { padding: 0.6em 1em; border-left: 8px solid; font-size: 1.1em; }
.verdict.good { background: #e7f4ea; border-color: #1b6e2c; }
.verdict.bad { background: #fbe9ea; border-color: #b00020; }
.verdict.warn { background: #fdf3dc; border-color: #b77a00; } .verdict b { margin-right: 0.8em; }
.bad { color: #b00020; } .good { color: #1b6e2c; } .warn { color: #8a5a00; } .dim { color: #777; }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; vertical-align: top; padding: 3px 12px 3px 6px; border-bottom: 1px solid #ddd; }
th { color: #555; font-weight: 600; } td.n, th.n { white-space: nowrap; width: 1%; }
tr.bad td:first-child { border-left: 4px solid #b00020; } tr.good td:first-child { border-left: 4px solid #1b6e2c; }
tr.warn td:first-child { border-left: 4px solid #b77a00; }
td { overflow-wrap: anywhere; color: #222; } td:first-child { min-width: 9em; }
tr.bad td.o { color: #b00020; font-weight: 600; } tr.good td.o { color: #1b6e2c; }
tr.warn td.o { color: #8a5a00; }
pre { font: 13px/1.4 ui-monospace, monospace; margin: 0.2em 0; white-space: pre-wrap; overflow-wrap: anywhere; }
a { color: #0b57d0; text-decoration: none; } a:hover { text-decoration: underline; }
.log { margin: 0; } .line { display: block; padding-left: 6px; } .line:target { background: #fff3b0; }
.protocol { color: #999; font-size: 10px; } #all:not(:checked) ~ .log .protocol { display: none; }
.out { color: #0b57d0; } .event { color: #777; font-style: italic; }
.time { color: #888; } .sign { background: #fbe9ea; }
.c0 { border-left: 4px solid #4c8bf5; } .c1 { border-left: 4px solid #e8a33d; } .c2 { border-left: 4px solid #8a5bd6; }
"""


def page(board: Board, log: Sequence[Entry], found: Sequence[Finding]) -> str:
    """found: the panics in the log."""
    title = html.escape(f"Board {board.name}")
    lines = _Lines(board, log, found)
    began = board.log.date()
    parts = [
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>',
        f"<style>{_STYLE}</style></head><body><h1>{title}</h1><p>{html.escape(board.entry.summary)}<br>",
        f'<span class="dim">began {began:%Y-%m-%d %H:%M:%S %z}, took {board.log.now():.1f} s</span></p>',
        _verdict(board, found),
    ]
    if board.tests:
        parts += [
            "<h2>Tests</h2>",
            _table(("test", "outcome", "took", "log", ""), [_test(t, lines) for t in board.tests]),
        ]
    if found:
        parts += ["<h2>Panics and aborts</h2>"]
        for finding in found:
            at = f"{finding.kind} at {finding.time:.3f} s on {html.escape(finding.console)}"
            text = html.escape("\n".join(finding.lines))
            parts.append(f'<p class="bad">{at} {lines.link(finding.time, finding.console)}</p><pre>{text}</pre>')
    if board.commands:
        rows = [_command(command.command, command, lines) for command in board.commands]
        parts += ["<h2>Commands</h2>", _table(("command", "exit code", "took", "log", "output"), rows)]
    stages = [
        _Row(
            "bad" if r.problem else "good",
            (html.escape(r.stage.word), html.escape("failed" if r.problem else "reached"), f"{r.seconds:.2f} s"),
            lines.link(r.began),
            _text(r.problem),
        )
        for r in board.records
    ]
    parts += ["<h2>Stages</h2>", _table(("stage", "", "took", "log", ""), stages)]
    parts += ["<h2>Log</h2>", lines.html(), "</body></html>\n"]
    return "\n".join(parts).encode("utf-8", "replace").decode()


class _Count(NamedTuple):
    """number: of something that is wrong if there is any."""

    number: int
    words: str

    def __str__(self) -> str:
        return f"{self.number} {self.words}"


def _verdict(board: Board, found: Sequence[Finding]) -> str:
    """In one line, red if anything is."""
    outcomes = [test.outcome for test in board.tests]
    failed = outcomes.count("failed")
    commands = sum(command.exit_code != 0 for command in board.commands)
    wrong = (
        [_Count(failed, f"of {len(outcomes)} tests failed" if len(outcomes) > 1 else "test failed")] if failed else []
    )
    if commands:
        wrong.append(_Count(commands, f"of {len(board.commands)} commands ended with another code than 0"))
    panics = unexpected(board, found)
    if panics:
        wrong.append(_Count(len(panics), "panics and aborts" if len(panics) > 1 else "panic or abort"))
    right = [f"{outcomes.count('passed')} of {len(outcomes)} tests passed"] if outcomes and not failed else []
    if skipped := outcomes.count("skipped"):
        right.append(f"{skipped} skipped")
    if expected := len(found) - len(panics):
        right.append(f"{expected} {'ends of TAs' if expected > 1 else 'end of a TA'} in tests that passed")
    right.append(f"reached stage {board.stage.word}")
    kind, word = (
        ("bad", "FAILED")
        if wrong or board.failure
        else ("warn", "ENDED EARLY")
        if board.interrupted
        else ("good", "PASSED")
    )
    facts = [html.escape(str(fact)) for fact in [*wrong, *([board.interrupted] if board.interrupted else []), *right]]
    line = f'<div class="verdict {kind}"><b class="{kind}">{word}</b>{" · ".join(facts)}'
    if board.failure is not None:
        line += f'<pre class="bad">{html.escape(str(board.failure))}</pre>'
    if trouble := board.log.trouble:
        line += f'<p class="bad">{html.escape(trouble)}</p>'
    return line + "</div>"


class _Row(NamedTuple):
    """kind: its colour. cells: HTML, the second is what the colour is of. link, last: HTML."""

    kind: str
    cells: tuple[str, str, str]
    link: str
    last: str


def _test(test: Outcome, lines: _Lines) -> _Row:
    kind = {"passed": "good", "failed": "bad"}.get(test.outcome, "warn")
    cells = (html.escape(test.name), html.escape(test.outcome), f"{test.seconds:.2f} s")
    problem = _text(test.problem)
    if test.outcome == "failed" and test.problem.count("\n") > 3:
        first = (
            next((line for line in test.problem.splitlines() if line.startswith("E ")), "").removeprefix("E").strip()
        )
        problem = f"<details><summary>{html.escape(first) or 'why'}</summary>{problem}</details>"
    return _Row(kind, cells, lines.link(test.began), problem)


def _command(name: str, done: Completed, lines: _Lines) -> _Row:
    shown = done.output[-MAX_OUTPUT:]
    cut = done.lost + len(done.output) - len(shown)
    note = f'<span class="warn">(the first {cut} bytes are not shown)</span>' if cut else ""
    cells = (f"<code>{html.escape(name)}</code>", str(done.exit_code), f"{done.seconds:.2f} s")
    return _Row("bad" if done.exit_code else "good", cells, lines.command(name), note + _text(shown))


def _text(text: str) -> str:
    return f"<pre>{html.escape(text)}</pre>" if text.strip() else ""


def _table(head: Sequence[str], rows: Sequence[_Row]) -> str:
    classes = ("", ' class="n"', ' class="n"', ' class="n"', "")
    lines = [
        "<table><tr>" + "".join(f"<th{c}>{html.escape(h)}</th>" for h, c in zip(head, classes, strict=True)) + "</tr>"
    ]
    for row in rows:
        name, state, took = row.cells
        lines.append(
            f'<tr class="{row.kind}"><td>{name}</td><td class="n o">{state}</td><td class="n">{took}</td>'
            f'<td class="n">{row.link}</td><td>{row.last}</td></tr>'
        )
    return "\n".join([*lines, "</table>"])


class _Lines:
    """The log in the page, and links to its lines."""

    def __init__(self, board: Board, log: Sequence[Entry], found: Sequence[Finding]) -> None:
        self._board = board
        self._log = log
        self._times = [entry.time for entry in log]
        self._first = max(0, len(log) - MAX_LINES)
        self._signs = {(finding.console, finding.time) for finding in found}
        self._commands = [i for i, e in enumerate(log) if e.direction is Direction.EVENT and e.text.startswith("$ ")]

    def link(self, began: float, console: str = "") -> str:
        """To the first line from a time on that is not our own doing, of one console or of any."""
        at = bisect_left(self._times, began)
        while at < len(self._log) and (
            PROTOCOL.search(self._log[at].text) or console not in ("", self._log[at].console)
        ):
            at += 1
        return self._link(at)

    def command(self, command: str) -> str:
        """To where the next one of these words was started."""
        wanted = f"$ {printable(command.encode('utf-8', 'surrogateescape'))}"
        for number, at in enumerate(self._commands):
            if self._log[at].text == wanted:
                del self._commands[: number + 1]
                return self._link(at)
        return ""

    def _link(self, at: int) -> str:
        if not self._first <= at < len(self._log):
            return ""
        return f'<a href="#l{at}">{self._log[at].time:.3f} s</a>'

    def html(self) -> str:
        colours = {name: f"c{index % 3}" for index, name in enumerate(self._board.consoles)}
        kinds = {Direction.IN: "", Direction.OUT: "out", Direction.EVENT: "event"}
        out = ['<input type="checkbox" id="all"><label for="all"> with what carries commands over the line</label>']
        out.append('<pre class="log">')
        if missing := self._first + self._board.log.dropped:
            out.append(f"(the first {missing} lines are in console.log)\n")
        for at in range(self._first, len(self._log)):
            entry = self._log[at]
            kind = "protocol" if PROTOCOL.search(entry.text) else kinds[entry.direction]
            sign = "sign" if (entry.console, entry.time) in self._signs and entry.direction is Direction.IN else ""
            style = " ".join(filter(None, ("line", colours.get(entry.console, ""), kind, sign)))
            date = f"{self._board.log.date(entry.time):%H:%M:%S.%f}"[:-3]
            text = html.escape(f"{entry.console:8} {entry.direction} {entry.text}")
            out.append(
                f'<span class="{style}" id="l{at}"><span class="time">{date} {entry.time:10.3f}</span> {text}</span>'
            )
        return "".join([*out, "</pre>"])
