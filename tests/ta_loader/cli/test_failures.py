"""How commands fail: the same object with `--json` everywhere, on standard error the same words, one hint."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ta_loader import samples
from ta_loader.cli.dispatch import find, names

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ta_loader.cli.options import Command
    from tests.ta_loader.cli.conftest import Done

    Cli = Callable[..., Done]

COMMANDS: dict[str, Command] = {}
for name in names():
    COMMANDS[name] = find(name)
    COMMANDS.update({action.name: action for action in find(name).actions().values()})
WITH_JSON = [name for name, command in COMMANDS.items() if any(option.key == "--json" for option in command.options)]


@pytest.mark.parametrize("name", WITH_JSON)
def test_usage_errors_as_json(cli: Cli, name: str) -> None:
    done = cli(*name.split(), "--json", "--nonsense")
    problem = f"{name} has no option --nonsense"
    assert done.code == 2
    assert done.json["exit"] == 2
    assert done.json["error"]["kind"] == "usage"
    assert done.json["error"]["message"].startswith(problem)
    assert done.err.startswith(f"litebox-ta: {problem}")


@pytest.mark.parametrize(
    ("words", "code", "kind"),
    [
        (["run", "nothing.ta"], 2, "usage"),
        (["run", "RUBBISH"], 4, "refused"),
        (["run", "hello", "--junit", "x"], 2, "usage"),
        (["run", "hello", "--trust", "nothing.pem"], 2, "usage"),
        (["run", "hello", "--invoke", "1", "in:@nothing"], 2, "usage"),
        (["run", "--script", "nothing.toml"], 2, "usage"),
        (["info", "nothing.ta"], 2, "usage"),
        (["verify", "nothing.ta"], 2, "usage"),
        (["sign", "nothing.elf"], 2, "usage"),
        (["demo", "--timeout"], 2, "usage"),
        (["kit", "nothing"], 2, "usage"),
        (["status", "--socket", "nothing"], 2, None),
        (["storage", "ls", "--state", "nothing"], 2, "usage"),
        (["board", "info", "nothing"], 2, "usage"),
        (["board", "run", "nothing", "--", "true"], 2, "usage"),
    ],
)
def test_failures_as_json(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int, kind: str | None
) -> None:
    """One object each, whose message is what standard error has."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "RUBBISH").write_bytes(samples.hello().read_bytes()[:-1])
    at = words.index("--") if "--" in words else len(words)
    done = cli(*words[:at], "--json", *words[at:])
    assert (done.code, done.json["exit"]) == (code, code)
    assert kind in (None, done.json["error"]["kind"])
    message = done.json["error"]["message"]
    assert message
    assert done.err.startswith(f"litebox-ta: {message}")
    # Without --json, standard output has nothing of it.
    done = cli(*words)
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith(f"litebox-ta: {message}")


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_one_hint_of_the_commands_own(cli: Cli, name: str) -> None:
    done = cli(*name.split(), "--nonsense")
    assert done.code == 2
    if name != "board":
        assert done.err.count("--help shows more)") == 1
        assert f"(litebox-ta {name} --help shows more)" in done.err


@pytest.mark.parametrize("words", [["nonsense"], ["nonsense", "--json"], ["board", "nonsense"], ["--json"]])
def test_what_is_no_command(cli: Cli, words: list[str]) -> None:
    done = cli(*words)
    assert (done.code, done.out) == (2, "")
    assert "--help shows more)" in done.err
