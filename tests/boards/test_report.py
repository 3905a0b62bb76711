"""The page of a run: a headline that says how it ended, colours, links to the log, nothing wider than the window."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from boards.board import Board, Outcome
from boards.catalogue import find_board
from boards.console import MAX_UNREAD
from boards.console_log import Direction
from boards.report import merged, write_report

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Board]:
    with Board(find_board("host"), tmp_path / "run") as made:
        made.advance_to("shell")
        yield made


def page(running: Board) -> str:
    write_report(running.folder, running, merged(running))
    return (running.folder / "report.html").read_text()


def headline(text: str) -> tuple[str, str]:
    """(kind, words) of the verdict."""
    found = re.search(r'<div class="verdict (\w+)">(.*?)</div>', text, re.DOTALL)
    assert found is not None
    return found[1], re.sub("<[^>]*>", " ", found[2])


def test_all_is_well(running: Board) -> None:
    running.run("true")
    running.tests = [Outcome("t", "passed", 1.0, ""), Outcome("u", "skipped", 0.0, "why")]
    kind, words = headline(page(running))
    assert kind == "good"
    assert "PASSED" in words
    assert "1 of 2 tests passed" in words
    assert "1 skipped" in words


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("test", "1 of 2 tests failed"),
        ("command", "1 of 1 commands ended with another code than 0"),
        ("panic", "1 panic or abort"),
    ],
)
def test_no_headline_is_green_above_a_failure(running: Board, what: str, words: str) -> None:
    if what == "test":
        running.tests = [Outcome("t", "passed", 1.0, ""), Outcome("u", "failed", 0.0, "E   it broke\n" * 5)]
    elif what == "command":
        running.run("false")
    else:
        running.log.add("normal", Direction.IN, "E/TC:? 0 TA panicked with code 0x1")
    kind, said = headline(page(running))
    assert (kind, "FAILED" in said, words in said) == ("bad", True, True), said


@pytest.mark.parametrize(
    ("outcome", "at", "kind"), [("passed", 0.0, "good"), ("failed", 0.0, "bad"), ("passed", -9.0, "bad")]
)
def test_a_panic_that_a_test_expected(running: Board, outcome: str, at: float, kind: str) -> None:
    began = running.log.now()
    running.tests = [Outcome("t", outcome, 1.0, "", began, began + 1)]
    running.log.add("normal", Direction.IN, f"TA {UUID(int=1)} panicked with code 0x00000bad", began + at)
    text = page(running)
    assert headline(text)[0] == kind
    assert "TA panic at" in text
    suite = ET.parse(running.folder / "junit.xml").getroot()
    assert suite.get("failures") == str((kind == "bad") + (outcome == "failed"))


def test_a_panic_is_of_the_test_in_which_it_came(running: Board) -> None:
    """Not of the one before, which passed a moment ago."""
    began = running.log.now()
    running.tests = [
        Outcome("one", "passed", 0.1, "", began, began + 0.1),
        Outcome("two", "failed", 0.1, "why", began + 0.11, began + 0.2),
    ]
    running.log.add("normal", Direction.IN, f"TA {UUID(int=1)} panicked with code 0x00000bad", began + 0.12)
    assert "1 panic or abort" in headline(page(running))[1]


def test_the_core_has_no_panic_that_a_test_expects(running: Board) -> None:
    began = running.log.now()
    running.tests = [Outcome("t", "passed", 1.0, "", began, began + 1)]
    running.log.add("normal", Direction.IN, "E/TC:0 0 Panic at core/kernel/x.c:10 <f>", began)
    assert headline(page(running))[0] == "bad"


def test_each_row_has_its_colour_and_leads_to_its_lines(running: Board) -> None:
    began = running.log.now()
    running.log.add("board", Direction.EVENT, "test t")
    running.run("echo '<here>'; false")
    running.tests = [Outcome("t", "failed", 1.0, "E   why\n", began)]
    text = page(running)
    lines = dict(re.findall(r'<span class="line[^"]*" id="(l\d+)">(.*?)</span>(?=<span class="line|</pre>)', text))
    row = re.search(r'<tr class="bad"><td>t</td>.*?href="#(l\d+)"', text)
    assert row is not None
    assert lines[row[1]].endswith("board    ! test t")
    row = re.search(r'<tr class="bad"><td><code>echo.*?href="#(l\d+)"', text)
    assert row is not None
    assert "! $ echo" in lines[row[1]]
    assert "<here>" not in text


def test_a_link_leads_to_a_line_that_is_shown(running: Board) -> None:
    began = running.log.now()
    running.run("true")
    running.tests = [Outcome("t", "passed", 1.0, "", began)]
    running.run("echo said")
    text = page(running)
    hidden = set(re.findall(r'<span class="line[^"]*protocol[^"]*" id="(l\d+)">', text))
    assert hidden
    assert not hidden & set(re.findall(r'href="#(l\d+)"', text))


def test_nothing_is_wider_than_the_window(running: Board) -> None:
    text = page(running)
    for element in ("pre", "td"):
        rules = re.findall(rf"^{element} {{(.*?)}}", text, re.MULTILINE)
        assert any("overflow-wrap: anywhere" in rule for rule in rules), element
    assert "white-space: pre-wrap" in text


def test_output_that_was_cut_says_so(running: Board) -> None:
    done = running.run(f"head -c {2 * MAX_UNREAD} /dev/zero | tr '\\0' y; echo; echo the end; (exit 3)", 60)
    assert (done.exit_code, done.output.endswith("the end\n")) == (3, True)
    assert MAX_UNREAD // 2 < done.lost < 2 * MAX_UNREAD
    assert f"the first {done.lost + len(done.output) - 4000} bytes are not shown" in page(running)
    suite = ET.parse(running.folder / "junit.xml").getroot()
    said = [case.findtext("system-out", "") for case in suite.iter("testcase")]
    assert any(text.startswith(f"(the first {done.lost} bytes of the output were not kept)") for text in said)
    assert running.run("echo short").lost == 0


def test_times_are_absolute(running: Board) -> None:
    running.run("echo said")
    running.log.add("normal", Direction.IN, "E/TC:? 0 TA panicked with code 0x1")
    text = page(running)
    began = running.log.date()
    assert f"began {began:%Y-%m-%d %H:%M:%S %z}" in text
    suite = ET.parse(running.folder / "junit.xml").getroot()
    stamp = datetime.fromisoformat(suite.get("timestamp", ""))
    assert abs((stamp - began).total_seconds()) < 0.002
    assert float(suite.get("time", "")) > 0
    for line in (running.folder / "merged.log").read_text().splitlines():
        assert abs((datetime.fromisoformat(line[:29]) - began).total_seconds()) < 600


def test_a_log_that_was_cut_says_so(running: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boards.report_html.MAX_LINES", 5)
    running.log.dropped = 7
    text = page(running)
    count = len(running.log.entries()) - 5 + 7
    assert f"(the first {count} lines are in console.log)" in text
    assert (running.folder / "merged.log").read_text().startswith("(the first 7 lines are in console.log alone)\n")
