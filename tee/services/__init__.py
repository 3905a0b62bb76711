"""Handlers of the system-call table in Python, found by name and imported when first called."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_found: dict[str, Callable[..., Any]] = {}


def find(name: str) -> Callable[..., Any]:
    """The handler called `module.function`; LookupError if no service has it."""
    handler: Callable[..., Any] | None = _found.get(name)
    if handler is None:
        module, _, function = name.partition(".")
        handler = getattr(importlib.import_module(f"tee.services.{module}"), function, None)
        if handler is None:
            raise LookupError(f"no handler {name}")
        _found[name] = handler
    return handler
