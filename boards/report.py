"""A run of a board as an HTML page that a person opens, and as JUnit XML that a CI system reads."""

from __future__ import annotations

import html
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

from boards.console_log import Direction
from boards.console_shell import PROTOCOL
from boards.secure_log import findings, symbolised

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from uuid import UUID

    from boards.board import Board
    from boards.console_log import Entry
    from boards.secure_log import Finding

MAX_LINES = 20_000
"""Of the log in the page; a browser copes with that, and the file beside it has all."""

_STYLE = """
body { font: 15px/1.4 sans-serif; margin: 2em; }
table { border-collapse: collapse; } td, th { text-align: left; padding: 2px 12px; border-bottom: 1px solid #ddd; }
pre { font-size: 13px; } .bad { color: #b00020; } .good { color: #1b6e2c; }
.protocol { color: #bbb; font-size: 10px; }
.out { color: #0b57d0; } .event { color: #777; font-style: italic; } .time { color: #999; }
.c0 { border-left: 4px solid #4c8bf5; } .c1 { border-left: 4px solid #e8a33d; } .c2 { border-left: 4px solid #8a5bd6; }
.line { padding-left: 6px; display: block; white-space: pre-wrap; overflow-wrap: anywhere; }
"""


def merged(
    board: Board, find_elf: Callable[[UUID], bytes | None] = lambda _: None, core: bytes | None = None
) -> list[Entry]:
    """All consoles by time, with names beside the secure world's addresses."""
    return symbolised(board.log.entries(), find_elf, core)


def write_report(folder: Path, board: Board, log: Sequence[Entry]) -> None:
    """report.html, junit.xml and merged.log; console.log, as it came, is the board's own."""
    found = findings(log)
    (folder / "report.html").write_text(page(board, log, found), encoding="utf-8")
    (folder / "junit.xml").write_bytes(junit(board, found))
    (folder / "merged.log").write_text("".join(f"{entry}\n" for entry in log), encoding="utf-8", errors="replace")


def page(board: Board, log: Sequence[Entry], found: Sequence[Finding]) -> str:
    title = html.escape(f"Board {board.name}")
    parts = [
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>',
        f"<style>{_STYLE}</style></head><body><h1>{title}</h1><p>{html.escape(board.entry.summary)}</p>",
        _verdict(board),
        "<h2>Stages</h2>",
        _table(
            ("stage", "from (s)", "took (s)", ""),
            [(r.stage.word, f"{r.began:.2f}", f"{r.seconds:.2f}", r.problem or "reached") for r in board.records],
        ),
    ]
    if board.commands:
        rows = [(c.command, str(c.exit_code), f"{c.seconds:.2f}", c.output[-2000:]) for c in board.commands]
        parts += ["<h2>Commands</h2>", _table(("command", "exit code", "took (s)", "output"), rows)]
    if board.tests:
        tests = [(t.name, t.outcome, f"{t.seconds:.2f}", t.problem) for t in board.tests]
        parts += ["<h2>Tests</h2>", _table(("test", "outcome", "took (s)", ""), tests)]
    if found:
        parts += ["<h2>Panics and aborts</h2>"]
        for finding in found:
            lines = html.escape("\n".join(finding.lines))
            parts.append(f'<p class="bad">{finding.kind} at {finding.time:.3f} s on {html.escape(finding.console)}</p>')
            parts.append(f"<pre>{lines}</pre>")
    parts += ["<h2>Log</h2>", _log(board, log), "</body></html>\n"]
    return "\n".join(parts).encode("utf-8", "replace").decode()


def _verdict(board: Board) -> str:
    if board.failure is None:
        return f'<p class="good">reached stage {board.stage.word}</p>'
    return f'<pre class="bad">{html.escape(str(board.failure))}</pre>'


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["<table><tr>" + "".join(f"<th>{html.escape(cell)}</th>" for cell in head) + "</tr>"]
    for row in rows:
        lines.append("<tr>" + "".join(f"<td><pre>{html.escape(cell)}</pre></td>" for cell in row) + "</tr>")
    return "\n".join([*lines, "</table>"])


def _log(board: Board, log: Sequence[Entry]) -> str:
    colours = {name: f"c{index % 3}" for index, name in enumerate(board.consoles)}
    kinds = {Direction.IN: "", Direction.OUT: "out", Direction.EVENT: "event"}
    out = ["<pre>"]
    if len(log) > MAX_LINES:
        out.append(f"(the last {MAX_LINES} of {len(log)} lines; merged.log has all)\n")
    for entry in log[-MAX_LINES:]:
        kind = "protocol" if PROTOCOL.search(entry.text) else kinds[entry.direction]
        style = f"line {colours.get(entry.console, '')} {kind}"
        text = html.escape(f"{entry.console:8} {entry.direction} {entry.text}")
        out.append(f'<span class="{style}"><span class="time">{entry.time:10.3f}</span> {text}</span>')
    return "".join([*out, "</pre>"])


def junit(board: Board, found: Sequence[Finding]) -> bytes:
    """Stages, commands and tests as test cases; a panic of the secure world is one that failed."""
    suite = ET.Element("testsuite", name=f"board {board.name}")
    failures = 0
    for record in board.records:
        case = _case(suite, "stages", record.stage.word, record.seconds)
        if record.problem:
            failures += 1
            ET.SubElement(case, "failure", message=_xml(record.problem)).text = _xml(str(board.failure or ""))
    for command in board.commands:
        case = _case(suite, "commands", _xml(command.command), command.seconds)
        ET.SubElement(case, "system-out").text = _xml(command.output)
        if command.exit_code:
            failures += 1
            ET.SubElement(case, "failure", message=f"exit code {command.exit_code}")
    for test in board.tests:
        case = _case(suite, "tests", _xml(test.name), test.seconds)
        if test.outcome == "failed":
            failures += 1
            ET.SubElement(case, "failure", message="failed").text = _xml(test.problem)
        elif test.outcome == "skipped":
            ET.SubElement(case, "skipped", message=_xml(test.problem))
    for finding in found:
        failures += 1
        case = _case(suite, "secure world", f"{finding.kind} on {_xml(finding.console)}", 0.0)
        ET.SubElement(case, "failure", message=str(finding.kind)).text = _xml("\n".join(finding.lines))
    suite.set("tests", str(len(suite)))
    suite.set("failures", str(failures))
    suite.set("errors", "0")
    suite.set("skipped", str(sum(test.outcome == "skipped" for test in board.tests)))
    out: bytes = ET.tostring(suite, encoding="utf-8", xml_declaration=True)
    return out


def _case(suite: ET.Element, group: str, name: str, seconds: float) -> ET.Element:
    return ET.SubElement(suite, "testcase", classname=f"board.{group}", name=name, time=f"{seconds:.3f}")


def _xml(text: str) -> str:
    """Without what XML 1.0 §2.2 has no place for."""
    return "".join(c if c in "\t\n" or " " <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" else "\ufffd" for c in text)
