"""The maker of initramfs images: the archive by another reader, what is in it, and what it refuses."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from hypothesis import given, settings
from hypothesis import strategies as st

from boards.cache import cache_dir
from boards.guest import elf, image
from boards.guest.cpio import MAX_NAME, Entry, write
from boards.guest.tree import Tree
from south.errors import UsageError

INIT = Path(image.__file__).with_name("init.sh")


def archive(tree: Tree) -> bytes:
    out = io.BytesIO()
    assert write(tree.entries(), out) == len(out.getvalue())
    return out.getvalue()


def members(data: bytes) -> dict[str, tuple[int, bytes]]:
    """By the document's own words: magic, thirteen fields of eight digits, name and content filled up to four."""
    out: dict[str, tuple[int, bytes]] = {}
    at = 0
    while True:
        assert data[at : at + 6] == b"070701"
        fields = [int(data[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        name = data[at + 110 : at + 110 + name_size - 1].decode()
        start = (at + 110 + name_size + 3) & ~3
        at = (start + size + 3) & ~3
        if name == "TRAILER!!!":
            assert at == len(data)
            return out
        out[name] = (mode, data[start : start + size])


def sample(folder: Path) -> Tree:
    (folder / "big").write_bytes(bytes(range(256)) * 9000 + b"x")
    tree = Tree()
    tree.file("lib/a/b", folder / "big", 0o755)
    tree.file("etc/c", b"text")
    tree.link("etc/d", "c")
    tree.folder("tmp", 0o1777)
    tree.device("dev/console", stat.S_IFCHR | 0o600, 5, 1)
    return tree


def test_the_archive(tmp_path: Path) -> None:
    data = archive(sample(tmp_path))
    found = members(data)
    assert found["usr/lib/a/b"] == (stat.S_IFREG | 0o755, (tmp_path / "big").read_bytes())
    assert found["etc/d"] == (stat.S_IFLNK | 0o777, b"c")
    assert found["lib"] == (stat.S_IFLNK | 0o777, b"usr/lib")
    assert found["tmp"] == (stat.S_IFDIR | 0o1777, b"")
    names = list(found)
    for name in names:
        parent = os.path.dirname(name)
        assert not parent or names.index(parent) < names.index(name)
    assert archive(sample(tmp_path)) == data


@pytest.mark.parametrize("words", [["bsdtar", "-xf", "-"], ["cpio", "-id", "--quiet"], ["busybox", "cpio", "-id"]])
def test_other_programs_unpack_it(tmp_path: Path, words: list[str]) -> None:
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed")
    tree = Tree()
    (tmp_path / "big").write_bytes(os.urandom(70_001))
    tree.file("lib/a/b", tmp_path / "big", 0o755)
    tree.link("etc/d", "c")
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(words, input=archive(tree), cwd=out, check=True, timeout=60)
    assert (out / "lib/a/b").read_bytes() == (tmp_path / "big").read_bytes()
    assert os.readlink(out / "etc/d") == "c"


def test_what_an_archive_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at most 4095 bytes"):
        write([Entry("x" * (MAX_NAME + 1), stat.S_IFREG)], io.BytesIO())
    with pytest.raises(UsageError, match="No such file"):
        write([Entry("x", stat.S_IFREG, tmp_path / "none")], io.BytesIO())
    huge = tmp_path / "huge"
    huge.touch()
    os.truncate(huge, 1 << 32)
    with pytest.raises(UsageError, match="at most 4294967295 bytes"):
        write([Entry("x", stat.S_IFREG, huge)], io.BytesIO())


def test_overlays(tmp_path: Path) -> None:
    own = tmp_path / "own"
    (own / "lib/optee_armtz").mkdir(parents=True)
    (own / "lib/optee_armtz/x.ta").write_bytes(b"mine")
    (own / "usr/bin").mkdir(parents=True)
    (own / "usr/bin/tool").write_bytes(b"#!/bin/sh\n")
    (own / "usr/bin/tool").chmod(0o750)
    (own / "usr/bin/again").symlink_to("tool")
    tree = Tree()
    tree.file("usr/lib/optee_armtz/x.ta", b"ours")
    before = tree.key()
    assert len(tree.overlay(own)) == 2
    found = members(archive(tree))
    assert found["usr/lib/optee_armtz/x.ta"][1] == b"mine"
    assert found["usr/bin/tool"][0] == stat.S_IFREG | 0o750
    assert found["usr/bin/again"][1] == b"tool"
    key = tree.key()
    assert key != before
    (own / "usr/bin/tool").write_bytes(b"#!/bin/ba\n")
    assert tree.key() != key


def test_folders_that_cannot_be_overlays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="is no file, folder or link"):
        Tree().overlay(tmp_path)
    with pytest.raises(UsageError, match="No such file"):
        Tree().overlay(tmp_path / "none")
    (tmp_path / "pipe").unlink()
    (tmp_path / "file").write_bytes(b"12345")
    monkeypatch.setattr("boards.guest.tree.MAX_OVERLAY", 4)
    with pytest.raises(UsageError, match="too much for a guest"):
        Tree().overlay(tmp_path)


@pytest.mark.parametrize("path", ["/etc/x", "../x", "a/../x", "", "etc/c/x", "etc"])
def test_paths_that_are_none(path: str) -> None:
    tree = Tree()
    tree.file("etc/c", b"")
    with pytest.raises(UsageError):
        tree.file(path, b"")


def test_what_programs_need_is_what_pyelftools_says(debian_root: Path) -> None:
    for path in [debian_root / "usr/bin/xtest", *debian_root.glob("usr/lib/aarch64-linux-gnu/*.so.*")]:
        with path.open("rb") as file:
            dynamic = ELFFile(file).get_section_by_name(".dynamic")
            assert isinstance(dynamic, DynamicSection)
            known = [tag.needed for tag in dynamic.iter_tags() if tag.entry.d_tag == "DT_NEEDED"]  # type: ignore[attr-defined]
        assert elf.is_aarch64(path.read_bytes())
        assert elf.needed(path.read_bytes(), path.name) == known


def test_closure(debian_root: Path) -> None:
    library = next(debian_root.glob("usr/lib/aarch64-linux-gnu/libteec.so.2.*"))
    program = (debian_root / "usr/bin/xtest").read_bytes()
    found, missing = elf.closure({"xtest": program}, {"libteec.so.2": library})
    assert found == {"libteec.so.2": library}
    assert missing["libcrypto.so.3"] == "xtest"


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), min_size=1, max_size=8), st.integers(0, 70_000))
def test_damaged_objects_end_in_an_error(debian_root: Path, flips: list[tuple[int, int]], cut: int) -> None:
    path = next(debian_root.glob("usr/lib/aarch64-linux-gnu/libteec.so.2.*"))
    data = bytearray(path.read_bytes())
    for at, value in flips:
        data[at] = value
    for each in (bytes(data), bytes(data[:cut])):
        for read in (elf.needed, elf.module_needs):
            with contextlib.suppress(UsageError):
                read(each, "x")


def test_init_is_a_script_for_a_shell() -> None:
    subprocess.run(["sh", "-n", str(INIT)], check=True, timeout=10)
    assert INIT.read_text().startswith("#!/bin/busybox sh\n")


MAKER = """
import sys
from pathlib import Path
from boards.guest import image
from boards.guest.tree import Tree

tree = Tree()
for number in range(200):
    tree.file(f"{sys.argv[1]}/{number}", bytes([number]) * 10_000)
image.guest_tree = lambda *_: tree
image.UNUSED_DAYS = -1  # as if nobody had used the others for long
print(image.initrd())
"""


def test_several_processes_make_images_at_once(tmp_path: Path) -> None:
    """Of one content and of others; each comes out whole, once, and nothing half made is left."""
    environment = {**os.environ, "LITEBOX_CACHE": str(tmp_path)}
    names = ["same", "same", "same", "other"]
    makers = [
        subprocess.Popen([sys.executable, "-c", MAKER, name], env=environment, stdout=subprocess.PIPE, text=True)
        for name in names
    ]
    printed = [maker.communicate(timeout=60)[0].strip() for maker in makers]
    assert [maker.returncode for maker in makers] == [0] * len(names)
    assert len({path for name, path in zip(names, printed, strict=True) if name == "same"}) == 1
    left = {path.name for path in (tmp_path / "guest").iterdir()} - {"lock"}
    assert left <= {Path(path).name for path in printed}
    assert left
    for name in left:
        found = members((tmp_path / "guest" / name).read_bytes())
        assert sum(len(content) == 10_000 for _, content in found.values()) == 200


def test_images_that_nobody_uses_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITEBOX_CACHE", str(tmp_path))
    tree = sample(tmp_path)
    monkeypatch.setattr(image, "guest_tree", lambda *_: tree)
    made = image.initrd()
    assert made.parent == cache_dir("guest") == tmp_path / "guest"
    inode = made.stat().st_ino
    assert image.initrd().stat().st_ino == inode
    os.utime(made, (0, 0))
    (tmp_path / "big").write_bytes(b"other")

    def smaller(*_: object) -> Tree:
        tree = Tree()
        tree.file("x", tmp_path / "big")
        return tree

    monkeypatch.setattr(image, "guest_tree", smaller)
    other = image.initrd()
    assert {path.name for path in made.parent.iterdir()} == {other.name, "lock"}
