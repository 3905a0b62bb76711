"""REE files: a pure model says what each call does; nothing outside the folder is ever touched."""

from __future__ import annotations

import hashlib
import os
import random
import resource
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from normal_world.supplicant import files as files_module
from normal_world.supplicant.files import ReeFiles
from south.replacing import rename_new
from tee.abi.results import (
    ACCESS_CONFLICT,
    BAD_PARAMETERS,
    GENERIC,
    ITEM_NOT_FOUND,
    OUT_OF_MEMORY,
    STORAGE_NO_SPACE,
    Result,
)
from tee.errors import TeeError
from tee.normal import RESERVED
from tests.threads import together

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "tee"


@pytest.fixture
def files(root: Path) -> Iterator[ReeFiles]:
    made = ReeFiles(root)
    yield made
    made.shut()


def refused(call: Callable[..., object], *arguments: object, **named: object) -> Result:
    with pytest.raises(TeeError) as found:
        call(*arguments, **named)
    return found.value.result


def put(files: ReeFiles, name: str, data: bytes = b"data") -> None:
    file = files.create(name)
    files.write(file, 0, data)
    files.close(file)


def test_data(files: ReeFiles, root: Path) -> None:
    file = files.create("a/b/c")
    assert file == 1
    files.write(file, 3, memoryview(b"hello"))
    files.sync(file)
    assert files.read(file, 0, 100) == b"\0\0\0hello"
    assert files.read(file, 4, 2) == b"el"
    assert files.read(file, 8, 5) == files.read(file, 1 << 40, 5) == b""
    files.truncate(file, 5)
    files.close(file)
    assert (root / "a/b/c").read_bytes() == b"\0\0\0he"
    assert [(p.stat().st_mode & 0o777) for p in (root, root / "a", root / "a/b/c")] == [0o700, 0o700, 0o600]
    file = files.open("a/b/c")
    assert files.read(file, 3, 2) == b"he"
    files.close(files.create("a/b/c"))
    assert files.read(file, 0, 9) == b""


def test_names_that_are_reserved(files: ReeFiles, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    files.reserve(["1", "2"])
    files.reserve(["1", "3"])
    assert (len(synced), files.list("")) == (1, ["1", "2"])
    for name in ("1", "2"):
        file = files.create(name)
        assert files.read(file, 0, 100) == b""
        files.write(file, 0, b"data")
        files.close(file)
    assert len(synced) == 1
    files.release("1")
    files.close(files.create("1"))
    assert len(synced) == 1
    # A name that somebody else made, who may have been killed before the folder was synced.
    for left in (b"", b"data", RESERVED + b"data"):
        (root / "1").write_bytes(left)
        files.close(files.create("1"))
        assert (root / "1").read_bytes() == b""
    assert len(synced) == 4
    with pytest.raises(TeeError):
        files.release("gone")


def test_handles(files: ReeFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    for call in (lambda n: files.read(n, 0, 1), lambda n: files.write(n, 0, b""), files.sync, files.close):
        for bad in (0, 1, -1, 1 << 40):
            assert refused(call, bad) == BAD_PARAMETERS
    first = files.create("f")
    more = [files.open("f") for _ in range(files_module.OPEN_MAX - 1)]
    assert refused(files.open, "f") == refused(files.create, "g") == OUT_OF_MEMORY
    assert files.list("") == ["f"]
    files.close(more.pop())
    files.close(files.open("f"))
    for offset, size in ((-1, 1), (0, -1), (1 << 63, 0), ((1 << 63) - 1, 2)):
        assert refused(files.read, first, offset, size) == BAD_PARAMETERS
    assert refused(files.truncate, first, -1) == BAD_PARAMETERS
    files.truncate(first, 1 << 40)
    assert refused(files.read, first, 0, 1 << 39) == OUT_OF_MEMORY


def test_after_the_end(root: Path) -> None:
    files = ReeFiles(root)
    file = files.create("f")
    files.shut()
    files.shut()
    assert refused(files.read, file, 0, 1) == BAD_PARAMETERS
    assert refused(files.open, "f") == GENERIC


BAD = ["", "/", "/a", "a/", "a//b", "..", "../x", "a/../b", "a/..", ".", "./a", "a/.", "a\0b", "\ud800", "x" * 256]
BAD += ["a/" * 16 + "a", "a" * 200 + "/" + "b" * 200 + "/" + "c" * 200 + "/" + "d" * 200 + "/" + "e" * 250]


@pytest.mark.parametrize("name", BAD)
def test_names_that_are_none(files: ReeFiles, root: Path, name: str) -> None:
    put(files, "good")
    for call in (files.open, files.create, files.remove):
        assert refused(call, name) == BAD_PARAMETERS
    for overwrite in (True, False):
        assert refused(files.rename, name, "x", overwrite=overwrite) == BAD_PARAMETERS
        assert refused(files.rename, "good", name, overwrite=overwrite) == BAD_PARAMETERS
    assert name == "" or refused(files.list, name) == BAD_PARAMETERS
    assert os.listdir(root) == ["good"]


def test_other_things_than_files(files: ReeFiles, root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"mine")
    put(files, "good")
    (root / "folder").symlink_to(outside)
    (root / "file").symlink_to(outside / "file")
    (root / "loop").symlink_to("loop")
    os.mkfifo(root / "fifo")
    (root / "dir").mkdir()
    for name in ("folder/file", "folder/new", "file", "loop", "loop/x", "fifo", "good/x"):
        assert {refused(files.open, name), refused(files.create, name)} == {BAD_PARAMETERS}
    for name in ("folder/file", "file", "loop", "fifo", "dir"):
        assert refused(files.rename, name, "x", overwrite=True) == BAD_PARAMETERS
        assert refused(files.rename, name, "x", overwrite=False) == BAD_PARAMETERS
    assert refused(files.rename, "good", "folder/x", overwrite=True) == BAD_PARAMETERS
    assert refused(files.remove, "folder/file") == refused(files.list, "folder") == BAD_PARAMETERS
    assert {refused(files.open, "dir"), refused(files.create, "dir"), refused(files.remove, "dir")} == {GENERIC}
    files.remove("file")
    files.rename("good", "folder", overwrite=True)
    assert os.listdir(outside) == ["file"]
    assert (outside / "file").read_bytes() == b"mine"


@pytest.mark.parametrize("old_library", [False, True])
def test_rename_where_nothing_is(
    files: ReeFiles, root: Path, monkeypatch: pytest.MonkeyPatch, old_library: bool
) -> None:
    if old_library:
        import ctypes

        monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())
    put(files, "a", b"a")
    put(files, "b", b"b")
    assert refused(files.rename, "a", "b", overwrite=False) == ACCESS_CONFLICT
    assert refused(files.rename, "none", "b", overwrite=False) == ITEM_NOT_FOUND
    files.rename("a", "c", overwrite=False)
    assert sorted(os.listdir(root)) == ["b", "c"]
    assert (root / "c").read_bytes() == b"a"
    place = os.open(root, os.O_RDONLY)
    with pytest.raises(FileExistsError):
        rename_new(place, b"b", place, b"c")
    os.close(place)


def test_no_space(files: ReeFiles) -> None:
    file = files.create("f")
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, old[1]))
    try:
        result = refused(files.write, file, 100, b"x")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert result == STORAGE_NO_SPACE


def test_no_descriptors(files: ReeFiles) -> None:
    put(files, "f")
    old = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (4, old[1]))
    try:
        result = refused(files.open, "f"), refused(files.list, "")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, old)
    assert result == (OUT_OF_MEMORY, OUT_OF_MEMORY)


# --- a model


class Model:
    """files: name to content; folders: names. A call gives None or the result it fails with."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.folders = {""}

    def children(self, folder: str) -> list[str]:
        named = (*self.files, *(self.folders - {""}))
        return sorted(n.rpartition("/")[2] for n in named if n.rpartition("/")[0] == folder)

    def walk(self, name: str, make: bool = False) -> Result | None:
        parts = name.split("/")
        if any(part in ("", ".", "..") or "\0" in part for part in parts):
            return BAD_PARAMETERS
        for depth in range(1, len(parts)):
            prefix = "/".join(parts[:depth])
            if prefix in self.files:
                return BAD_PARAMETERS
            if prefix not in self.folders:
                if not make:
                    return ITEM_NOT_FOUND
                self.folders.add(prefix)
        return None

    def create(self, name: str, data: bytes) -> Result | None:
        failed = self.walk(name) if self.walk(name) == BAD_PARAMETERS else self.walk(name, make=True)
        if failed is None and name in self.folders:
            return GENERIC
        if failed is None:
            self.files[name] = data
        return failed

    def read(self, name: str) -> Result | bytes:
        failed = self.walk(name)
        if failed is not None:
            return failed
        return GENERIC if name in self.folders else self.files.get(name, ITEM_NOT_FOUND)

    def remove(self, name: str) -> Result | None:
        failed = self.walk(name)
        if failed or name in self.folders:
            return failed or GENERIC
        if self.files.pop(name, None) is None:
            return ITEM_NOT_FOUND
        while (name := name.rpartition("/")[0]) and not self.children(name):
            self.folders.discard(name)
        return None

    def rename(self, old: str, new: str, overwrite: bool) -> Result | None:
        if not (self.real(old) and self.real(new)):
            return BAD_PARAMETERS
        failed = self.walk(old) or self.walk(new)
        if failed or old in self.folders:
            return failed or BAD_PARAMETERS
        if old not in self.files:
            return ITEM_NOT_FOUND
        if not overwrite and (new in self.files or new in self.folders):
            return ACCESS_CONFLICT
        if new in self.folders:
            return GENERIC
        self.files[new] = self.files.pop(old)
        return None

    @staticmethod
    def real(name: str) -> bool:
        return not any(part in ("", ".", "..") or "\0" in part for part in name.split("/"))

    def list(self, name: str) -> Result | Sequence[str]:
        failed = self.walk(name) if name else None
        if failed or name in self.files:
            return failed or BAD_PARAMETERS
        return self.children(name) if name in self.folders else ITEM_NOT_FOUND


part = st.sampled_from(["a", "b", "c", "a", "b", "..", ".", "", "a\0", "é"])
name = st.lists(part, min_size=1, max_size=3).map("/".join)
step = st.one_of(
    st.tuples(st.just("create"), name, st.binary(max_size=3)),
    st.tuples(st.sampled_from(["read", "remove", "list"]), name),
    st.tuples(st.just("rename"), name, name, st.booleans()),
)


def do(files: ReeFiles, action: str, *arguments: str | bytes | bool) -> object:
    try:
        match action, arguments:
            case "create", (str(name), bytes(data)):
                put(files, name, data)
            case "read", (str(name),):
                file = files.open(name)
                try:
                    return files.read(file, 0, 100)
                finally:
                    files.close(file)
            case "remove", (str(name),):
                files.remove(name)
            case "list", (str(name),):
                return files.list(name)
            case "rename", (str(old), str(new), bool(overwrite)):
                files.rename(old, new, overwrite=overwrite)
        return None
    except TeeError as error:
        return error.result


@settings(max_examples=80)
@given(steps=st.lists(step, max_size=25))
def test_against_a_model(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, *tuple[str | bytes | bool, ...]]]
) -> None:
    base = tmp_path_factory.mktemp("model")
    for outside in ("a", "b"):
        (base / outside).write_bytes(b"outside")
    files, model = ReeFiles(base / "tee"), Model()
    try:
        for action, *arguments in steps:
            assert do(files, action, *arguments) == getattr(model, action)(*arguments), (action, arguments)
        found = {str(p.relative_to(base / "tee")): p.read_bytes() for p in (base / "tee").rglob("*") if p.is_file()}
        assert found == model.files
        assert sorted(os.listdir(base)) == ["a", "b", "tee"]
        assert (base / "a").read_bytes() == (base / "b").read_bytes() == b"outside"
    finally:
        files.shut()


def test_threads(files: ReeFiles) -> None:
    """Folders come and go under each other's feet; one handle is used and closed by all."""

    def work(number: int) -> None:
        for turn in range(60):
            mine = f"d/e/{number}"
            put(files, mine, b"%d" % turn)
            file = files.open(mine)
            files.rename(mine, f"d/{number}", overwrite=True)
            assert files.read(file, 0, 9) == b"%d" % turn
            files.close(file)
            files.remove(f"d/{number}")

    together(work, range(3))


_WRITER = """
import hashlib, sys
from normal_world.supplicant.files import ReeFiles
files, n = ReeFiles(sys.argv[1]), 0
while True:
    n += 1
    data = b"%d " % n * (n % 3000)
    f = files.create("t/new")
    files.write(f, 0, hashlib.sha256(data).digest() + data)
    files.sync(f)
    files.close(f)
    files.rename("t/new", "t/file", overwrite=True)
    print(n, flush=True)
"""


def test_kill(files: ReeFiles, root: Path) -> None:
    chance = random.Random(1)
    for _ in range(8):
        with subprocess.Popen([sys.executable, "-c", _WRITER, str(root)], stdout=subprocess.PIPE) as child:
            assert child.stdout
            said = [child.stdout.readline()]
            time.sleep(chance.random() * 0.03)
            child.send_signal(signal.SIGKILL)
            said += child.stdout.readlines()
        file = files.open("t/file")
        raw = files.read(file, 0, 1 << 20)
        files.close(file)
        assert hashlib.sha256(raw[32:]).digest() == raw[:32]
        assert int(raw[32:].split()[0]) in (int(said[-1]), int(said[-1]) + 1)
