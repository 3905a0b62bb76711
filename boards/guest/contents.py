"""What is in the guest's image, and where."""

from __future__ import annotations

import contextlib
import lzma
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from boards.debian import BOOT, BUSYBOX, CLIENT, KIT, LIB_DIR, OPTEE, TA_DIR, roots
from boards.guest.elf import closure, is_aarch64, module_needs
from boards.guest.tree import Tree
from boards.progress import say
from normal_world.agent.build import ensure, place
from normal_world.libteec import BuildError
from south.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

SETS = (BOOT, OPTEE, CLIENT)
MODULES = ("optee", "sdhci-pci")
"""Of the kernel; what they depend on comes along. The second is for an eMMC, which has an RPMB."""
PROGRAMS = ("usr/bin/xtest", "usr/sbin/tee-supplicant")
PLUGINS = "usr/lib/tee-supplicant/plugins"
LOADER = "ld-linux-aarch64.so.1"
STORAGE = "var/lib/optee-client/data/tee"
"""Where Debian's tee-supplicant keeps trusted storage; in the guest's memory."""
TEXTS = {
    "etc/passwd": "root::0:0:root:/root:/bin/sh\nuser::1000:1000:user:/tmp:/bin/sh\n",
    "etc/group": "root:x:0:\nuser:x:1000:\n",
    "etc/hosts": "127.0.0.1 localhost litebox\n::1 localhost\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}
MAX_PROGRAM = 64 << 20
"""Bytes of a user's file that is looked into for the libraries that it loads."""


def guest_tree(files: Sequence[Path] = (), ta_dirs: Sequence[Path] = ()) -> Tree:
    """files: folders laid over the root; ta_dirs: folders of `<uuid>.ta` beside the test TAs. The later ones win.

    UsageError if Debian's packages are not to be had or a folder cannot be used.
    """
    boot, optee, client = roots(*SETS)
    tree = Tree()
    _base(tree, boot)
    _modules(tree, boot)
    _agent(tree)
    programs = {path: (optee / path).read_bytes() for path in PROGRAMS}
    for path in PROGRAMS:
        tree.file(path, optee / path, 0o755)
    for plugin in sorted((optee / PLUGINS).glob("*.plugin")):
        tree.file(f"{PLUGINS}/{plugin.name}", plugin, 0o755)
        programs[plugin.name] = plugin.read_bytes()
    for folder in (optee / TA_DIR, optee / KIT / "ta", *ta_dirs):
        _tas(tree, folder)
    added = [path for folder in files for path in tree.overlay(folder)]
    programs |= {str(path): data for path in added if is_aarch64(data := _start(path))}
    _libraries(tree, programs, {path.name for path in added}, optee, client)
    return tree


def kernel_image(boot: Path) -> Path:
    """UsageError unless there is exactly one."""
    found = sorted((boot / "boot").glob("vmlinuz-*-arm64"))
    if len(found) != 1:
        raise UsageError(f"{boot / 'boot'} holds {len(found)} files vmlinuz-*-arm64; one is needed")
    return found[0]


def _base(tree: Tree, boot: Path) -> None:
    for folder in ("dev", "proc", "sys", "run", "mnt", "usr/bin", "usr/sbin", STORAGE):
        tree.folder(folder)
    tree.folder("root", 0o700)
    tree.folder("tmp", 0o1777)
    tree.folder("var/tmp", 0o1777)
    # The kernel opens it for /init, before there is a devtmpfs.
    tree.device("dev/console", stat.S_IFCHR | 0o600, 5, 1)
    tree.file("usr/bin/busybox", boot / BUSYBOX, 0o755)
    tree.link("usr/bin/sh", "busybox")
    tree.file("init", Path(__file__).with_name("init.sh").read_bytes(), 0o755)
    for path, text in TEXTS.items():
        tree.file(path, text.encode())


def _modules(tree: Tree, boot: Path) -> None:
    """With modules.dep, which only depmod on the running system makes as a rule."""
    release = kernel_image(boot).name.removeprefix("vmlinuz-")
    base = boot / "usr/lib/modules" / release / "kernel"
    needs: dict[str, list[str]] = {}
    queue = list(MODULES)
    while queue:
        name = queue.pop()
        if name in needs:
            continue
        packed = next(iter(base.rglob(f"{name}.ko.xz")), None)
        if packed is None:
            raise UsageError(f"{base} has no module {name}.ko.xz")
        try:
            data = lzma.decompress(packed.read_bytes())
        except lzma.LZMAError as problem:
            raise UsageError(f"{packed}: {problem}") from None
        tree.file(f"usr/lib/modules/{release}/{name}.ko", data)
        needs[name] = module_needs(data, str(packed))
        queue += needs[name]
    lines = [f"{name}.ko: {' '.join(f'{n}.ko' for n in _all_needs(name, needs))}\n" for name in sorted(needs)]
    tree.file(f"usr/lib/modules/{release}/modules.dep", "".join(lines).encode())


def _agent(tree: Tree) -> None:
    """The TEE agent, which needs what xtest needs. Without a compiler there is none; a board test will say so."""
    with contextlib.suppress(BuildError):
        tree.file(place().removeprefix("/"), ensure("aarch64"), 0o755)


def _all_needs(name: str, needs: dict[str, list[str]]) -> list[str]:
    """As modules.dep has them: also what the needed ones need, the deepest last."""
    out: list[str] = []
    queue = list(needs[name])
    while queue:
        other = queue.pop(0)
        if other not in out:
            out.append(other)
            queue += needs[other]
    return out


def _tas(tree: Tree, folder: Path) -> None:
    try:
        names = sorted(path.name for path in folder.iterdir() if path.suffix == ".ta")
    except OSError as problem:
        raise UsageError(f"{folder}: {problem.strerror}") from None
    if not names:
        raise UsageError(f"{folder}: holds no file <uuid>.ta")
    for name in names:
        tree.file(f"{TA_DIR}/{name}", folder / name)


def _start(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_PROGRAM)
    except OSError as problem:
        raise UsageError(f"{path}: {problem.strerror}") from None


def _libraries(tree: Tree, programs: dict[str, bytes], own: set[str], optee: Path, client: Path) -> None:
    """own: names of the user's files, which may be libraries that Debian has, too."""
    known = {path.name: path for base in (optee, client) for path in (base / LIB_DIR).glob("*.so*")}
    found, missing = closure(programs, known)
    for name, path in found.items():
        if name not in own:
            # Under the name that is asked for, without the links that lead to the versioned file.
            tree.file(f"{LIB_DIR}/{name}", path.resolve(), 0o755)
    tree.link(f"usr/lib/{LOADER}", f"{LIB_DIR.name}/{LOADER}")
    for name, who in missing.items():
        if name not in own:
            say(f"{who} needs {name}, which neither your files nor Debian's client libraries hold")
