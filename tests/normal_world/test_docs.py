"""The programs in the documents of clients and plugins do what the documents say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from normal_world.libteec import INCLUDE
from normal_world.supplicant.plugins import HostPlugins

if TYPE_CHECKING:
    import pytest

DOCS = Path(__file__).parents[2] / "docs"


def blocks(document: str, language: str) -> list[str]:
    text = (DOCS / document).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    [program] = blocks("python.md", "python")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert not done.returncode, done.stderr
    text = (DOCS / "python.md").read_text()
    assert "".join(f"    {line}\n" for line in done.stdout.splitlines()) in text


def test_pytest(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(blocks("pytest.md", "toml")[0])
    tests, override = blocks("pytest.md", "python")
    (tmp_path / "test_hello.py").write_text(tests)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q"]
    # With CI set pytest writes its summary's lines out.
    environment = {
        name: text for name, text in os.environ.items() if name not in ("CI", "BUILD_NUMBER", "PYTEST_ADDOPTS")
    }
    environment["COLUMNS"] = "80"
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    shown = re.sub(r" in [\d.]+s|0x\w+", "", done.stdout).splitlines()
    told = [line[4:] for line in re.sub(r" in [\d.]+s|0x\w+", "", (DOCS / "pytest.md").read_text()).splitlines()]
    first = told.index("....F                                                                    [100%]")
    last = told.index("1 failed, 4 passed")
    missing = [line for line in told[first : last + 1] if line.strip() != "[...]" and line not in shown]
    assert not missing, done.stdout
    compile(override, "pytest.md", "exec")


def test_a_c_plugin(tmp_path: Path) -> None:
    [source] = blocks("supplicant.md", "c")
    (tmp_path / "reverse.c").write_text(source)
    (tmp_path / "plugins").mkdir()
    target = tmp_path / "plugins" / "reverse.plugin"
    command = ["cc", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", f"-I{INCLUDE}"]
    subprocess.run([*command, tmp_path / "reverse.c", "-o", target], check=True, timeout=60)
    told: list[str] = []
    plugins = HostPlugins([str(tmp_path / "plugins")], tell=told.append)
    try:
        data = bytearray(b"0123456789")
        uuid = UUID("f07bfc66-958c-4a15-99c0-260e4e7375dd")
        assert plugins.invoke(uuid, 2, 0, data, lambda: False) == (0, 10)
        assert data == b"9876543210"
        assert plugins.invoke(uuid, 0, 0, bytearray(), lambda: False) == (0, 0)
    finally:
        plugins.close()
    assert not told


def test_a_python_plugin() -> None:
    names: dict[str, type] = {}
    exec(blocks("supplicant.md", "python")[1], names)
    notes = names["Notes"]()
    assert notes.invoke(2, 0, memoryview(bytearray(b"remember me"))) == (0, 0)
    back = bytearray(50)
    assert notes.invoke(3, 0, memoryview(back)) == (0, 11)
    assert back[:11] == b"remember me"
