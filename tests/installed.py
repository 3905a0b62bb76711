"""Checks an installed wheel: `python -I tests/installed.py CHECKOUT`, with the installation's own interpreter.

Every module of the checkout is there and imports, none comes from the checkout, `litebox-ta` runs the sample TA, and a
supplicant's plugin works.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

PACKAGES = ("south", "north", "tee", "ta_loader", "normal_world", "boards")
BUILD_ONLY = {"tee/build_native.py", "south/engine/build_unicorn.py", "ta_loader/samples/build.py"}
"""Run from a checkout; shipped, but they need what an installation need not have."""


def modules(base: Path) -> set[str]:
    """Paths of our Python files under `base`."""
    return {str(p.relative_to(base)) for package in PACKAGES for p in (base / package).rglob("*.py")}


def main(checkout: Path) -> None:
    site = Path(sysconfig.get_path("platlib"))
    lost = modules(checkout) - modules(site)
    assert not lost, f"the wheel lacks {sorted(lost)}"
    for name in sorted(modules(site) - BUILD_ONLY):
        module = importlib.import_module(name.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
        origin = Path(str(module.__file__))
        assert origin.is_relative_to(site), f"{name} was imported from {origin}"

    from ta_loader import samples
    from ta_loader.machines import TA_ARCHES

    for arch in TA_ARCHES:
        command = [
            str(Path(sysconfig.get_path("scripts")) / "litebox-ta"),
            *("run", "--trust", str(samples.public_key()), str(samples.hello(arch)), "--invoke", "0", "value:41"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, done.stderr
        assert "42" in done.stdout or "0x2a" in done.stdout, done.stdout
    try_plugin()
    try_libteec(site)
    try_docs(checkout)
    print(f"{len(modules(site))} modules import from {site}; litebox-ta runs the sample; a plugin answers")


def try_plugin() -> None:
    """The sources of the plugins' program and its headers are there: it is compiled, and runs the tests' plugin."""
    from normal_world.libteec import INCLUDE, compiler
    from normal_world.supplicant.plugins import HostPlugins

    source = Path(__file__).resolve().parent / "normal_world" / "csrc" / "plugin.c"
    with tempfile.TemporaryDirectory() as folder:
        target = str(Path(folder) / "test.plugin")
        subprocess.run([compiler(), "-shared", "-fPIC", f"-I{INCLUDE}", str(source), "-o", target], check=True)
        plugins = HostPlugins([folder])
        try:
            data = bytearray(b"abc")
            assert plugins.invoke(plugins.uuids[0], 1, 1, data, lambda: False) == (0, 3)
            assert data == b"bcd"
        finally:
            plugins.close()


def try_libteec(site: Path) -> None:
    """The library is there already, and what pkg-config reads beside it names the headers."""
    from normal_world import libteec

    library = libteec.find()
    assert library is not None, "no libteec in the wheel"
    assert library.is_relative_to(site)
    text = (library.parent / libteec.PKG_CONFIG / "libteec.pc").read_text()
    assert "includedir=${pcfiledir}/../../../include\n" in text
    assert (library.parent / libteec.PKG_CONFIG / "../../../include/tee_client_api.h").is_file()


def try_docs(checkout: Path) -> None:
    """`litebox-ta docs` has every page of the checkout."""
    from ta_loader.cli.docs import folder, pages

    assert not Path(folder()).is_relative_to(checkout)
    for page in (checkout / "docs").glob("*.md"):
        assert Path(pages()[page.stem]).read_text() == page.read_text()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
