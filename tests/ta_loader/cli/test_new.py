"""`litebox-ta new`: names, places, and what the files hold."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from south.errors import UsageError
from ta_loader.cli import new

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.ta_loader.cli.conftest import Done

    Cli = Callable[..., Done]

ID = UUID("8aaaf200-2450-11e4-abe2-0002a5d5c51b")


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_project(cli: Cli, tmp_path: Path) -> None:
    done = cli("new", "wall-clock", "--uuid", str(ID), "--dir", str(tmp_path / "clock"))
    assert done.code == 0, done.err
    folder = tmp_path / "clock"
    assert tree(folder) == {
        *(".gitignore", "Makefile", "README.md", "pyproject.toml", "ci/run.sh", "ci/gitlab-ci.yml"),
        *("ta/Makefile", "ta/sub.mk", "ta/user_ta_header_defines.h", "ta/wall_clock.c", "ta/include/wall_clock.h"),
        "tests/test_wall_clock.py",
    }
    for path in tree(folder):
        assert not re.search(r"@[A-Z_]+@", (folder / path).read_text()), path
    header = (folder / "ta/include/wall_clock.h").read_text()
    assert "{0x8aaaf200, 0x2450, 0x11e4, {0xab, 0xe2, 0x00, 0x02, 0xa5, 0xd5, 0xc5, 0x1b}}" in header
    assert os.access(folder / "ci/run.sh", os.X_OK)
    subprocess.run(["sh", "-n", folder / "ci/run.sh"], check=True)
    assert list(tmp_path.iterdir()) == [folder]


def test_each_project_has_a_uuid_of_its_own(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli("new", "a").code == cli("new", "b").code == 0
    texts = [(tmp_path / name / "Makefile").read_text() for name in "ab"]
    first, second = (re.search(r"^UUID := (.*)$", text, re.M) for text in texts)
    assert first
    assert second
    assert UUID(first[1]).version == UUID(second[1]).version == 4
    assert first[1] != second[1]


@pytest.mark.parametrize("name", ["", "A", "1a", "a b", "a/b", "../a", "é", "a" * 33, "a\n"])
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="a name has up to 32"):
        new.COMMAND.main([name])


@pytest.mark.parametrize("name", ["ta", "tee", "tee-internal-api", "stdint", "stdio", "user_ta_header", "trace"])
def test_names_of_the_kit_s_headers(name: str) -> None:
    """Such a project's header would hide the kit's, or define its macros again."""
    with pytest.raises(UsageError, match=f"name it {name}-app"):
        new.COMMAND.main([name])


def test_what_is_there_stays(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("full", "file", "link"):
        done = cli("new", "a", "--dir", str(tmp_path / name))
        assert done.code == 2
        assert "exists" in done.err
    assert tree(tmp_path) == {"full/mine", "file"}
    (tmp_path / "empty").mkdir()
    assert cli("new", "a", "--dir", str(tmp_path / "empty")).code == 0
    assert (tmp_path / "empty/Makefile").exists()


def test_a_folder_that_cannot_be_made(cli: Cli, tmp_path: Path) -> None:
    done = cli("new", "a", "--dir", str(tmp_path / "missing" / "a"))
    assert done.code == 2
    assert "No such file or directory" in done.err
    assert "Errno" not in done.err
    assert not list(tmp_path.iterdir())


def test_a_uuid_that_is_none(cli: Cli) -> None:
    done = cli("new", "a", "--uuid", "8aaaf200")
    assert done.code == 2
    assert "not a UUID" in done.err
