"""Where subcommands come from: our own by name, others' by entry point."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from ta_loader import cli as package
from ta_loader import samples
from ta_loader.cli import board, dispatch

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from tests.ta_loader.cli.conftest import Done

    Cli = Callable[..., Done]

HERE = Path(dispatch.__file__).parent


def test_every_command_is_found() -> None:
    """A module with a COMMAND stands in a table."""
    commands = {path for path in HERE.rglob("*.py") if re.search(r"^COMMAND\b", path.read_text(), re.M)}
    names = (".".join(path.relative_to(HERE).with_suffix("").parts).removesuffix(".__init__") for path in commands)
    assert {f"{package.__name__}.{name}" for name in names} == {*dispatch.BUILT_IN.values(), *board.ACTIONS.values()}


def test_a_command_of_another_distribution(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As pip leaves it. What we have ourselves stays ours."""
    (tmp_path / "others_command.py").write_text(
        "from ta_loader.cli import Command, Option\n"
        "def run(arguments):\n"
        "    print('hello', arguments.one('--name'))\n"
        "    return 7\n"
        "COMMAND = Command('greet', 'Greet somebody.', (), (Option('--name', 'NAME', 'whom'),), run)\n"
    )
    info = tmp_path / "others_command-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: others-command\nVersion: 1\n")
    points = "".join(f"{name} = others_command:COMMAND\n" for name in ("greet", "info"))
    (info / "entry_points.txt").write_text(f"[{dispatch.GROUP}]\n{points}")
    monkeypatch.syspath_prepend(str(tmp_path))
    done = cli("greet", "--name", "Ada")
    assert (done.code, done.out) == (7, "hello Ada\n")
    overview = cli("--help").out
    assert "\n  greet       Greet somebody." in overview
    assert overview.count("\n  info ") == 1
    assert "aarch64 TA" in cli("info", str(samples.hello())).out
