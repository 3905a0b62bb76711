"""`--elf`: backtraces with source lines; and the command line on TAs that nobody here wrote."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from south.platform import Arch
from ta_loader import samples
from ta_loader.samples import build

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.ta_loader.cli.conftest import Done

    Cli = Callable[..., Done]

OS_TEST = "5b9e0e40-2636-11e1-ad9e-0002a5d5c51b"
CRYPT = "cb3e5ba0-adf1-11e0-998b-0002a5d5c51b"


@pytest.mark.parametrize(("name", "arch"), [("hello", Arch.AARCH64), ("hello-arm", Arch.ARM)])
def test_source_lines(cli: Cli, tmp_path: Path, name: str, arch: Arch) -> None:
    recipe = build.hello_recipe(arch)
    if not build.available(arch):
        pytest.skip(f"{build.COMPILER[arch]} is not installed")
    image = build.build(recipe, tmp_path)
    (elf,) = tmp_path.glob("*.elf")
    (tmp_path / "x.ta").write_bytes(image)
    trust = ("--trust", str(samples.public_key()))
    done = cli("run", str(tmp_path / "x.ta"), *trust, "--elf", str(elf), "--invoke", "2", "value:1")
    assert done.code == 3
    source = (build.SOURCES / "hello.c").read_text().splitlines()
    match = re.search(r"!ta_invoke\+0x\w+ at .*hello\.c:(\d+)", done.err)
    assert match, done.err
    nearby = source[int(match[1]) - 3 : int(match[1]) + 1]
    assert any("ta_panic" in line for line in nearby), nearby
    other = cli("run", "hello-arm" if name == "hello" else "hello", "--elf", str(elf), "--invoke", "2", "value:1")
    assert other.code == 3
    assert "not of the same build" in other.err


def test_real_tas(cli: Cli, debian_tas: Path, debian_kit: Path) -> None:
    where = ("--ta-dir", str(debian_tas), "--trust", str(debian_kit))
    assert cli("run", OS_TEST, *where, "--invoke", "5", "in:zero:1K").code == 0  # TA_OS_TEST_CMD_BASIC
    assert cli("run", str(debian_tas / f"{CRYPT}.ta"), "--trust", str(debian_kit)).code == 0
    panic = cli("run", OS_TEST, *where, "--invoke", "6")  # TA_OS_TEST_CMD_PANIC
    assert panic.code == 3
    assert "panicked with code 0x0000beef" in panic.err
    assert re.search(r"#0 .* ffd2bded-ab7d-4988-95ee-e4962fff7154!__utee_panic\+0x", panic.err)  # in a library
    assert re.search(rf"#\d+ +0x\w+ {OS_TEST}", panic.err)
    done = cli("verify", "--trust", str(debian_kit), *(str(path) for path in sorted(debian_tas.glob("*.ta"))))
    assert done.code == 0, done.out
    assert "subkey f04fa996-148a-453c-b037-1dcfbad120a6" in done.out
    info = cli("info", "--json", str(debian_tas / f"{OS_TEST}.ta")).json["elf"]
    assert info["dependencies"] == ["ffd2bded-ab7d-4988-95ee-e4962fff7154"]  # as readelf -d says
