"""A script's steps as JUnit XML, which CI services show: the form that pytest writes (`--junitxml`, xunit2)."""

from __future__ import annotations

import os
import re
from typing import NamedTuple
from xml.sax.saxutils import escape, quoteattr

from south.replacing import replace_file

_INVALID = re.compile("[^\t\n\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Not of XML 1.0's Char (§2.2), or discouraged there: a TA's own text may hold any."""


class Case(NamedTuple):
    """seconds: of the step. differences: from what was expected, one a line. report: of a crash. error: why the step,
    or the script, could not be carried out. ran: a step after the first that failed does not."""

    title: str
    seconds: float = 0.0
    differences: tuple[str, ...] = ()
    report: str = ""
    error: str = ""
    ran: bool = True


def junit(script: str, cases: list[Case]) -> str:
    """One test suite, named as the script's file, with a test case for each step."""
    failures = sum(bool(case.differences) for case in cases)
    errors = sum(bool(case.error) for case in cases)
    skipped = sum(not case.ran for case in cases)
    name = os.path.basename(script).removesuffix(".toml")
    seconds = sum(case.seconds for case in cases)
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        "<testsuites>",
        f'  <testsuite name={_attribute(name)} tests="{len(cases)}" failures="{failures}" errors="{errors}" '
        f'skipped="{skipped}" time="{seconds:.6f}">',
    ]
    for case in cases:
        head = f'    <testcase classname={_attribute(name)} name={_attribute(case.title)} time="{case.seconds:.6f}"'
        if case.differences:
            text = _text("\n".join((*case.differences, case.report)).rstrip())
            lines += [f"{head}>", f"      <failure message={_attribute(case.differences[0])}>{text}</failure>"]
            lines.append("    </testcase>")
        elif case.error:
            lines += [f"{head}>", f"      <error message={_attribute(case.error)}/>", "    </testcase>"]
        elif not case.ran:
            lines += [f"{head}>", '      <skipped message="an earlier step failed"/>', "    </testcase>"]
        else:
            lines.append(f"{head}/>")
    return "\n".join([*lines, "  </testsuite>", "</testsuites>"]) + "\n"


def write_junit(path: str, script: str, cases: list[Case]) -> None:
    """UsageError if it cannot be written."""
    replace_file(path, junit(script, cases).encode())


def _clean(text: str) -> str:
    return _INVALID.sub(lambda found: ascii(found[0])[1:-1], text)


def _attribute(text: str) -> str:
    return quoteattr(_clean(text), {"\n": "&#10;", "\t": "&#9;"})


def _text(text: str) -> str:
    return escape(_clean(text))
