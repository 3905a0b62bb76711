"""Where results go, before there are any: the check and the write agree."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from south.errors import UsageError
from south.replacing import replace
from ta_loader.outputs import refuse_same, require_file, require_folder

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dangling").symlink_to("folder/new")
    (tmp_path / "lost").symlink_to("nothing/new")
    (tmp_path / "to folder").symlink_to("folder")
    (tmp_path / "a" / "b").mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
    return tmp_path


GOOD = ["new", "./new", "folder/new", "file", "link", "dangling", "/dev/null", "to folder/new", "folder/../new"]
BAD = ["", "folder", "folder/", "to folder", "nothing/new", "file/new", "lost", "new/", "socket", "n" * 300, "/proc"]


@pytest.mark.parametrize("path", GOOD)
def test_what_can_be_written(place: Path, path: str) -> None:
    before = sorted(os.listdir(place))
    require_file(path, "--out")
    assert sorted(os.listdir(place)) == before
    replace(path, b"data")


@pytest.mark.parametrize("path", BAD)
def test_what_cannot(place: Path, path: str) -> None:
    with pytest.raises(UsageError, match="--out"):
        require_file(path, "--out")
    with pytest.raises(OSError):
        replace(path, b"data")


def test_folders_that_take_no_files(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may write everywhere; the system's answer is that for anybody else."""
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    for check in (require_file, require_folder):
        with pytest.raises(UsageError, match="folder"):
            check("folder/x", "--out")


@pytest.mark.parametrize("path", ["folder", "new", "new/er/est", "to folder", "a/b/", "a/b/c/../d"])
def test_folders(place: Path, path: str) -> None:
    require_folder(path, "--dir")
    os.makedirs(path, exist_ok=True)


@pytest.mark.parametrize("path", ["file", "file/x/y", "/dev/zero", "/dev/null/x", "dangling", "socket", "n" * 300])
def test_what_is_no_folder(place: Path, path: str) -> None:
    with pytest.raises(UsageError, match="--dir"):
        require_folder(path, "--dir")
    with pytest.raises(OSError):
        os.makedirs(path, exist_ok=True)


def test_the_same_file_by_another_name(place: Path) -> None:
    os.link("file", "hard")
    for name in ("file", "./file", "link", "hard", "to folder/../file"):
        with pytest.raises(UsageError, match="the same file as file"):
            refuse_same(name, "--out", ["other", "file"])
    with pytest.raises(UsageError, match="the same file"):
        refuse_same("new", "--out", ["folder/../new"])  # two results
    refuse_same("new", "--out", ["file", "other"])
    refuse_same("/dev/null", "--out", ["/dev/null"])
