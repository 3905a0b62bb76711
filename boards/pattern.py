"""Regular expressions of descriptions of boards: none may take long, whatever a line says.

Python's `re` tries one way after the other. Where a text has two ways through a loop, their number doubles with each
turn: such a pattern is refused. Where repeats without a limit stand in a row, the time grows with a power of the
text's length: of two that take nearly every byte, each gets a limit; more are refused.

The test for two ways: the positions of a pattern (V. M. Glushkov, 1961) and those that may follow each make an
automaton; it is ambiguous in a loop if two different paths for the same text lead from one position back to it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

MANY = 64
"""A repeat that may come so often counts as one without a limit."""
WIDE = 128
"""A class of at least so many of the 256 bytes takes nearly everything: `.`, `[^:]`, `\\S`."""
MAX_WIDE = 2
"""Repeats of such a class in a row, without a limit of their own."""
LIMIT = 128
"""Bytes that each of several such repeats takes at most: 2048 starts with 128 * 128 ways are 40 ms."""
MAX_WAYS = 4096
"""Through one repeat with a limit; beyond that it is looked at as a loop."""
MAX_PAIRS = 50_000

_ALL = (1 << 256) - 1
_sre: Any = import_module("re._constants")
_parser: Any = import_module("re._parser")
_compiler: Any = import_module("re._compiler")
_REPEATS = (_sre.MAX_REPEAT, _sre.MIN_REPEAT, _sre.POSSESSIVE_REPEAT)


@lru_cache(256)
def compile_pattern(pattern: str) -> re.Pattern[bytes]:
    """As every wait uses it: on bytes, `^` and `$` at each line. re.error, also for one that may take too long."""
    tree = _parser.parse(pattern.encode(), re.MULTILINE)
    if problem := trouble(tree):
        raise re.error(problem)
    if _wide(tree) > 1:
        _bound(tree)
    else:
        return re.compile(pattern.encode(), re.MULTILINE)
    compiled: re.Pattern[bytes] = _compiler.compile(tree, re.MULTILINE)
    return compiled


def trouble(tree: Any) -> str:
    """Why a parsed pattern may take too long, "" if it does not."""
    if (wide := _wide(tree)) > MAX_WIDE:
        return f"{wide} repeats such as .* in a row may take very long; give them limits, .{{0,40}}"
    automaton = _Automaton()
    automaton.sequence(tree)
    if automaton.ambiguous():
        return "a repeat within a repeat may match one text in very many ways, and take for ever; write it without"
    return ""


def _children(op: Any, value: Any) -> list[Any]:
    if op in _REPEATS:
        return [value[2]]
    if op is _sre.BRANCH:
        return list(value[1])
    if op is _sre.SUBPATTERN:
        return [value[3]]
    if op in (_sre.ASSERT, _sre.ASSERT_NOT):
        return [value[1]]
    if op is _sre.ATOMIC_GROUP:
        return [value]
    if op is _sre.GROUPREF_EXISTS:
        return [child for child in value[1:] if child is not None]
    return []


def _is_wide(tree: Any, at: int) -> bool:
    """Of a node of a sequence. What ends before the one byte that it does not take has one end: `[^:]*:`."""
    op, value = tree[at]
    if op not in _REPEATS or value[1] < MANY:
        return False
    takes = max((_bytes(*item) for item in value[2]), key=int.bit_count, default=0)
    after = _bytes(*tree[at + 1]) if at + 1 < len(tree) else 0
    return takes.bit_count() >= WIDE and not (after and not after & takes)


def _wide(tree: Any) -> int:
    """The most repeats of a wide class, without a limit, on one way through the pattern."""
    total = 0
    for at, (op, value) in enumerate(tree):
        inner = [_wide(child) for child in _children(op, value)]
        most = sum(inner) if op is _sre.GROUPREF_EXISTS else max(inner, default=0)
        times = min(value[1], MAX_WIDE + 1) if op in _REPEATS else 1
        total += 1 if _is_wide(tree, at) else most * times
    return total


def _bound(tree: Any) -> None:
    for at, (op, value) in enumerate(tree):
        if _is_wide(tree, at):
            tree[at] = (op, (min(value[0], LIMIT), min(value[1], LIMIT), value[2]))
        for child in _children(op, value):
            _bound(child)
    tree.width = None


def _bytes(op: Any, value: Any) -> int:
    """The bytes that a node of one byte takes, as a set of bits; without regard to case."""
    if op is _sre.LITERAL:
        letter = bytes([value & 0xFF])
        return 1 << letter.lower()[0] | 1 << letter.upper()[0]
    if op is _sre.NOT_LITERAL:
        return _ALL & ~(1 << (int(value) & 0xFF))
    if op is _sre.ANY:
        return _ALL & ~(1 << 10)
    if op is _sre.RANGE:
        return sum(1 << byte for byte in range(value[0], min(value[1], 255) + 1))
    if op is _sre.CATEGORY:
        single = re.compile({"SPACE": rb"\s", "DIGIT": rb"\d", "WORD": rb"\w"}[str(value).rpartition("_")[2]])
        found = sum(1 << byte for byte in range(256) if single.match(bytes([byte])))
        return _ALL & ~found if "_NOT_" in str(value) else found
    if op is _sre.IN:
        items = [item for item in value if item[0] is not _sre.NEGATE]
        found = 0
        for item in items:
            found |= _bytes(*item)
        return found if len(items) == len(value) else _ALL & ~found
    return 0


class _Part:
    """Of a pattern. ways: through it, for one without loops. unlinked: of repeats with few ways, ends and begins."""

    def __init__(
        self,
        empty: bool = True,
        first: tuple[int, ...] = (),
        last: tuple[int, ...] = (),
        ways: int = 1,
        unlinked: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (),
    ) -> None:
        self.empty = empty
        self.first = first
        self.last = last
        self.ways = ways
        self.unlinked = unlinked


class _Automaton:
    def __init__(self) -> None:
        self._takes: list[int] = []
        self._follow: list[list[int]] = []
        """With one entry for each way: the same twice is ambiguous."""

    def sequence(self, tree: Any) -> _Part:
        whole = _Part()
        for op, value in tree:
            part = self._node(op, value)
            self._link(whole.last, part.first)
            whole = _Part(
                whole.empty and part.empty,
                whole.first + (part.first if whole.empty else ()),
                part.last + (whole.last if part.empty else ()),
                min(whole.ways * part.ways, MAX_WAYS + 1),
                whole.unlinked + part.unlinked,
            )
        return whole

    def _node(self, op: Any, value: Any) -> _Part:
        if takes := _bytes(op, value):
            self._takes.append(takes)
            self._follow.append([])
            here = (len(self._takes) - 1,)
            return _Part(False, here, here)
        parts = [self.sequence(child) for child in _children(op, value)]
        if op in (_sre.ASSERT, _sre.ASSERT_NOT):
            return _Part()
        if op in _REPEATS:
            return self._repeat(parts[0], *value[:2])
        if not parts:
            return _Part()
        return _Part(
            op is _sre.GROUPREF_EXISTS or any(part.empty for part in parts),
            tuple(at for part in parts for at in part.first),
            tuple(at for part in parts for at in part.last),
            min(sum(part.ways for part in parts), MAX_WAYS + 1),
            tuple(pair for part in parts for pair in part.unlinked),
        )

    def _repeat(self, part: _Part, least: int, most: int) -> _Part:
        ways = MAX_WAYS + 1
        if most < MANY:
            ways = min((part.ways + 1) ** most if part.ways > 1 else most - least + 1, ways)
        unlinked = (*part.unlinked, (part.last, part.first)) if most > 1 else part.unlinked
        if ways > MAX_WAYS:
            for pair in unlinked:
                self._link(*pair)
            unlinked = ()
        return _Part(part.empty or not least, part.first, part.last, ways, unlinked)

    def _link(self, ends: tuple[int, ...], begins: tuple[int, ...]) -> None:
        for end in ends:
            self._follow[end] += begins

    def ambiguous(self) -> bool:
        """Whether a loop has two ways for one text."""
        for at, following in enumerate(self._follow):
            if any(following.count(other) > 1 and self._reaches(other, at) for other in set(following)):
                return True
        return any(self._parts_and_meets(at) for at in range(len(self._takes)) if self._reaches(at, at))

    def _reaches(self, start: int, goal: int) -> bool:
        """By at least one step, or none if they are the same but not in a loop."""
        seen: set[int] = set()
        open_ = list(self._follow[start]) if start == goal else [start]
        while open_:
            at = open_.pop()
            if at == goal:
                return True
            if at not in seen:
                seen.add(at)
                open_ += self._follow[at]
        return False

    def _parts_and_meets(self, start: int) -> bool:
        """Two paths for one text from `start` that part and come back to it together."""
        seen = {(start, start)}
        open_ = [(start, start)]
        back: dict[tuple[int, int], list[tuple[int, int]]] = {}
        while open_:
            one, other = pair = open_.pop()
            for a in set(self._follow[one]):
                for b in set(self._follow[other]):
                    if not self._takes[a] & self._takes[b]:
                        continue
                    after = (min(a, b), max(a, b))
                    back.setdefault(after, []).append(pair)
                    if after not in seen:
                        seen.add(after)
                        open_.append(after)
            if len(seen) > MAX_PAIRS:
                return True
        # Of those that lead back to the start, is there one with two different positions?
        home = {(start, start)}
        open_ = [(start, start)]
        while open_:
            for before in back.get(open_.pop(), ()):
                if before[0] != before[1]:
                    return True
                if before not in home:
                    home.add(before)
                    open_.append(before)
        return False


class AnyOf:
    """Several patterns, each with flags and groups of its own: what comes first counts, and of two the one named first.

    As one pattern, `(?:one)|(?:other)`, they would share their flags, and the names and numbers of their groups.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self.patterns = tuple(patterns)
        self._compiled = [compile_pattern(pattern) for pattern in patterns]

    def search(self, data: bytes | bytearray, start: int, end: int) -> re.Match[bytes] | None:
        found = [match for one in self._compiled if (match := one.search(data, start, end)) is not None]
        return min(found, key=lambda match: match.start(), default=None)

    def which(self, match: re.Match[bytes]) -> int:
        """The index of the pattern that it is of."""
        return self._compiled.index(match.re)
