"""Files to and from boards: whole or not at all, whatever tools a board has and whatever its line does."""

from __future__ import annotations

import os
import random
import shutil
import stat
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from boards.console import Console
from boards.console_link import link_maker
from boards.console_log import Log
from boards.console_shell import Shell
from boards.errors import TargetError
from boards.shell_files import BLOCK, CHUNK, Report, get, local_file, posix_cksum, put
from boards.testing import FakeLine, Faults
from south.errors import UsageError
from ta_loader.cli import main

if TYPE_CHECKING:
    from collections.abc import Iterator

NEEDED = ("sh", "dd", "wc", "od", "mv", "rm", "chmod", "cat", "cksum")
NOISE = random.Random(1).randbytes(2 * BLOCK + 17)
DATA = {
    "empty": b"",
    "text": b"hello\n",
    "octets": bytes(range(256)) * 3,
    "chunk": NOISE[: CHUNK * 3 // 4],
    "block": NOISE[:BLOCK],
    "blocks": NOISE,
    "zeros": bytes(100_000),
}


@pytest.fixture
def shell() -> Iterator[Shell]:
    with Console("c", link_maker("process:/bin/sh -i"), Log()) as console:
        made = Shell(console)
        made.check(30)
        yield made


@pytest.mark.parametrize("name", DATA)
def test_there_and_back(shell: Shell, tmp_path: Path, name: str) -> None:
    path = tmp_path / "a 'b' \"c\" $d"
    put(shell, DATA[name], str(path))
    assert path.read_bytes() == DATA[name]
    assert get(shell, str(path)) == DATA[name]
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("missing", [["base64"], ["gzip"], ["sha256sum"], ["base64", "gzip", "sha256sum"]])
def test_with_what_a_board_has(shell: Shell, tmp_path: Path, missing: list[str]) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in {*NEEDED, "base64", "gzip", "sha256sum"} - set(missing):
        found = shutil.which(tool)
        assert found is not None
        (tools / tool).symlink_to(found)
    shell.run(f"PATH={tools}", check=True)
    for data in (DATA["octets"], DATA["text"] * 400):
        put(shell, data, str(tmp_path / "f"))
        assert (tmp_path / "f").read_bytes() == data
        assert get(shell, str(tmp_path / "f")) == data


def test_without_a_checksum_nothing_is_sent(shell: Shell, tmp_path: Path) -> None:
    shell.run(f"mkdir {tmp_path}/bin; PATH={tmp_path}/bin")
    with pytest.raises(UsageError, match="neither sha256sum nor cksum"):
        put(shell, b"x", str(tmp_path / "f"))
    assert not (tmp_path / "f").exists()


@pytest.mark.parametrize(
    "faults",
    [
        Faults(drop=0.0003),
        Faults(0.0002, 0.0002, 0.0002),
        pytest.param(Faults(garble=0.0003), marks=pytest.mark.fuzz),
        pytest.param(Faults(double=0.0003), marks=pytest.mark.fuzz),
    ],
)
def test_over_a_bad_line(tmp_path: Path, faults: Faults) -> None:
    data = NOISE[:3000]
    with FakeLine(link_maker("process:/bin/sh -i"), faults, seed=5) as line:
        with Console("bad", line.make, Log()) as console:
            shell = Shell(console, patience=1.0)
            shell.check(60)
            put(shell, data, str(tmp_path / "f"))
            assert (tmp_path / "f").read_bytes() == data
            assert get(shell, str(tmp_path / "f")) == data


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("{tmp}", "it is no file"),
        ("{tmp}/no/f", r"on the board: there is no folder .*/no$"),
        ("/dev/null", "it is no file"),
        ("{tmp}/f/", "is no name of a file"),
        ("", "is no name of a file"),
        ("a\0b", "is no name of a file"),
    ],
)
def test_where_no_file_can_be(shell: Shell, tmp_path: Path, path: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        put(shell, b"x", path.format(tmp=tmp_path))
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("path", "problem"),
    [("{tmp}", "it is a folder"), ("{tmp}/no", "on the board: there is no such file$"), ("/dev/zero", "is no file")],
)
def test_what_cannot_be_fetched(shell: Shell, tmp_path: Path, path: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        get(shell, path.format(tmp=tmp_path))


def test_an_option_is_a_name(shell: Shell, tmp_path: Path) -> None:
    shell.run(f"cd {tmp_path}", check=True)
    put(shell, b"x", "-rf")
    assert get(shell, "-rf") == b"x"


def test_permissions_and_links_stay(shell: Shell, tmp_path: Path) -> None:
    put(shell, b"#!/bin/sh\n", str(tmp_path / "program"), mode=0o751)
    assert stat.S_IMODE((tmp_path / "program").stat().st_mode) == 0o751
    (tmp_path / "link").symlink_to("program")
    put(shell, b"new", str(tmp_path / "link"))
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "program").read_bytes() == b"new"


def test_a_card_that_is_full_keeps_the_old_file(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"old")
    shell.run("trap '' XFSZ; ulimit -f 8", check=True)
    with pytest.raises(TargetError, match="cannot be written"):
        put(shell, NOISE, str(tmp_path / "f"))
    assert (tmp_path / "f").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f"]


@pytest.mark.parametrize("answer", ["", "nonsense", "0 0", "f" * 64 + "  -"])
def test_a_checksum_that_is_not_the_files(shell: Shell, tmp_path: Path, answer: str) -> None:
    (tmp_path / "f").write_bytes(b"old")
    shell.run(f"sha256sum() {{ cat >/dev/null; echo '{answer}'; }}", check=True)
    with pytest.raises(TargetError, match="came damaged"):
        put(shell, b"new", str(tmp_path / "f"))
    assert (tmp_path / "f").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f"]
    with pytest.raises(TargetError, match="changed while it was read"):
        get(shell, str(tmp_path / "f"))


BOMB = "head -c 20000000 /dev/zero | command gzip -c"


@pytest.mark.parametrize("answer", ["echo ====", "echo QUJD", "true", f"{BOMB} | command base64", "seq 1 5000"])
def test_a_block_that_is_none(shell: Shell, tmp_path: Path, answer: str) -> None:
    (tmp_path / "f").write_bytes(b"data")
    shell.run(f"base64() {{ cat >/dev/null; {answer}; }}", check=True)
    with pytest.raises(TargetError, match="what stands at 0 came damaged 10 times"):
        get(shell, str(tmp_path / "f"))


def test_progress_is_shown_if_it_takes_long() -> None:
    said: list[str] = []
    report = Report("f", said.append, patience=0.0, again=0.0)
    for done in (10, 50, 100):
        report(done, 100)
    assert said == ["f: 10 %", "f: 50 %"]
    quick = Report("f", said.append)
    quick(1, 2)
    assert len(said) == 2


def test_posix_cksum() -> None:
    for data in (b"", b"abc", bytes(range(256)) * 3):
        done = subprocess.run(["cksum"], input=data, capture_output=True, check=True)
        assert int(done.stdout.split()[0]) == posix_cksum(data)


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    here.mkdir()
    (here / "f").write_bytes(NOISE)
    (here / "f").chmod(0o640)
    assert main(["board", "put", "host", str(here / "f"), f"{there}/"]) == 0
    assert (there / "f").read_bytes() == NOISE
    assert stat.S_IMODE((there / "f").stat().st_mode) == 0o640
    assert main(["board", "get", "host", str(there / "f"), f"{here}/g"]) == 0
    assert main(["board", "get", "host", str(there / "f"), str(here)]) == 0
    assert (here / "g").read_bytes() == (here / "f").read_bytes() == NOISE
    assert not capsys.readouterr().out
    for words, problem in (
        (["get", "host", f"{there}/none", str(here)], "none on the board: "),
        (["get", "host", f"{there}/f", f"{here}/no/f"], "no folder"),
        (["put", "host", f"{here}/none", str(there)], "No such file"),
        (["put", "host", f"{here}/f", str(there)], "it is no file"),
    ):
        assert main(["board", *words]) == 2, words
        assert problem in capsys.readouterr().err


def test_with_a_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").write_bytes(b"abc\n")
    words = ["board", "run", "host", "--to", "shell", "--report", str(tmp_path / "report")]
    files = ["--put", f"{tmp_path}/in={tmp_path}/sent", "--get", f"{tmp_path}/made={tmp_path}/out"]
    assert main([*words, *files, "--", f"tr a-z A-Z <{tmp_path}/sent >{tmp_path}/made; (exit 7)"]) == 7
    assert (tmp_path / "out").read_bytes() == b"ABC\n"
    assert main([*words, "--get", f"{tmp_path}/none={tmp_path}/out", "--", "true"]) == 2
    assert "none on the board: " in capsys.readouterr().err
    assert (tmp_path / "report/report.html").exists()
    assert main([*words, "--put", "x"]) == 2
    assert "write --put FROM=TO" in capsys.readouterr().err


def test_methods_of_a_shell(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "here").write_bytes(NOISE)
    (tmp_path / "here").chmod(0o700)
    shell.put(tmp_path / "here", f"{tmp_path}/there")
    assert shell.get(f"{tmp_path}/there") == NOISE
    assert stat.S_IMODE((tmp_path / "there").stat().st_mode) == 0o700
    shell.put(b"bytes", f"{tmp_path}/there", mode=0o600)
    assert (tmp_path / "there").read_bytes() == b"bytes"
    with pytest.raises(UsageError, match="none: No such file"):
        shell.put(tmp_path / "none", f"{tmp_path}/there")
    log = "\n".join(str(entry) for entry in shell.console.log.entries())
    assert f"$ (block 1 of 8 of {tmp_path}/there)" in log
    assert "$ printf %s" not in log


SHELLS = ["dash", "bash --norc --noprofile", "busybox ash", "zsh -f", "mksh"]


@pytest.mark.parametrize("program", SHELLS)
def test_a_long_command_goes_as_a_file(program: str) -> None:
    if shutil.which(program.split()[0]) is None:
        pytest.skip(f"{program.split()[0]} is not installed")
    with Console("c", link_maker(f"process:{program} -i"), Log()) as console:
        shell = Shell(console)
        shell.check(30)
        words = " ".join(f"word{i}" for i in range(8000))
        done = shell.run(f"x='{words}'; echo ${{#x}}; ls /tmp/litebox-????????; (exit 5)", 120)
        assert (done.exit_code, done.output.splitlines()[0]) == (5, str(len(words)))
        assert done.command.startswith("x='word0")
        assert shell.run("echo ${#x}").output == f"{len(words)}\n", "it ran in this shell"
        assert not any(path.endswith("\n") for path in shell.run("ls /tmp/litebox-????????").output.splitlines())
        done = shell.run(f"echo before; {'# comment ' * 4000}\n(", 120)
        assert done.exit_code != 0, "a syntax error"
        assert shell.run("echo on").output == "on\n"


@pytest.mark.parametrize("piece", [20, 40, 60])
def test_files_and_long_commands_in_small_pieces(tmp_path: Path, piece: int) -> None:
    with Console("c", link_maker("process:/bin/sh -i"), Log()) as console:
        shell = Shell(console, piece=piece)
        shell.check(30)
        put(shell, NOISE[:5000], str(tmp_path / "f"))
        assert (tmp_path / "f").read_bytes() == NOISE[:5000]
        assert shell.run(f"echo {'x' * 9000} | wc -c", 120).output.strip() == "9001"


def test_a_command_need_not_be_utf_8(shell: Shell, tmp_path: Path) -> None:
    name, word = os.fsdecode(b"\xff\xfe file"), os.fsdecode(b"caf\xe9")
    done = shell.run(f"echo '{word}' >'{tmp_path}/{name}'; od -An -tx1 '{tmp_path}/{name}'", check=True)
    assert done.output.split() == ["63", "61", "66", "e9", "0a"]
    assert get(shell, f"{tmp_path}/{name}") == b"caf\xe9\n"


def test_arguments_that_are_not_utf_8(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "ta_loader.cli", "board", "run", "host", "--to", "shell", "--report", str(tmp_path)]
    command = ["printf", "%s\n", os.fsdecode(b"caf\xe9"), "--", "\u00e9"]
    done = subprocess.run([*words, "--", *command], capture_output=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"caf\\xe9\n--\n\xc3\xa9\n"
    for name in ("report.html", "junit.xml", "merged.log", "console.log"):
        (tmp_path / name).read_bytes().decode("utf-8")
    ET.parse(tmp_path / "junit.xml")


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(UsageError, match="is no regular file"):
            local_file(place)
    with pytest.raises(UsageError, match="Is a directory"):
        local_file(tmp_path)
