"""NIST CAVP and RFC vector files from the `cryptography_vectors` package, when it is installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


def vectors(*path: str) -> Path:
    """A vector file; skips the test if the package is not there."""
    package = pytest.importorskip("cryptography_vectors", reason="PyPI package cryptography_vectors is not installed")
    return Path(str(package.__file__)).parent.joinpath(*path)


def records(*path: str) -> Iterator[dict[str, str]]:
    """`key = value` groups of a CAVP .rsp or RFC .txt file; section headers in brackets count as defaults.

    A group ends at a blank line. Keys are lower case; a bare word (FAIL) maps to "".
    """
    section: dict[str, str] = {}
    group: dict[str, str] = {}
    for raw in [*vectors(*path).read_text().splitlines(), ""]:
        line = raw.partition("#")[0].strip()
        if line.startswith("["):
            name, _, value = line.strip("[]").partition("=")
            if not value:
                section = {name.strip().lower(): ""}
            else:
                section[name.strip().lower()] = value.strip()
        elif line:
            name, _, value = line.partition("=")
            group[name.strip().lower()] = value.strip()
        elif group:
            yield {**section, **group}
            group = {}


def sample(items: Iterator[dict[str, str]], count: int) -> list[dict[str, str]]:
    """About `count` of them, spread evenly: files hold thousands."""
    everything = list(items)
    return everything[:: max(1, len(everything) // count)]
