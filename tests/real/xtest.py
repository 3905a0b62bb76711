"""OP-TEE's own test suite, Debian's aarch64 `xtest`, against the daemon: `python -m tests.real.xtest [CASE...]`.

A process for each case, with a time limit, gives the verdict, for xtest counts its subtests only at its end; one
process that runs all gives the time. A case has passed with no failure and at least as many subtests as a real
OP-TEE counts for it (xtest-reference.tsv): xtest counts OK where a service is missing.

Environment:
    XTEST_JSON    a file to write the results to
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from boards.debian import sysroot
from tests.real import debian

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

REFERENCE = Path(__file__).with_name("xtest-reference.tsv")
VARIES = {"regression_1020": 1, "regression_2004": 4}
"""Checks that a case makes or not: 1020 looks at the origin of the refusal where there is no lock test, which the
reference lacks; four times 2004 looks whether a datagram is back already, and compares if it is."""
CASE_SECONDS = 120
WHOLE_SECONDS = 1800
_COUNT = re.compile(r"^(\d+) subtests? of which (\d+) failed$", re.MULTILINE)


class Verdict(NamedTuple):
    """status: passed, failed, short (fewer subtests than the reference), hung or crashed; seconds: of its process."""

    id: str
    subtests: int
    failed: int
    seconds: float
    status: str
    output: str = ""


def reference() -> dict[str, int]:
    """Subtests of each case of the default run on a real OP-TEE 4.5."""
    lines = [line for line in REFERENCE.read_text().splitlines() if line and not line.startswith(("#", "case\t"))]
    return {case: int(count) for case, count in (line.split("\t") for line in lines)}


def command(root: Path, *arguments: str) -> list[str]:
    """xtest under `litebox-ta with`, sockets on loopback, Debian's TAs trusted."""
    base = debian.root()
    assert base is not None, debian.why_not()
    return [
        *(sys.executable, "-m", "ta_loader.cli", "with", "--quiet"),
        *("--trust", str(base / debian.KIT / "keys" / "default_ta.pem")),
        *("--ta-dir", str(base / debian.TA_DIR), "--ta-dir", str(base / debian.KIT / "ta")),
        *("--sockets", "loopback", "--sysroot", str(root), "--", "xtest", *arguments),
    ]


def run_case(root: Path, case: str, least: int, seconds: float = CASE_SECONDS) -> Verdict:
    suite = case.partition("_")[0]
    start = time.monotonic()
    code, output = _run(command(root, "-t", suite, case), seconds)
    took = time.monotonic() - start
    found = _COUNT.search(output)
    if code is None:
        return Verdict(case, 0, 0, took, "hung", output)
    if found is None:
        return Verdict(case, 0, 0, took, "crashed", output)
    subtests, failed = int(found[1]), int(found[2])
    status = "failed" if failed or code else "short" if subtests < least - VARIES.get(case, 0) else "passed"
    return Verdict(case, subtests, failed, took, status, output)


def _run(words: Sequence[str], seconds: float) -> tuple[int | None, str]:
    """Exit code, None if it took longer; and what it printed."""
    with subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace"
    ) as child:
        try:
            output, _ = child.communicate(timeout=seconds)
            return child.returncode, output
        except subprocess.TimeoutExpired:
            child.terminate()  # `with` hands it on, and ends its daemon
            try:
                output, _ = child.communicate(timeout=30)
            except subprocess.TimeoutExpired:
                child.kill()
                output, _ = child.communicate()
            return None, output


def run_all(root: Path, cases: dict[str, int]) -> Iterator[Verdict]:
    for case, least in cases.items():
        verdict = run_case(root, case, least)
        print(f"{verdict.id:26} {verdict.subtests:6} of {least:6} {verdict.failed:4} {verdict.seconds:8.2f} s  "
              f"{verdict.status}", flush=True)  # fmt: skip
        yield verdict


def main(wanted: Sequence[str]) -> int:
    cases = reference()
    unknown = [case for case in wanted if case not in cases]
    if unknown:
        print(f"no such case: {', '.join(unknown)}; cases are named as in {REFERENCE.name}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        try:
            root = sysroot.of_debian(Path(folder) / "root")
        except debian.FetchError as problem:
            print(problem, file=sys.stderr)
            return 2
        verdicts = list(run_all(root, {case: cases[case] for case in wanted or cases}))
        whole: dict[str, Any] | None = None
        if not wanted:
            start = time.monotonic()
            code, output = _run(command(root), WHOLE_SECONDS)
            found = _COUNT.search(output)
            whole = {"seconds": round(time.monotonic() - start, 2), "exit": code, "summary": found and found[0]}
            print(f"all in one process: {whole['summary']}, {whole['seconds']} s")
    passed = sum(v.status == "passed" for v in verdicts)
    print(f"{passed} of {len(verdicts)} cases passed")
    place = os.environ.get("XTEST_JSON")
    if place:
        rows = [{**v._asdict(), "seconds": round(v.seconds, 3)} for v in verdicts]
        for row in rows:
            del row["output"]
        Path(place).write_text(json.dumps({"cases": rows, "whole": whole}, indent=1) + "\n")
    return 0 if passed == len(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
