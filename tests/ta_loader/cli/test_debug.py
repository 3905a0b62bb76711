"""`--elf`: backtraces with source lines; and the command line on TAs that nobody here wrote."""

from __future__ import annotations

import os
import re
import shutil
import struct
from typing import TYPE_CHECKING

import pytest

from south.platform import Arch
from ta_loader import samples
from ta_loader.samples import build
from ta_loader.symbolise.own_log import symbolise_own

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
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


def of_another_build(elf: bytes) -> bytes:
    """Its code is longer."""
    out, wide = bytearray(elf), elf[4] == 2
    (at,), (count,) = struct.unpack_from("<Q" if wide else "<I", elf, 32 if wide else 28), elf[56 if wide else 44 :][:1]
    for header in range(at, at + count * (56 if wide else 32), 56 if wide else 32):
        out[header + (41 if wide else 21)] ^= 0x10  # p_memsz
    return bytes(out)


@pytest.mark.parametrize("arch", [Arch.AARCH64, Arch.ARM])
def test_the_file_beside_a_ta_is_found(cli: Cli, tmp_path: Path, arch: Arch) -> None:
    """By the TA's UUID, in its folder; one of another build is passed over, and so is what is no file."""
    recipe = build.hello_recipe(arch)
    if not build.available(arch):
        pytest.skip(f"{build.COMPILER[arch]} is not installed")
    image = build.build(recipe, tmp_path)
    (elf,) = tmp_path.glob("*.elf")
    uuid = samples.HELLO[arch]
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / f"{uuid}.ta").write_bytes(image)
    beside = folder / f"{uuid}.elf"
    trust = ("--trust", str(samples.public_key()))

    def lines() -> list[str]:
        by_file = cli("run", str(folder / f"{uuid}.ta"), *trust, "--invoke", "2", "value:1")
        by_uuid = cli("run", str(uuid), "--ta-dir", str(folder), *trust, "--invoke", "2", "value:1")
        assert (by_file.code, by_uuid.code) == (3, 3)
        found = [re.findall(r" at .*hello\.c:(\d+)", done.err) for done in (by_file, by_uuid)]
        assert found[0] == found[1]
        assert "same build" not in by_file.err + by_uuid.err
        return found[0]

    assert not lines()
    shutil.copy(elf, beside)
    assert lines()
    beside.write_bytes(of_another_build(elf.read_bytes()))
    assert not lines()
    beside.write_bytes(b"no ELF file")
    assert not lines()
    beside.unlink()
    os.mkfifo(beside)
    assert not lines()


def test_symbolize_reads_our_own_reports(cli: Cli, tmp_path: Path) -> None:
    arch = Arch.AARCH64
    if not build.available(arch):
        pytest.skip(f"{build.COMPILER[arch]} is not installed")
    image = build.build(build.hello_recipe(arch), tmp_path)
    (elf,) = tmp_path.glob("*.elf")
    uuid = samples.HELLO[arch]
    for name in ("out", "alone"):
        (tmp_path / name).mkdir()
    (tmp_path / "alone" / "x.ta").write_bytes(image)
    trust = ("--trust", str(samples.public_key()))
    bare = cli("run", str(tmp_path / "alone" / "x.ta"), *trust, "--invoke", "2", "value:1").err
    assert "hello.c" not in bare
    named = cli("run", str(tmp_path / "alone" / "x.ta"), *trust, "--elf", str(elf), "--invoke", "2", "value:1").err
    shutil.copy(elf, tmp_path / "out" / f"{uuid}.elf")
    log = tmp_path / "log"
    # As it comes from a console: with something before it, and with other lines in between.
    lines = [
        "[   12.3] boot",
        *(f"[secure] {line}" for line in bare.splitlines()),
        "[   12.5] more",
        *bare.splitlines(),
    ]
    lines.insert(4, "[   12.4] a kernel's line")
    log.write_text("\n".join(lines) + "\n")
    done = cli("symbolize", str(log), "--dir", str(tmp_path / "out"))
    assert done.code == 0
    wanted = re.findall(r"!(\S+ at \S+:\d+)", named)
    assert wanted
    assert re.findall(r"!(\S+ at \S+:\d+)", done.out) == wanted * 2
    assert [re.sub(r" at \S+:\d+$", "", line) for line in done.out.splitlines()] == lines
    stripped = re.sub(r"!\S+", "", bare)
    log.write_text(stripped)
    assert (
        re.findall(r" (\S+\+0x\w+ at \S+:\d+)", cli("symbolize", str(log), "--dir", str(tmp_path / "out")).out)
        == wanted
    )


def test_a_report_that_was_cut_short_holds_nothing_back() -> None:
    frame = f"    #0  0x40000000 {samples.HELLO[Arch.AARCH64]}!f+0x1\n"
    seen: list[str] = []

    def lines() -> Iterator[str]:
        yield frame
        for number in range(100):
            yield f"other {number}\n"
            seen.append(str(number))

    out = symbolise_own(lines(), lambda _: None)
    assert next(out) == frame
    assert len(seen) < 100
    assert len(list(out)) == 100
    assert list(symbolise_own([frame, "x" * 100_000], lambda _: b"no ELF")) == [frame, "x" * 100_000]


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
