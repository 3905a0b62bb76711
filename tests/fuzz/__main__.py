"""`python -m tests.fuzz NAME --seconds N [--seed S] [--input FILE]`; NAME `all` runs every target in turn."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
import tempfile
import traceback
from pathlib import Path

from tests.fuzz.driver import Failure, check, fuzz
from tests.fuzz.targets import TARGETS, Target, save


def with_atheris(target: Target, seconds: float) -> None:
    """Coverage-guided, in this process; does not return."""
    atheris = importlib.import_module("atheris")
    with tempfile.TemporaryDirectory() as corpus:
        for number, data in enumerate(target.seeds()):
            (Path(corpus) / str(number)).write_bytes(data)
        atheris.instrument_all()
        atheris.Setup(["fuzz", f"-max_total_time={int(seconds)}", "-timeout=5", corpus], target.fuzz_one)
        atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("name", choices=[*TARGETS, "all"])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--input", type=Path, help="run this one input, as a failure left it")
    parser.add_argument("--plain", action="store_true", help="the plain driver, even if atheris is installed")
    options = parser.parse_args()
    names = list(TARGETS) if options.name == "all" else [options.name]
    for name in names:
        if len(names) == 1 and not options.plain and not options.input and importlib.util.find_spec("atheris"):
            with_atheris(TARGETS[name], options.seconds)
        try:
            if options.input:
                check(TARGETS[name], options.input.read_bytes())
                continue
            print(f"{name}: {fuzz(TARGETS[name], options.seconds, options.seed)} inputs", flush=True)
        except Failure as failure:
            traceback.print_exc()
            print(f"{name}: {failure}\n  kept in {save(name, failure.data)}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
