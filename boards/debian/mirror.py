"""Which Debian mirror this machine's apt is set up with, by sources.list(5)."""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_NOT_MAIN = re.compile(r"-security|-updates|-backports|/")
_DEBIAN = re.compile(r"\bdebian\b")


class Entry(NamedTuple):
    uri: str
    suites: list[str]
    components: list[str]


def find_mirror(folder: Path = Path("/etc/apt")) -> str:
    """URI of the mirror that apt under `folder` uses; "" if there is none."""
    entries = _one_line_entries(folder / "sources.list")
    for path in sorted((folder / "sources.list.d").glob("*")):
        if path.suffix == ".list":
            entries += _one_line_entries(path)
        elif path.suffix == ".sources":
            entries += list(_deb822_entries(_text(path)))
    for uri, suites, components in entries:
        main = [s for s in suites if not _NOT_MAIN.search(s)]
        if main and "main" in components and _DEBIAN.search(uri) and "security" not in uri:
            return uri
    return ""


def _text(path: Path) -> str:
    """ "" if it cannot be read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _one_line_entries(path: Path) -> list[Entry]:
    """`deb [options] uri suite component...` lines."""
    out: list[Entry] = []
    for line in _text(path).splitlines():
        kind, _, rest = line.strip().partition("#")[0].replace("\t", " ").partition(" ")
        if kind != "deb":
            continue
        if rest.lstrip().startswith("["):
            rest = rest.partition("]")[2]
        words = rest.split()
        if len(words) > 2:
            out.append(Entry(words[0], [words[1]], words[2:]))
    return out


def _deb822_entries(text: str) -> Iterator[Entry]:
    """Stanzas of a .sources file (DEB822-STYLE FORMAT)."""
    for stanza in _stanzas(text):
        fields: dict[str, str] = {}
        last = ""
        for line in stanza:
            if line.startswith("#"):
                continue
            if line[0].isspace():
                fields[last] = fields.get(last, "") + " " + line.strip()
            else:
                last, _, value = line.partition(":")
                last = last.strip().lower()
                fields[last] = value.strip()
        if fields.get("enabled", "yes").lower() in ("no", "false", "0") or "deb" not in fields.get("types", "").split():
            continue
        for uri in fields.get("uris", "").split():
            yield Entry(uri, fields.get("suites", "").split(), fields.get("components", "").split())


def _stanzas(text: str) -> Iterator[list[str]]:
    """Their lines, cut at empty ones."""
    for full, lines in groupby(text.splitlines(), key=lambda line: bool(line.strip())):
        if full:
            yield list(lines)
