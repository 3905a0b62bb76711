"""Messages are for people: what the system refuses is shown in its words, never as `[Errno 28] ...`."""

from __future__ import annotations

import ast
import functools
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tee.errors import reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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


LIBRARY = ("ValueError", "UnicodeDecodeError", "UnicodeError", "TypeError", "KeyError", "RecursionError")
"""What libraries raise for input that they do not take, in words for programmers."""
OURS = {
    "ta_loader/trust.py": "Verifier: its message names the key",
    "ta_loader/container/verify.py": "Verifier: its message names the key",
    "ta_loader/container/rsa_key.py": "the result's name of a TeeError; libcrypto gives no text",
    "ta_loader/cli/serve.py": "listen_fds: sentences of ours",
    "normal_world/testing.py": "sentences of ours",
    "normal_world/daemon/sandbox.py": "sentences of ours, for the log",
    "boards/catalogue_read.py": "what is wrong with a regular expression, and where",
    "boards/console_link.py": "pyserial: which setting a port does not take",
    "normal_world/supplicant/services.py": "Policy.parse: sentences of ours",
    "normal_world/supplicant/rpmb.py": "frames: sentences of ours, for the log",
    "tee/message/shm.py": "sentences of ours, for the log",
}
"""Files that may: their ValueErrors are raised by us, or their words are a user's."""


def library_texts(tree: ast.AST) -> Iterator[int]:
    """Lines of handlers that show the text of such an error."""
    for handler in ast.walk(tree):
        if not isinstance(handler, ast.ExceptHandler) or not handler.name or handler.type is None:
            continue
        kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
        if not any(isinstance(kind, ast.Name) and kind.id in LIBRARY for kind in kinds):
            continue
        if any(shows_whole(node, handler.name) for node in ast.walk(handler)):
            yield handler.lineno


def octet_fields(trees: Iterable[ast.AST]) -> set[str]:
    """Names of attributes that are bytes wherever they are declared."""
    kinds: dict[str, set[str]] = {}
    for tree in trees:
        for node in ast.walk(tree):
            for field in node.body if isinstance(node, ast.ClassDef) else ():
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                    kinds.setdefault(field.target.id, set()).add(ast.unparse(field.annotation))
    return {name for name, found in kinds.items() if found == {"bytes"}}


def octets_as_text(tree: ast.AST, fields: set[str]) -> Iterator[int]:
    """Lines of f-strings that show such an attribute, or a parameter, as Python writes bytes: `b'...'`."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        given = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        mine = {arg.arg for arg in given if arg.annotation is not None and ast.unparse(arg.annotation) == "bytes"}
        for node in ast.walk(function):
            if isinstance(node, ast.FormattedValue) and node.format_spec is None:
                value = node.value
                if isinstance(value, ast.Attribute) and value.attr in fields:
                    yield node.lineno
                if isinstance(value, ast.Name) and value.id in mine:
                    yield node.lineno


@functools.cache
def parsed() -> dict[Path, ast.AST]:
    return {
        path: ast.parse(path.read_text()) for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))
    }


def test_no_message_shows_a_librarys_words() -> None:
    """A codec's, a parser's: a user reads what is wrong with his file, in the words of this program."""
    found = {f"{path.relative_to(ROOT)}" for path, tree in parsed().items() for _ in library_texts(tree)}
    assert found == set(OURS)


def test_no_message_shows_bytes_as_python_does() -> None:
    trees = parsed()
    fields = octet_fields(trees.values())
    assert "oid" in fields
    wrong = [
        f"{path.relative_to(ROOT)}:{line}" for path, tree in trees.items() for line in octets_as_text(tree, fields)
    ]
    assert not wrong


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


@pytest.mark.parametrize(
    "code",
    ["try: f()\nexcept ValueError as e: g(f'no: {e}')", "try: f()\nexcept (A, UnicodeDecodeError) as e: g(str(e))"],
)
def test_the_test_finds_librarys_words(code: str) -> None:
    assert list(library_texts(ast.parse(code)))


@pytest.mark.parametrize("code", ["f'no {key.oid!r}'", "f'no {data}'"])
def test_the_test_finds_bytes(code: str) -> None:
    tree = ast.parse(f"class A:\n    oid: bytes\ndef f(data: bytes):\n    g({code})")
    assert list(octets_as_text(tree, octet_fields([tree])))


def test_reasons() -> None:
    with pytest.raises(OSError) as caught:
        Path("/nowhere/at/all").read_bytes()
    assert reason(caught.value) == "/nowhere/at/all: No such file or directory"
    assert reason(OSError(28, "No space left on device")) == "No space left on device"
    assert reason(OSError("a sentence of ours")) == "a sentence of ours"
    assert reason(ValueError("odd")) == "odd"
