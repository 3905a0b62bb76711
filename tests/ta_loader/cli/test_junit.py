"""JUnit XML of scripts: read back by an XML parser, and as CI services count."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from ta_loader.cli.junit import Case, junit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.ta_loader.cli.conftest import Done

    Cli = Callable[..., Done]

SCRIPT = """
[[step]]
open = "hello"
[[step]]
name = "count <up>"
invoke = 0
params = ["value:41"]
outputs = ["value:42"]
[[step]]
invoke = 2
params = ["value:0xbad"]
[[step]]
close = true
"""


def test_a_script_that_fails(cli: Cli, tmp_path: Path) -> None:
    script, report = tmp_path / "counting.toml", tmp_path / "report.xml"
    script.write_text(SCRIPT)
    assert cli("run", "--script", str(script), "--junit", str(report)).code == 3
    (suite,) = ET.parse(report).getroot()
    assert suite.attrib["name"] == "counting"
    assert [suite.attrib[name] for name in ("tests", "failures", "errors", "skipped")] == ["4", "1", "0", "1"]
    opened, counted, panicked, closed = suite
    assert counted.attrib["name"] == "2 count <up>"
    assert not list(opened)
    assert not list(counted)
    (failure,) = panicked
    assert failure.tag == "failure"
    assert failure.attrib["message"] == "the TA panics, expected that it survives"
    assert "TEE_Panic(0x00000bad)" in (failure.text or "")
    assert closed[0].tag == "skipped"


def test_a_script_that_passes(cli: Cli, tmp_path: Path) -> None:
    script, report = tmp_path / "a.toml", tmp_path / "report.xml"
    script.write_text(SCRIPT.replace('params = ["value:0xbad"]', 'params = ["value:0xbad"]\npanic = 0xbad'))
    assert cli("run", "--script", str(script), "--junit", str(report)).code == 0
    (suite,) = ET.parse(report).getroot()
    assert (suite.attrib["tests"], suite.attrib["failures"], suite.attrib["skipped"]) == ("4", "0", "0")


def test_a_script_that_ends_with_a_mistake(cli: Cli, tmp_path: Path) -> None:
    script, report = tmp_path / "a.toml", tmp_path / "report.xml"
    script.write_text(SCRIPT.replace("invoke = 2", "invoke = 2\nsession = 'nobody'"))
    assert cli("run", "--script", str(script), "--junit", str(report)).code == 2
    (suite,) = ET.parse(report).getroot()
    assert (suite.attrib["tests"], suite.attrib["errors"], suite.attrib["skipped"]) == ("4", "1", "1")
    assert "no open session 'nobody'" in suite[2][0].attrib["message"]


def test_junit_is_of_scripts(cli: Cli, tmp_path: Path) -> None:
    done = cli("run", "hello", "--junit", str(tmp_path / "x"))
    assert done.code == 2
    assert "--script" in done.err
    script = tmp_path / "a.toml"
    script.write_text(SCRIPT)
    done = cli("run", "--script", str(script), "--junit", str(tmp_path / "missing/x"))
    assert done.code == 2
    assert "no folder" in done.err


@given(st.text(), st.text(), st.text())
def test_any_text_can_be_read_back(title: str, difference: str, report: str) -> None:
    """Characters that XML has not are escaped as Python does."""
    (suite,) = ET.fromstring(junit("a.toml", [Case(title, 1.5, (difference,), report) if difference else Case(title)]))
    if title.isprintable():
        assert suite[0].attrib["name"] == title
    if difference.isprintable() and difference:
        assert suite[0][0].attrib["message"] == difference
