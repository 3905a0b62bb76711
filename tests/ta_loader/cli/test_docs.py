"""`litebox-ta docs`: pages by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from south.errors import UsageError
from ta_loader.cli.docs import COMMAND, folder, pages


def test_every_page_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert COMMAND.main([]) == 0
    names = {line.split()[0] for line in capsys.readouterr().out.splitlines()}
    assert names == {"readme", *(path.stem for path in Path(folder(), "docs").glob("*.md"))}


@pytest.mark.parametrize("name", ["cli", "cli.md", "docs/cli.md", "README"])
def test_a_page(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert COMMAND.main([name]) == 0
    text = capsys.readouterr().out
    assert text.startswith("# ")
    assert COMMAND.main([name, "--path"]) == 0
    assert Path(capsys.readouterr().out.strip()).read_text() == text


def test_a_page_that_is_none() -> None:
    with pytest.raises(UsageError, match=r"no page 'cil'; there are readme, .*cli"):
        COMMAND.main(["cil"])


def test_names() -> None:
    assert "architecture" in pages()
