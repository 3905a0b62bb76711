"""Temporary names: all come from `south.replacing`, and the next removes what a killed one left of any of them."""

from __future__ import annotations

import ast
import contextlib
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from south.replacing import OLD, SUFFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

ROOT = Path(__file__).parents[1]
PACKAGES = ("south", "north", "tee", "ta_loader", "normal_world", "boards", "tools")
HOME = "south/replacing.py"

OTHERS = {
    ("boards/agent_upload.py", "mktemp"): "on the board",
    ("boards/board.py", "tempfile"): "the log of a run, which stays if the run fails",
    ("boards/board_tee.py", "token_hex"): "a mark in an agent's output",
    ("boards/console_lock.py", "getpid()"): "what is in a lock's file",
    ("boards/console_lock.py", "tempfile"): "a lock's file has one name, and is used again",
    ("boards/console_shell.py", "token_hex"): "marks in a shell's output",
    ("boards/hooks.py", "tempfile"): "a file without a name",
    ("boards/shell_files.py", "token_hex"): "on the board",
    ("south/linux_host/systemd.py", "getpid()"): "what systemd is sent",
    ("south/linux_host/child.py", "getpid()"): "an argument",
    ("tee/storage/dirfile.py", "a suffix"): "on trusted storage, where a transaction ends it",
    ("ta_loader/cli/new.py", "uuid4"): "a TA's UUID",
    ("normal_world/supplicant/profiles.py", "O_EXCL"): "results, with numbers",
}
"""Who uses for something else what gives away a maker of temporary names."""


def signs(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names) if any(each.name == "tempfile" for each in names):
                yield "tempfile"
            case ast.ImportFrom(module="tempfile"):
                yield "tempfile"
            case ast.Attribute(attr="O_EXCL" | "O_TMPFILE" as name):
                yield name
            case ast.Attribute(attr="token_hex" | "uuid4" | "uuid1" as name):
                yield name
            case ast.Attribute(value=ast.Call(func=ast.Attribute(attr="urandom" | "fill")), attr="hex"):
                yield "urandom().hex"
            case ast.JoinedStr() | ast.Call(func=ast.Name(id="str")) if "getpid()" in ast.unparse(node):
                yield "getpid()"
            case ast.Constant(value=str(text)) if "mktemp " in text:
                yield "mktemp"
            case ast.Constant(value=str(text)) if text.endswith(".tmp") or text == ".new":
                yield "a suffix"


def sources() -> Iterator[tuple[str, ast.AST]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text())


def test_temporary_names_come_from_one_place() -> None:
    found = {(name, sign) for name, tree in sources() if name != HOME for sign in signs(tree)}
    assert found - set(OTHERS) == set(), "use south.replacing, which sweeps; or say in OTHERS what else it is"
    assert set(OTHERS) - found == set(), "gone, so to be taken out of OTHERS"


@pytest.mark.parametrize(
    "text",
    [
        "import tempfile",
        "from tempfile import mkdtemp",
        "os.open(x, os.O_CREAT | os.O_EXCL)",
        "work = f'{name}.{os.getpid()}'",
        "work = name + str(os.getpid())",
        "work = secrets.token_hex(8)",
        "work = os.urandom(4).hex()",
        "work = self._entropy.fill(4).hex()",
        "work = uuid.uuid4()",
        "work = path + '.tmp'",
        "work = f'{path}.new'",
    ],
)
def test_the_signs_are_seen(text: str) -> None:
    assert list(signs(ast.parse(text)))


# --- each place that makes them: what it makes once, in a folder

COMPILER = """#!/bin/sh
while [ $# -gt 1 ]; do
    [ "$1" != -o ] || : >"$2"
    shift
done
"""
QEMU = """#!/bin/sh
: >"${2#*dumpdtb=}"
"""


def script(place: Path, text: str) -> str:
    path = place.parent / "script"
    path.write_text(text)
    path.chmod(0o700)
    return str(path)


def put(module: ModuleType, **others: object) -> None:
    """In a process that ends soon."""
    for name, value in others.items():
        setattr(module, name, value)


def replaced(place: Path) -> None:
    from south.replacing import replace

    replace(str(place / "out"), b"x")


def project(place: Path) -> None:
    from ta_loader.cli import main

    folder = place / "greeter"
    if not folder.exists():
        assert main(["new", "greeter", "--dir", str(folder)]) == 0


def key(place: Path) -> None:
    from south.linux_host import linux_host

    linux_host(str(place)).root_of_trust.hardware_unique_key()


def rpmb(place: Path) -> None:
    from normal_world.supplicant.rpmb import EmulatedRpmb

    EmulatedRpmb(str(place / "rpmb")).close()


def libteec(place: Path) -> None:
    from normal_world.libteec import build

    build(place, script(place, COMPILER))


def agent(place: Path) -> None:
    from normal_world.agent.build import build

    build(place, script(place, COMPILER))


def prebuilt_agent(place: Path) -> None:
    from normal_world.agent import prebuilt

    put(prebuilt, compiler=lambda *_: script(place, COMPILER), made_with=lambda _: "a compiler")
    prebuilt.compare("aarch64", write=False)


def plugin_host(place: Path) -> None:
    from normal_world.plugin_host.build import build

    build(place, script(place, COMPILER))


def private_folder(place: Path) -> None:
    from normal_world.run_with.sweeper import PrivateFolder

    PrivateFolder().close()


def fetched(place: Path) -> None:
    from ta_loader.cli.board import get

    put(get, get=lambda *_, **__: b"x")
    get.fetch(None, "/there/file", str(place / "file"))  # type: ignore[arg-type]


def guest_image(place: Path) -> None:
    from boards.guest import image
    from boards.guest.tree import Tree

    tree = Tree()
    # Another one each time, as where the packages were updated in between.
    tree.file("x", Path(script(place, str(time.monotonic_ns()))))
    put(image, guest_tree=lambda *_: tree)
    image.initrd()


class Apt:
    def __init__(self, work: Path, *_: str) -> None:
        work.mkdir(parents=True)

    def update(self) -> None: ...

    def download(self, packages: object, into: Path) -> dict[str, Any]:
        (into / "file").touch()
        return {}


def packages(place: Path) -> None:
    from boards.debian import packages as fetching

    put(fetching, Apt=Apt)
    fetching.root(fetching.PackageSet("a package", ("p",)))


def sysroot(place: Path) -> None:
    from boards.debian import sysroot as made

    (place.parent / "root").mkdir(exist_ok=True)
    (place.parent / "root" / "file").touch()
    put(made, roots=lambda *_: [place.parent / "root"])
    made.kept()


def device_tree(place: Path) -> None:
    from south.qemu_arm.device_tree import dump

    dump([script(place, QEMU), "-M", "virt"])


def shim(place: Path) -> None:
    from south.qemu_arm import build

    put(build, _run=lambda *command: Path(command[-1]).touch())
    build.assemble(build.SOURCE, 0)


def sample(place: Path) -> None:
    from south.platform import Arch
    from ta_loader.samples import build

    def compile_elf(_: object, folder: Path) -> Path:
        (folder / "elf").touch()
        return folder / "elf"

    put(build, compile_elf=compile_elf, _run=lambda *_, **__: None, sign=lambda *_, **__: b"")
    build.build(build.hello_recipe(Arch.AARCH64))


PLACES: dict[Callable[[Path], None], str] = {
    replaced: HOME,
    project: "ta_loader/cli/new.py",
    key: "south/linux_host/root_of_trust.py",
    rpmb: "normal_world/supplicant/rpmb_store.py",
    libteec: "normal_world/libteec.py",
    agent: "normal_world/agent/build.py",
    prebuilt_agent: "normal_world/agent/prebuilt.py",
    plugin_host: "normal_world/plugin_host/build.py",
    private_folder: "normal_world/run_with/sweeper.py",
    fetched: "ta_loader/cli/board/get.py",
    guest_image: "boards/guest/image.py",
    packages: "boards/debian/packages.py",
    sysroot: "boards/debian/sysroot.py",
    device_tree: "south/qemu_arm/device_tree.py",
    shim: "south/qemu_arm/build.py",
    sample: "ta_loader/samples/build.py",
}
MAKERS = {"beside", "locked_folder", "temporary_folder"}


def test_every_place_is_tried() -> None:
    """`replace` and `replacing` do all by themselves; `replaced` tries them."""
    users = {
        name
        for name, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "south.replacing"
        and MAKERS & {each.name for each in node.names}
    }  # fmt: skip
    assert users <= set(PLACES.values())


def left(place: Path) -> list[Path]:
    # Not by Path.rglob, which raises if a folder goes while it looks.
    names = ((folder, name) for folder, folders, files in os.walk(place) for name in (*folders, *files))
    return [Path(folder, name) for folder, name in names if name.endswith(SUFFIX)]


def in_child(place: Path, make: Callable[[Path], None], kill_at: int | None) -> bool:
    """Make it in a process of its own. kill_at: number of the event, of those that Python audits and that happen when
    there is something temporary, at which it is killed. Whether it was. AssertionError: it failed."""
    child = os.fork()
    if not child:
        code = 1
        try:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            tempfile.tempdir = str(place)
            os.environ["LITEBOX_CACHE"] = str(place)
            if kill_at is not None:
                kill_after(place, kill_at)
            make(place)
            code = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return os.WTERMSIG(status) == signal.SIGKILL
    assert status == 0
    return False


def kill_after(place: Path, events: int) -> None:
    own, busy, seen = os.getpid(), False, 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal busy, seen
        if busy or os.getpid() != own:
            return
        busy = True
        if left(place):
            seen += 1
            if seen > events:
                os.kill(own, signal.SIGKILL)
        busy = False

    sys.addaudithook(hook)


@pytest.mark.parametrize("make", PLACES, ids=lambda make: make.__name__)
@pytest.mark.parametrize("kill_at", [0, 3, pytest.param(None, marks=pytest.mark.fuzz)])
def test_the_next_removes_what_a_killed_one_left(
    tmp_path: Path, make: Callable[[Path], None], kill_at: int | None
) -> None:
    for event in range(100) if kill_at is None else [kill_at]:
        place = tmp_path / str(event)
        place.mkdir(mode=0o700)
        killed = in_child(place, make, event)
        there = left(place)
        assert killed or event, "nothing temporary was made"
        if not killed:
            assert not there
            break
        for path in there:
            # A private folder has a process that may just be removing it.
            with contextlib.suppress(FileNotFoundError):
                os.utime(path, (path.stat().st_mtime - 2 * OLD,) * 2)
        in_child(place, make, None)
        assert not left(place)
