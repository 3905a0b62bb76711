"""The house's rules that a reader cannot see at a glance: imports run downwards, and every folder is a package."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

TOP = "ta_loader.cli"
MAY_IMPORT = {
    "south": set(),
    "north": set(),
    "tee": {"north"},
    "ta_loader": {"tee", "north", "south"},
    # Its host/ is the composition root: it puts a platform, the secure world and the loader together.
    "normal_world": {"ta_loader", "tee", "north", "south"},
    "boards": {"normal_world", "ta_loader", "tee", "north", "south"},
    TOP: {"boards", "normal_world", "ta_loader", "tee", "north", "south"},
}
"""What a layer may import beside itself and `ANYONES`."""

ANYONES = ("tee.abi", "north.linux.abi", "south.platform", "south.errors")
PACKAGES = [layer for layer in MAY_IMPORT if "." not in layer]


def imports(path: Path) -> set[str]:
    """Dotted names that a file imports, also inside functions and under TYPE_CHECKING."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def within(name: str, allowed: str) -> bool:
    return name == allowed or name.startswith(allowed + ".")


def layer_of(name: str) -> str | None:
    """Of a module, or of something in one; None: not ours."""
    if within(name, TOP):
        return TOP
    first = name.partition(".")[0]
    return first if first in MAY_IMPORT else None


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("layer", MAY_IMPORT)
def test_imports_run_downwards(layer: str) -> None:
    """So nobody imports a command, or what commands alone are made of."""
    files = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    files = [path for path in files if layer_of(module_of(path)) == layer]
    assert files
    wrong: list[str] = []
    for path in files:
        for name in imports(path):
            at = layer_of(name)
            if at not in (None, layer, *MAY_IMPORT[layer]) and not any(within(name, anyones) for anyones in ANYONES):
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong, "\n".join(wrong)


ABIS = ("tee/abi", "north/elf/abi.py", "north/linux/abi", "south/platform.py", "south/errors.py")


@pytest.mark.parametrize("abi", ABIS)
def test_abi_imports_nothing_of_ours(abi: str) -> None:
    place = ROOT / abi
    files = [place] if place.is_file() else sorted(place.rglob("*.py"))
    own = abi.removesuffix(".py").replace("/", ".")
    for path in files:
        ours = {n for n in imports(path) if layer_of(n) and not within(n, own)}
        assert not ours, f"{path.relative_to(ROOT)} imports {sorted(ours)}"


def compared(path: Path) -> set[int]:
    """Lines that compare with one architecture."""
    lines: set[int] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            named = [side for side in sides if isinstance(side, ast.Attribute) and isinstance(side.value, ast.Name)]
            if any(isinstance(side.value, ast.Name) and side.value.id == "Arch" for side in named):
                lines.add(node.lineno)
    return lines


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_nothing_asks_which_architecture_it_is(package: str) -> None:
    """A chain of comparisons takes the architecture that it does not name for its last one: facts stand in rows."""
    wrong = [f"{path.relative_to(ROOT)}:{n}" for path in (ROOT / package).rglob("*.py") for n in compared(path)]
    assert not wrong, "\n".join(sorted(wrong))


def test_every_folder_with_python_is_a_package() -> None:
    folders = {path.parent for package in (*PACKAGES, "tests") for path in (ROOT / package).rglob("*.py")}
    assert not [str(folder.relative_to(ROOT)) for folder in sorted(folders) if not (folder / "__init__.py").is_file()]


def test_top_level_packages_say_what_they_are_for() -> None:
    for package in PACKAGES:
        module = ast.parse((ROOT / package / "__init__.py").read_text())
        assert ast.get_docstring(module), package
