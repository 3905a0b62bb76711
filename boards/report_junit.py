"""A run of a board as JUnit XML."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

from boards.secure_log import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from boards.board import Board
    from boards.secure_log import Finding

OF_A_TA = (Kind.TA_PANIC, Kind.TA_ABORT, Kind.TA_LIMIT, Kind.LOADER)
LATE = 0.5
"""Seconds by which a slow console may show a TA's end after the test's."""


def junit(board: Board, found: Sequence[Finding]) -> bytes:
    """Stages, commands and tests as test cases; a panic is one that failed, unless a test expected it."""
    began = board.log.date()
    suite = ET.Element("testsuite", name=f"board {board.name}", timestamp=began.isoformat(timespec="milliseconds"))
    failures = errors = 0
    for record in board.records:
        case = _case(suite, "stages", record.stage.word, record.seconds)
        if record.problem:
            failures += 1
            ET.SubElement(case, "failure", message=_xml(record.problem)).text = _xml(str(board.failure or ""))
    for command in board.commands:
        case = _case(suite, "commands", _xml(command.command), command.seconds)
        lost = f"(the first {command.lost} bytes of the output were not kept)\n" if command.lost else ""
        ET.SubElement(case, "system-out").text = _xml(lost + command.output)
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
    wrong = unexpected(board, found)
    for finding in found:
        case = _case(suite, "secure world", f"{finding.kind} on {_xml(finding.console)}", 0.0)
        at = board.log.date(finding.time).isoformat(timespec="milliseconds")
        text = _xml("\n".join(finding.lines))
        if finding in wrong:
            failures += 1
            ET.SubElement(case, "failure", message=f"{finding.kind} at {at}").text = text
        else:
            ET.SubElement(case, "system-out").text = text
    if board.interrupted:
        errors += 1
        case = _case(suite, "run", "ended before its end", 0.0)
        ET.SubElement(case, "error", message=_xml(board.interrupted))
    suite.set("tests", str(len(suite)))
    suite.set("failures", str(failures))
    suite.set("errors", str(errors))
    suite.set("skipped", str(sum(test.outcome == "skipped" for test in board.tests)))
    suite.set("time", f"{board.log.now():.3f}")
    out: bytes = ET.tostring(suite, encoding="utf-8", xml_declaration=True)
    return out


def unexpected(board: Board, found: Sequence[Finding]) -> list[Finding]:
    """Without the ends of TAs during a test that passed: it knew."""
    tests = sorted(board.tests, key=lambda test: test.began)
    starts = [*(test.began for test in tests[1:]), float("inf")]
    passed = [
        (test.began, min(test.ended + LATE, after))
        for test, after in zip(tests, starts, strict=False)
        if test.outcome == "passed"
    ]
    return [f for f in found if f.kind not in OF_A_TA or not any(began <= f.time < ended for began, ended in passed)]


def _case(suite: ET.Element, group: str, name: str, seconds: float) -> ET.Element:
    return ET.SubElement(suite, "testcase", classname=f"board.{group}", name=name, time=f"{seconds:.3f}")


def _xml(text: str) -> str:
    """Without what XML 1.0 §2.2 has no place for."""
    return "".join(c if c in "\t\n" or " " <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" else "\ufffd" for c in text)
