"""What self tests check with, and how they are run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee.abi import results
from tee.errors import TeeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from south.platform import Console


class SelfTestFailure(Exception):
    """The core does not behave; the message says what was expected."""


def check(held: bool, expected: str) -> None:
    if not held:
        raise SelfTestFailure(expected)


def refuses(error: type[Exception], call: Callable[[], object], expected: str) -> None:
    """`call` must raise `error`."""
    try:
        call()
    except error:
        return
    raise SelfTestFailure(expected)


def run(console: Console, tests: Iterable[tuple[str, Callable[[], None]]]) -> None:
    """Run all, whichever fail, and log each failure; TeeError(GENERIC) if one did.

    Any exception is a failure: a broken core does not choose how it breaks.
    """
    failed = []
    for name, test in tests:
        try:
            test()
        except Exception as problem:
            failed.append(name)
            console.write(f"E/TC: self test {name} failed: {type(problem).__name__}: {problem}\n")
    if failed:
        raise TeeError(results.GENERIC, f"self tests failed: {', '.join(failed)}")
