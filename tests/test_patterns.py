"""No regular expression takes long on any text: those of the packages, and those that descriptions may have."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from boards.catalogue import USUAL_ALARMS, find_board, shipped
from boards.console_script import Markers
from boards.pattern import AnyOf, compile_pattern

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGES = ("boards", "normal_world", "ta_loader", "tee", "north", "south")
HERE = Path(__file__).parent.parent
SIZES = (*range(8, 48, 2), 48, 64, 128, 256, 512, 1024, 4096, 16384, 65536, 262144)
"""Steps of two first: what an exponential pattern takes at one of them is at most a few times what it took before."""
SECONDS = 1.0
"""Of the processor, for the longest: a linear pattern takes milliseconds, one that is not takes this long before."""
MADE_WHEN_NEEDED = {"tee/logtext.py": "_ours"}
"""Files with a pattern that a function without arguments makes, for the sake of the start's imports."""
MADE_OF_A_TOKEN = {"boards/console_script.py"}
"""Files with a pattern that is made while they run, of nothing from outside."""

_parser: Any = importlib.import_module("re._parser")
_sre: Any = importlib.import_module("re._constants")


def patterns_in(value: object, depth: int = 3) -> Iterator[re.Pattern[Any]]:
    if isinstance(value, re.Pattern):
        yield value
    elif depth and isinstance(value, tuple | list | frozenset | set):
        for item in value:
            yield from patterns_in(item, depth - 1)
    elif depth and isinstance(value, dict):
        for item in value.values():
            yield from patterns_in(item, depth - 1)


def all_patterns() -> dict[str, re.Pattern[Any]]:
    out: dict[str, re.Pattern[Any]] = {}
    for package in PACKAGES:
        for found in pkgutil.walk_packages([str(HERE / package)], f"{package}."):
            if "__main__" in found.name or "build_" in found.name:
                continue
            module = importlib.import_module(found.name)
            for name, value in vars(module).items():
                for number, pattern in enumerate(patterns_in(value)):
                    if pattern not in out.values():  # imported from elsewhere
                        out[f"{found.name}.{name}.{number}"] = pattern
    # The others search a window of the console alone.
    out["marker"] = vars(Markers("01234567"))["_begin"]
    for file, function in MADE_WHEN_NEEDED.items():
        module = importlib.import_module(file.removesuffix(".py").replace("/", "."))
        out[f"{module.__name__}.{function}"] = getattr(module, function)()
    for number, alarm in enumerate(USUAL_ALARMS):
        out[f"alarm {number}"] = compile_pattern(alarm.pattern)
    for board in shipped():
        entry = find_board(board)
        for stage in entry.stages:
            for number, step in enumerate(stage.steps):
                out[f"{board} {stage.stage.word} step {number}"] = compile_pattern(step.expect)
            out[f"{board} {stage.stage.word}"] = compile_pattern(stage.pattern)
        if entry.shell is not None:
            out[f"{board} prompt"] = compile_pattern(entry.shell.prompt)
            out[f"{board} login"] = compile_pattern(entry.shell.login)
    return out


def one(op: Any, value: Any) -> str:
    """A text that a node matches, or nearly."""
    if op is _sre.LITERAL:
        return chr(value)
    if op in (_sre.ANY, _sre.NOT_LITERAL):
        return "x"
    if op is _sre.IN:
        candidates = [one(*item) for item in value if item[0] is not _sre.NEGATE]
        if len(candidates) == len(value):
            return candidates[0]
        return next(c for c in ("x", " ", "0", ":", "\n") if c not in candidates)
    if op is _sre.RANGE:
        return chr(value[0])
    if op is _sre.CATEGORY:
        return {"SPACE": " ", "DIGIT": "0", "WORD": "a"}.get(str(value).rpartition("_")[2], "-")
    if op is _sre.BRANCH:
        return sequence(value[1][0])
    if op is _sre.SUBPATTERN:
        return sequence(value[3])
    if op in (_sre.MAX_REPEAT, _sre.MIN_REPEAT):
        return sequence(value[2]) * max(1, int(value[0]))
    return ""


def sequence(tree: Any) -> str:
    return "".join(one(*node) for node in tree)


def pumps(tree: Any) -> Iterator[tuple[str, str]]:
    """(what stands before, what is repeated): beginnings of a match, and the bodies of its repeats."""
    before = ""
    for op, value in tree:
        if op in (_sre.MAX_REPEAT, _sre.MIN_REPEAT):
            yield before, sequence(value[2])
            for inner_before, body in pumps(value[2]):
                yield before + inner_before, body
        for branch in value[1] if op is _sre.BRANCH else [value[3]] if op is _sre.SUBPATTERN else []:
            for inner_before, body in pumps(branch):
                yield before + inner_before, body
        before += one(op, value)
        yield "", before
    yield "", "a"
    yield "", " "


def seconds(pattern: re.Pattern[Any], text: str) -> float:
    subject: Any = text if isinstance(pattern.pattern, str) else text.encode("latin-1", "replace")
    began = time.thread_time()
    for _ in pattern.finditer(subject):
        pass
    pattern.match(subject)
    return time.thread_time() - began


def too_slow(pattern: re.Pattern[Any]) -> str:
    """The text on which it is, "" if there is none."""
    for before, body in set(pumps(_parser.parse(pattern.pattern, pattern.flags & ~re.UNICODE))):
        if not body:
            continue
        for end in ("", "\x01"):
            for size in SIZES:
                taken = seconds(pattern, before + body * (size // len(body) + 1) + end)
                if taken > SECONDS:
                    return f"{before!r} + {body!r} * {size // len(body) + 1} + {end!r}: {taken:.1f} s"
    return ""


PATTERNS = all_patterns()


def test_there_are_some() -> None:
    known = set(PATTERNS.values())
    for module in ("boards.secure_log", "boards.console_log", "boards.console_script", "ta_loader.symbolise.log"):
        theirs = {each for value in vars(importlib.import_module(module)).values() for each in patterns_in(value)}
        assert theirs
        assert theirs <= known


@pytest.mark.parametrize("name", PATTERNS)
def test_linear(name: str) -> None:
    assert not too_slow(PATTERNS[name])


@pytest.mark.parametrize("pattern", [r"\b[EF]/TC:.*(?:Panic|assertion .* failed)", "(?:a|aa)+b", "x.*y", "(a+)+b"])
def test_the_test_finds_what_is_slow(pattern: str) -> None:
    assert too_slow(re.compile(pattern))


def test_all_of_them_stand_where_this_test_sees_them() -> None:
    """None is made or used as a text within a function."""
    found = []
    for package in PACKAGES:
        for path in sorted((HERE / package).rglob("*.py")):
            name = str(path.relative_to(HERE))
            tree = ast.parse(path.read_text())
            for function in ast.walk(tree):
                if not isinstance(function, ast.FunctionDef | ast.Lambda):
                    continue
                if isinstance(function, ast.FunctionDef) and MADE_WHEN_NEEDED.get(name) == function.name:
                    continue
                for call in ast.walk(function):
                    match call:
                        case ast.Call(func=ast.Attribute(value=ast.Name(id="re"), attr=attr), args=[first, *_]):
                            made = not isinstance(first, ast.Constant) and name in MADE_OF_A_TOKEN
                            if attr not in ("error", "escape") and not made and name != "boards/pattern.py":
                                found.append(f"{name}:{call.lineno}")
    assert not found


@pytest.mark.parametrize(
    "pattern",
    [
        *("(a+)+b", "(a*)*b", "(?:x+\\n?)+", "([a-z]+ ?)*$", "(.*)*x", "(a{0,64}){0,64}b", "(?:a{0,8}){0,8}b"),
        *("x.*y.*z.*w", "(?:.*x){3}", "(?:ab|a|b)*c", "(?:foo|fo|o)+x"),
    ],
)
def test_a_description_has_no_pattern_that_may_take_for_ever(pattern: str) -> None:
    with pytest.raises(re.error, match="take"):
        compile_pattern(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        *("(?:[0-9]+\\.)+[0-9]+", "(?:[0-9]{1,3}\\.){3}[0-9]{1,3}", "[#$] $", "(?i)login: $", r"(o)\1t@board.*# $"),
        *("(?P<login>root)@.*# $", "U-Boot.*\\(.*\\)", "^\\[ *\\d+\\.\\d+\\] .*$", "(?:foo|bar)*baz", "(?:foo ?)*x"),
        *("x.*y.*z", "\\s*a\\s*b", "(?:\\x1b\\[[0-9;]*m)*# $", ".*foo.*", "(?:\\[[^]]*\\] )?.*@.*[#$] $", "(?!a)b"),
        *("a|", "(?:(?<=x)y|z)*w", "(x)?(?(1)y|z)", "(?>a+)b", "a++b", "\\Aa\\Z", "é+"),
    ],
)
def test_usual_patterns_are_fast(pattern: str) -> None:
    """Within what a wait searches at once."""
    compiled = compile_pattern(pattern)
    for before, body in pumps(_parser.parse(pattern.encode())):
        if body:
            text = (before + body * (2048 // len(body)))[:2048] + "\x01"
            assert seconds(compiled, text) < SECONDS


def test_what_has_a_limit_still_matches() -> None:
    found = compile_pattern("x(.*)y(.*)z").search(b"ab x 1 y 2 z")
    assert found is not None
    assert found.groups() == (b" 1 ", b" 2 ")


def test_patterns_with_flags_and_groups_of_their_own() -> None:
    both = AnyOf([r"(?i)(?P<name>LOGIN): $", r"(?P<name>o)\1t# $", "^=> $"])
    for text, which, groups in ((b"board login: ", 0, (b"login",)), (b"root\noot# ", 1, (b"o",)), (b"x\n=> ", 2, ())):
        match = both.search(text, 0, len(text))
        assert match is not None
        assert (both.which(match), match.groups()) == (which, groups)
    assert both.search(b"OOT# ", 0, 5) is None, "the flags are the first's alone"


def test_of_two_patterns_what_comes_first_counts() -> None:
    both = AnyOf(["b.", "a", "b"])
    first = both.search(b"xab", 0, 3)
    assert first is not None
    assert (first[0], both.which(first)) == (b"a", 1)
    again = both.search(b"xbb", 0, 3)
    assert again is not None
    assert (again[0], both.which(again)) == (b"bb", 0)
