"""Examples of the pages that need OP-TEE's kit, its test TAs and client programs (Debian's) print what is shown."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.test_documentation import PAGES, ROOT, execute, fenced, missing, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

TOOL = f"{sys.executable} -m ta_loader.cli"
LINKS = re.compile(r"(?<![\w/-])(?:tas|kit|root)\b")
"""What `litebox-ta kit --link .` leaves in a folder."""
ELSEWHERE = ("litebox-ta kit", "litebox-ta board", "litebox-ta new", "pkcs11-tool", "--plugin-dir", "client.py")
"""Commands that fetch, boot boards, make projects, need OpenSC or files that a page describes: tried by other tests."""


def examples() -> Iterator[tuple[Path, str, list[str]]]:
    for path in PAGES:
        for command, output in shown(path):
            needs_kit = command.startswith("litebox-ta") and LINKS.search(command)
            if needs_kit and output and not any(word in command for word in ELSEWHERE):
                yield path, command, output


@pytest.fixture
def desk(debian_tas: Path, debian_kit: Path, tmp_path: Path) -> Path:
    (tmp_path / "tas").symlink_to(debian_tas)
    (tmp_path / "kit").symlink_to(debian_kit)
    return tmp_path


@pytest.mark.parametrize(
    ("command", "output"),
    [
        pytest.param(command, output, id=f"{path.name}: {' '.join(command.split()[1:])[:60]}")
        for path, command, output in examples()
    ],
)
def test_examples_with_the_kit(command: str, output: list[str], desk: Path, request: pytest.FixtureRequest) -> None:
    if re.search(r"\broot\b", command):
        (desk / "root").symlink_to(request.getfixturevalue("root"))
    printed = execute(["sh", "-c", command.replace("litebox-ta", TOOL, 1)], desk)
    assert not missing(output, printed), printed


def test_the_plugin_in_c(desk: Path) -> None:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler is installed")
    page = ROOT / "docs/supplicant.md"
    (desk / "reverse.c").write_text(fenced(page, "c")[0])
    (desk / "client.py").write_text(fenced(page, "python")[0])
    (desk / "plugins").mkdir()
    commands = [(command, output) for command, output in shown(page)][:3]
    script = "\n".join(command for command, _ in commands)
    script = script.replace("litebox-ta", TOOL).replace("$(python ", f"$({sys.executable} ")
    script = script.replace("-- python ", f"-- {sys.executable} ")
    printed = execute(["sh", "-ec", script], desk)
    assert commands[-1][1]
    assert not missing(commands[-1][1], printed), printed


def test_the_plugin_in_python(desk: Path) -> None:
    page = ROOT / "docs/supplicant.md"
    (desk / "notes.py").write_text(next(block for block in fenced(page, "python") if "class Notes" in block))
    entry_point = re.search(r'^\[project.entry-points."(.*)"\]\n(\S+) = "(.*)"$', fenced(page, "toml")[0], re.M)
    assert entry_point
    installed = desk / "notes_plugin-1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: notes-plugin\nVersion: 1\n")
    group, uuid, place = entry_point.groups()
    (installed / "entry_points.txt").write_text(f"[{group}]\n{uuid} = {place}\n")
    client = fenced(page, "python")[0]
    start = client[: client.index("    data, first")]
    (desk / "client.py").write_text(
        start
        + """\
    session.invoke(1, bytearray(b"remember me"), Value.output())
    note = Memref.output(11)
    session.invoke(2, note, Value.output())
    print(bytes(note))
"""
    )
    command, output = list(shown(page))[-1]
    line = f"PYTHONPATH={desk}{os.pathsep}{ROOT} {command}"
    line = line.replace("litebox-ta", TOOL).replace("-- python ", f"-- {sys.executable} ")
    printed = execute(["sh", "-ec", line], desk)
    assert output
    assert not missing(output, printed), printed
