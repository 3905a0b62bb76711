"""Completion scripts in the shells that they are for, and manual pages through groff."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from south.errors import UsageError
from ta_loader.cli import completion, man
from ta_loader.cli.tree import nodes
from tests.threads import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TABLE = list(nodes())
TOPS = [node.words[0] for node in TABLE if len(node.words) == 1]
CASES = {
    ("ver",): {"verify"},
    ("run", "he"): {"hello", "hello-arm"},
    ("run", "--tra"): {"--trace", "--trace-out"},
    ("board", "gu"): {"guest"},
    ("board", "guest", "k"): {"kernel", "key"},
    ("board", "run", "--sym"): {"--symbols"},
    ("storage", "ex"): {"export"},
    ("completion", "f"): {"fish"},
    ("verify", "--trust", "my"): {"my key.pem"},
    ("verify", "my"): {"my key.pem"},
}
BASH = """
source "$1"; shift
COMP_WORDS=(litebox-ta "$@"); COMP_CWORD=$#
_litebox_ta
printf '%s\\n' "${COMPREPLY[@]}"
"""


def need(tool: str) -> str:
    found = shutil.which(tool)
    if found is None:
        pytest.skip(f"{tool} is not installed")
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in completion.SHELLS.items():
        (tmp_path / name).write_text(text(TABLE))
    (tmp_path / "my key.pem").touch()
    return tmp_path


def output(command: Sequence[str], folder: Path) -> set[str]:
    environment = {**os.environ, "HOME": str(folder), "TERM": "dumb"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return {line.partition("\t")[0].rstrip("/") for line in done.stdout.splitlines() if line}


@pytest.mark.parametrize("words", CASES, ids=" ".join)
def test_bash(folder: Path, words: tuple[str, ...]) -> None:
    assert output([need("bash"), "--norc", "-c", BASH, "bash", str(folder / "bash"), *words], folder) == CASES[words]


@pytest.mark.parametrize("words", CASES, ids=" ".join)
def test_fish(folder: Path, words: tuple[str, ...]) -> None:
    line = " ".join(("litebox-ta", *words))
    found = output([need("fish"), "--no-config", "-c", f"source {folder}/fish; complete -C '{line}'"], folder)
    assert {name.replace("\\ ", " ") for name in found} == CASES[words]


def test_zsh(folder: Path) -> None:
    """Loads it as zsh does, and looks for a function of each command; completing needs a terminal."""
    (folder / "_litebox-ta").write_text((folder / "zsh").read_text())
    code = (
        f"fpath=({folder} $fpath); autoload -Uz compinit; compinit -u -d {folder}/dump; "
        "whence -w _litebox-ta >/dev/null; autoload -Uz +X _litebox-ta; source $1; print -l ${(k)functions}"
    )
    found = output([need("zsh"), "-f", "-c", code, "zsh", str(folder / "zsh")], folder)
    assert {"_litebox_ta_" + "_".join(node.words).replace("-", "_") for node in TABLE} <= found


def test_a_shell_that_is_unknown() -> None:
    with pytest.raises(UsageError, match="there are bash, zsh, fish"):
        completion.COMMAND.main(["tcsh"])


def test_every_command_has_a_page() -> None:
    names = {name for name, _ in man.pages()}
    assert names == {"litebox-ta.1", *(f"litebox-ta-{'-'.join(node.words)}.1" for node in TABLE)}


def test_pages_are_sound(tmp_path: Path) -> None:
    groff = need("groff")
    man.COMMAND.main(["--out", str(tmp_path)])
    for path in sorted(tmp_path.iterdir()):
        done = subprocess.run(
            [groff, "-man", "-Tutf8", "-ww", "-P-cbou", str(path)], capture_output=True, text=True, timeout=PATIENCE
        )
        assert done.returncode == 0
        assert not done.stderr, done.stderr
        assert "NAME" in done.stdout


def test_a_page_holds_every_option() -> None:
    for node in TABLE:
        text = man.page(node, "1.0").replace("\\-", "-")
        for option in node.command.options:
            assert f".B {option.names}" in text


@pytest.mark.parametrize("text", [".SH x", "'br", "a\\b", "x\n.fi\n'y", "-`'"])
def test_no_text_is_a_request(text: str) -> None:
    for line in man.escaped(text).split("\n"):
        assert not line.startswith((".", "'"))


def test_one_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert man.COMMAND.main(["board", "run"]) == 0
    assert capsys.readouterr().out.startswith(".TH LITEBOX\\-TA\\-BOARD\\-RUN 1 ")
    with pytest.raises(UsageError, match="no command rnu"):
        man.COMMAND.main(["rnu"])
