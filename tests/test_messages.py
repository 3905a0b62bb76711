"""Messages are for people: what the system refuses is shown in its words, never as `[Errno 28] ...`."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tee.errors import reason

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
PACKAGES = ("south", "north", "tee", "ta_loader", "normal_world", "boards")


def catches_os_errors(handler: ast.ExceptHandler) -> bool:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(
        isinstance(kind, ast.Name) and kind.id in ("OSError", "FileNotFoundError", "PermissionError") for kind in kinds
    )


def shows_whole(node: ast.AST, name: str) -> bool:
    """`{name}` of an f-string without an attribute or a call around it, or `str(name)`."""
    if isinstance(node, ast.FormattedValue):
        return isinstance(node.value, ast.Name) and node.value.id == name
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "str"
        and any(isinstance(argument, ast.Name) and argument.id == name for argument in node.args)
    )


def raw_texts(tree: ast.AST) -> Iterator[int]:
    """Lines of handlers that show an OSError's whole text, with its number."""
    for handler in ast.walk(tree):
        if not isinstance(handler, ast.ExceptHandler) or not handler.name or not catches_os_errors(handler):
            continue
        guarded = {
            id(value) for node in ast.walk(handler) if isinstance(node, ast.BoolOp) for value in ast.walk(node)
        }  # `problem.strerror or str(problem)`
        for node in ast.walk(handler):
            if shows_whole(node, handler.name) and id(node) not in guarded:
                yield handler.lineno


@pytest.mark.parametrize("package", PACKAGES)
def test_no_message_shows_an_errors_number(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sorted((ROOT / package).rglob("*.py"))
        for line in raw_texts(ast.parse(path.read_text()))
    ]
    assert not wrong


@pytest.mark.parametrize(
    "code",
    [
        "try: f()\nexcept OSError as e: g(f'no: {e}')",
        "try: f()\nexcept (ValueError, OSError) as e: g(str(e))",
    ],
)
def test_the_test_finds_them(code: str) -> None:
    assert list(raw_texts(ast.parse(code)))


def test_reasons() -> None:
    with pytest.raises(OSError) as caught:
        Path("/nowhere/at/all").read_bytes()
    assert reason(caught.value) == "/nowhere/at/all: No such file or directory"
    assert reason(OSError(28, "No space left on device")) == "No space left on device"
    assert reason(OSError("a sentence of ours")) == "a sentence of ours"
    assert reason(ValueError("odd")) == "odd"
