"""What a caller of the Python API may pass: each check raises TypeError or ValueError, with the argument's name.

They run where a value is passed in. Further down a wrong number would be packed into a frame, raise in a helper thread,
or reach a TA with its upper bits cut off.
"""

from __future__ import annotations

import math
import operator
import os
from typing import Any

WORD_MAX = 0xFFFFFFFF
"""uint32_t: command numbers, group numbers, words of a value, sizes of memrefs."""
SECONDS_MAX = 1e9
"""About 31 years: what the engine's clock, 64 bits of nanoseconds, and Python's timers take with room to spare."""


def whole(value: Any, what: str, high: int = WORD_MAX) -> int:
    """An integer from 0 to `high`: an int, or what says that it is one (NumPy's integers), but no bool."""
    if type(value) is int:
        number = value
    elif isinstance(value, bool):
        raise TypeError(f"{what}: {value} is no number")
    else:
        try:
            number = operator.index(value)
        except TypeError:
            raise TypeError(f"{what}: {type(value).__name__} is no integer") from None
    if not 0 <= number <= high:
        raise ValueError(f"{what}: {number} is not from 0 to {high:#x}")
    return number


def seconds(value: Any, what: str = "timeout", *, zero: bool = True) -> float | None:
    """A time limit, None for none. zero: whether 0 is one, which has passed at once."""
    if value is None:
        return None
    if isinstance(value, (bool, str, bytes, bytearray)):
        raise TypeError(f"{what}: {type(value).__name__} is no number of seconds")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    except (TypeError, ValueError):
        raise TypeError(f"{what}: {type(value).__name__} is no number of seconds") from None
    if not 0 <= number <= SECONDS_MAX or (not zero and number == 0):
        raise ValueError(
            f"{what}: {value} is not a number of seconds {'from' if zero else 'above'} 0 to {SECONDS_MAX:g}"
        )
    return number


def path(value: Any, what: str) -> str:
    """A path of the file system."""
    try:
        text = os.fsdecode(value)
    except TypeError:
        raise TypeError(f"{what}: {type(value).__name__} is no path") from None
    if not text or "\0" in text:
        raise ValueError(f"{what}: {text!r} is no path")
    return text


def paths(value: Any, what: str) -> tuple[str, ...]:
    """Several; one alone is refused, since a string would be taken for a list of its characters."""
    if isinstance(value, (str, bytes, os.PathLike)):
        raise TypeError(f"{what}: a list of paths, not one: [{os.fsdecode(value)!r}]")
    try:
        given = tuple(value)
    except TypeError:
        raise TypeError(f"{what}: {type(value).__name__} is no list of paths") from None
    return tuple(path(one, what) for one in given)


def flag(value: Any, what: str) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{what}: True or False, not {type(value).__name__}")
    return value
