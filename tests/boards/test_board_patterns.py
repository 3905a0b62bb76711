"""Descriptions whose patterns have flags, groups and names of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from boards.board import Board
from boards.catalogue import read_board
from boards.testing import fake_board

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("login", "prompt"),
    [
        ("(?i)LOGIN: $", "fake[#$] ?$"),
        ("login: $", "(?i)FAKE# $"),
        ("(?P<login>login): $", "(?P<login>fake)# $"),
        ("(l)ogin: $", r"(f)ake# $"),
        ("login: $", r"f(a)k(e)(?!\1|\2)# $"),
        ("(?x) login: [ ]$  # as getty prints it", "fake[#] "),
        ("login: $|Anmeldung: $", "^nothing$|fake# $"),
    ],
)
def test_a_login(tmp_path: Path, login: str, prompt: str) -> None:
    path = fake_board(tmp_path)
    text = path.read_text().replace('prompt = "fake[#$] ?$"', f"prompt = '{prompt}'")
    path.write_text(text.replace('login = "login: $"', f"login = '{login}'"))
    with Board(read_board(path), tmp_path / "run") as board:
        assert board.run("echo on; (exit 3)")[1:3] == (3, "on\n")
