"""Which Debian mirror this machine's apt is set up with, by sources.list(5)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator


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
        main = [s for s in suites if not re.search(r"-security|-updates|-backports|/", s)]
        if main and "main" in components and re.search(r"\bdebian\b", uri) and "security" not in uri:
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
        found = re.match(r"\s*deb\s+(?:\[[^\]]*\]\s*)?(\S+)\s+(\S+)\s+([^#]*)", line)
        if found:
            out.append(Entry(found[1], [found[2]], found[3].split()))
    return out


def _deb822_entries(text: str) -> Iterator[Entry]:
    """Stanzas of a .sources file (DEB822-STYLE FORMAT)."""
    for stanza in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        last = ""
        for line in stanza.splitlines():
            if line.startswith("#") or not line.strip():
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
