"""Paths on command lines, of every command that is declared: none is empty, none written that cannot be."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from south.platform import Arch
from ta_loader import samples
from ta_loader.cli.dispatch import find, names
from ta_loader.cli.options import TEXT, is_path
from ta_loader.container.verify import open_container
from ta_loader.trust import TrustStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ta_loader.cli.options import Command, Option
    from tests.ta_loader.cli.conftest import Done

    Cli = Callable[..., Done]

COMMANDS = [command for name in names() for command in (find(name), *find(name).actions().values())]
OPTIONS = [(command, option) for command in COMMANDS for option in command.options if option.metavar]
FILLED = [pair for pair in OPTIONS if not pair[1].blank and pair[1].metavar != TEXT]
BLANK = {"board guest --files", "board guest --ta-dir", "qemu-arm --emmc"}
"""Which the shipped boards hand on as they are."""


def label(command: Command, option: Option) -> str:
    return f"{command.name} {option.key}"


def words(command: Command) -> list[str]:
    """Enough of them."""
    return ["x" for word in command.words if not word.startswith("[")]


def test_the_list_is_whole() -> None:
    assert {label(*pair) for pair in OPTIONS if pair[1].blank} == BLANK
    assert {label(*pair) for pair in OPTIONS if pair[1].metavar == TEXT} == {"qemu-arm --append"}
    assert len([pair for pair in OPTIONS if is_path(pair[1].metavar)]) > 50


@pytest.mark.parametrize("pair", FILLED, ids=lambda p: label(*p))
def test_no_value_is_empty(cli: Cli, pair: tuple[Command, Option]) -> None:
    command, option = pair
    for form in ([option.key, ""], [f"{option.key}="]):
        done = cli(*command.name.split(), *words(command), *form)
        assert done.code == 2
        assert f"{option.key} needs {option.metavar}, and not an empty one" in done.err


@pytest.mark.parametrize(
    ("command", "at"),
    [(command, at) for command in COMMANDS for at, word in enumerate(command.words) if is_path(word)],
)
def test_no_word_for_a_file_is_empty(cli: Cli, command: Command, at: int) -> None:
    given = words(command) or ["x"]
    given[at] = ""
    done = cli(*command.name.split(), *given)
    assert (done.code, "and not an empty one" in done.err) == (2, True)


@pytest.mark.parametrize("action", [["get", "TA", "a"], ["put", "TA", "a"], ["export"]])
def test_no_file_of_storage_is_empty(cli: Cli, action: list[str]) -> None:
    done = cli("storage", *action, "")
    assert (done.code, "is empty" in done.err) == (2, True)


@pytest.mark.parametrize("pair", [p for p in OPTIONS if p[1].out], ids=lambda p: label(*p))
def test_outputs_are_looked_at_first(cli: Cli, pair: tuple[Command, Option], tmp_path: Path) -> None:
    """Before anything else that may be wrong with the command line, and so before anything is done."""
    command, option = pair
    bad = ["/dev/null/x", "/dev/zero"] if option.metavar == "DIR" else ["/dev/null/x", str(tmp_path)]
    for path in bad:
        done = cli(*command.name.split(), *words(command), option.key, path)
        assert done.code == 2
        assert done.err.startswith(f"litebox-ta: {option.key} {path}: ")


@pytest.mark.parametrize("option", ["--html", "--junit", "--report"])
def test_reports_of_boards_are_looked_at_first(cli: Cli, option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "execv", lambda *_: pytest.fail("pytest was started"))
    done = cli("board", "test", "host", option, "/dev/null/x/y")
    assert (done.code, done.err.startswith(f"litebox-ta: {option} /dev/null")) == (2, True)


def test_files_from_boards_have_a_place(cli: Cli) -> None:
    for line in (["get", "host", "/etc/passwd", "/no/where"], ["run", "host", "--get", "/etc/passwd=/no/where"]):
        done = cli("board", *line)
        assert (done.code, "/no/where: no folder /no" in done.err) == (2, True)


@pytest.fixture
def elf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "hello.elf"
    path.write_bytes(bytes(open_container(samples.hello().read_bytes(), TrustStore([samples.public_key_file()])).elf))
    return path


@pytest.mark.parametrize("kind", ["sign", "encrypt"])
@pytest.mark.parametrize("way", ["name", "link", "hard", "default", "key"])
def test_an_image_replaces_nothing_that_it_is_made_of(cli: Cli, elf: Path, kind: str, way: str) -> None:
    key = elf.with_name("key.pem")
    key.write_bytes(samples.private_key().read_bytes())
    source, out = "hello.elf", {"name": "./hello.elf", "key": "key.pem"}.get(way, way)
    if way == "link":
        elf.with_name("link").symlink_to(elf)
    elif way == "hard":
        os.link(elf, "hard")
    elif way == "default":
        source = f"{samples.HELLO[Arch.AARCH64]}.ta"
        elf.rename(source)
    before = {path: path.read_bytes() for path in elf.parent.iterdir() if path.is_file()}
    options = [] if way == "default" else ["--out", out]
    options += ["--enc-key", "00" * 32] if kind == "encrypt" else []
    done = cli(kind, "--key", "key.pem", *options, source)
    assert done.code == 2
    assert "the same file as" in done.err
    assert {path: path.read_bytes() for path in elf.parent.iterdir() if path.is_file()} == before


def test_results_replace_no_input_nor_result(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.ta").write_bytes(samples.hello().read_bytes())
    (tmp_path / "a.toml").write_text('[[step]]\nopen = "hello"\n')
    hashing = ["--invoke", "1", "in:str:abc", "out:32"]
    lines = (
        ["run", "my.ta", *hashing, "--out", "my.ta"],
        ["run", "hello", *hashing, "--out", "x", "--trace-out", "x"],
        ["run", "hello", *hashing, *hashing, "--out", "x", "--out", "./x"],
        ["run", "--script", "a.toml", "--junit", "a.toml"],
        ["run", "--script", "a.toml", "--trace-out", "t", "--junit", "t"],
    )
    for line in lines:
        done = cli(*line)
        assert (done.code, "the same file as" in done.err) == (2, True), line
    assert sorted(os.listdir()) == ["a.toml", "my.ta"]
    # A sample's name is no file; devices keep nothing.
    assert cli("run", "hello", *hashing, "--out", "hello").code == 0
    assert cli("run", "hello", *hashing, *hashing, "--out", "/dev/null", "--out", "/dev/null").code == 0
    step = '[[step]]\ninvoke = 1\nparams = ["in:str:a", "out:32"]\nsave = { 1 = "b.toml" }'
    (tmp_path / "b.toml").write_text('[[step]]\nopen = "hello"\n' + step)
    done = cli("run", "--script", "b.toml")
    assert (done.code, "b.toml: step 2 (invoke 1): save b.toml: the same file" in done.err) == (2, True)
