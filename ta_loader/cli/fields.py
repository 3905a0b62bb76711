"""Values of a table that a person wrote: of the kind and in the range that they must have. UsageError names the key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from south.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection


def known(table: dict[str, Any], names: Collection[str]) -> None:
    """No key but these."""
    for key in table:
        if key not in names:
            raise UsageError(f"unknown key {key!r}; there are {', '.join(sorted(names))}")


def text_of(row: dict[str, Any], key: str, default: str) -> str:
    value = row.get(key, default)
    if not isinstance(value, str):
        raise UsageError(f"{key} must be a string")
    return value


def number_of(row: dict[str, Any], key: str, low: int, high: int) -> int:
    """A whole number in [low, high]; true and false are none."""
    value = row[key]
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise UsageError(f"{key} must be a number between {low} and {high}")
    return value


def strings(row: dict[str, Any], key: str) -> list[str]:
    value = row.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise UsageError(f"{key} must be a list of strings")
    return value


def flag(row: dict[str, Any], key: str) -> bool:
    value = row.get(key, False)
    if not isinstance(value, bool):
        raise UsageError(f"{key} must be true or false")
    return value
