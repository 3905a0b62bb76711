"""The fetcher itself: it finds a mirror in apt's own files, and what it fetched is whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from boards.debian import find_mirror

DEB822 = """\
Types: deb
# a comment
URIs: http://mirror.invalid/debian-security
Suites: bookworm-security
Components: main

Types: deb deb-src
URIs: http://mirror.invalid/debian
Suites: bookworm bookworm-updates
Components: main
 contrib
Signed-By: /usr/share/keyrings/x.gpg
"""


def folder(base: Path, **files: str) -> Path:
    (base / "sources.list.d").mkdir()
    for name, text in files.items():
        place = base / "sources.list" if name == "main" else base / "sources.list.d" / name.replace("_", ".")
        place.write_text(text)
    return base


def test_mirror_of_deb822_sources(tmp_path: Path) -> None:
    assert find_mirror(folder(tmp_path, debian_sources=DEB822)) == "http://mirror.invalid/debian"


def test_mirror_of_one_line_sources(tmp_path: Path) -> None:
    off = "# deb http://a.invalid/debian sid main\n"
    text = off + "deb [signed-by=/x arch=amd64] http://b.invalid/debian stable main # x\n"
    assert find_mirror(folder(tmp_path, main=text)) == "http://b.invalid/debian"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "deb http://a.invalid/ubuntu noble main\n",
        "deb http://a.invalid/debian stable-security main\n",
        "deb http://a.invalid/debian stable contrib\n",
        "deb http://a.invalid/debian\n",
    ],
)
def test_no_mirror(tmp_path: Path, text: str) -> None:
    assert find_mirror(folder(tmp_path, main=text, other_sources="Enabled: no\n" + DEB822.split("\n\n")[1])) == ""


def test_ignored_files_of_the_sources_folder(tmp_path: Path) -> None:
    assert find_mirror(folder(tmp_path, debian_sources_disabled=DEB822)) == ""


def test_the_packages_hold_what_tests_count_on(debian_tas: Path, debian_kit: Path) -> None:
    assert len(list(debian_tas.glob("*.ta"))) == 20
    assert (debian_kit / "keys" / "default_ta.pem").is_file()
    assert (debian_kit / "ta" / "fd02c9da-306c-48c7-a49c-bbd827ae86ee.ta").is_file()
    assert (debian_kit / "scripts" / "sign_encrypt.py").is_file()
