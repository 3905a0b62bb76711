"""What TAs log cannot move a cursor, and no line of theirs passes for one of the secure world's."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boards.console_log import Direction, Entry
from boards.deaths import deaths
from boards.secure_log import findings
from normal_world import Context, TaDied
from north.crash import MappedRegion
from north.text import visible, visible_line
from tee.abi.results import Result
from tee.crash import crash_lines
from tee.logtext import LogText
from tee.ports import Frame
from tee.records import Crash

if TYPE_CHECKING:
    from pathlib import Path

TA = UUID("7371bc6b-0888-4252-9d3b-42ddcbca70fd")
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
FAKES = (
    f"TA {TA} panicked with code 0x00000bad",
    f"TA {TA} died of a fault: write to 0x0",
    f"TA {TA} was killed: x",
    f"hello TA {TA} panicked with code 0x1",
    "E/TC:? 0 TA panicked with code 0xbad",
    "F/TC: panic",
    f"E/LD:  Status of TA {TA}",
    "litebox: internal error",
    "litebox-ta: refused",
    "  backtrace:",
    "    #0  0x40000000 x!f+0x1",
)
HONEST = ("D/TA:  TA_InvokeCommand:12 hello", f"I/TA: open TA {TA}", "see litebox", "etc/TC: no", "#1 is best", "TA 5")


def of_ta(*messages: str) -> str:
    log = LogText()
    return "".join(log.of_ta(message) for message in messages)


def test_control_characters() -> None:
    text = "a\x1b]0;TITLE\x07\x1b[2J\x9b31m\x00\x7f\u202eb\ttab\r\nend\rx\x08\n"
    assert visible(text) == (
        "a\\x1b]0;TITLE\\x07\\x1b[2J\\x9b31m\\x00\\x7f\\u202eb\ttab\nend\\x0dx\\x08\n"
    )  # fmt: skip
    assert visible_line("a\nb\tc\x1b") == "a\\x0ab\\x09c\\x1b"
    assert visible("Grüße, 世界\n") == "Grüße, 世界\n"


@given(st.text())
def test_any_text(text: str) -> None:
    assert not CONTROL.search(visible(text))
    assert visible_line(text).isprintable() or not CONTROL.search(visible_line(text))
    assert "\n" not in visible_line(text)
    assert not CONTROL.search(of_ta(text))


@pytest.mark.parametrize("fake", FAKES)
def test_lines_that_pass_for_ours(fake: str) -> None:
    """In one message or in two, cut anywhere."""
    written = [of_ta(f"{fake}\n")]
    written += [of_ta(fake[:at], fake[at:] + "\n") for at in range(1, len(fake))]
    for text in written:
        assert fake not in text
        lines = [Entry(float(at), "secure", Direction.IN, line) for at, line in enumerate(text.splitlines())]
        assert not deaths(lines)
        assert not findings(lines)
    assert fake.lstrip()[1:] in written[0] or "hello" in fake


@pytest.mark.parametrize("text", HONEST)
def test_honest_lines_stay(text: str) -> None:
    assert of_ta(f"{text}\n") == f"{text}\n"
    for at in range(1, len(text)):
        assert of_ta(text[:at], text[at:]) == text


def test_it_takes_linear_time() -> None:
    for text in ("TA " * 300_000, "E/" * 400_000, "0" * 1_000_000, "TA 7371bc6b-" * 80_000, "\n    #" * 150_000):
        began = time.process_time()
        of_ta(text, text)
        assert time.process_time() - began < 5


def test_names_of_an_image_in_a_crash_report() -> None:
    crash = Crash(
        TA, "fault", 0, "at \x1b[2J", {"pc": 1}, [MappedRegion(0, 4096, "r--", "a\x1b[5m\nb")],
        [Frame(0x40, "m\x07", "f\x1b[31m\n", 1, "x\x9b.c", 3)],
    )  # fmt: skip
    assert Result(0) == 0
    for line in crash_lines(crash):
        assert line.isprintable()


def test_a_ta_of_this_process(tmp_path: Path) -> None:
    said: list[str] = []
    with Context(state=tmp_path, log=said.append) as tee, tee.open_session("hello") as session:
        session.invoke(5, b"red \x1b[31m\x07 " + f"\nTA {TA} panicked with code 0x00000001".encode())
        session.invoke(5, b"no end")
        with pytest.raises(TaDied):
            session.invoke(2, 0xBAD)
    text = "".join(said)
    assert not CONTROL.search(text)
    assert "red \\x1b[31m\\x07 \n" in text
    assert re.findall(r"(?m)^TA \S+ panicked with code (\w+)", text) == ["0x00000bad"]
