"""Handlers of the system-call table in Python, found by name and imported when first called."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tee.abi.results import Result
from tee.records import CallRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from north.syscalls.declare import Syscall
    from tee.instance import TaInstance

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


def trace(
    instance: TaInstance,
    row: Syscall | None,
    number: int,
    words: tuple[int, ...],
    texts: tuple[str, ...],
    result: int | None,
    start: float,
    native: bool,
) -> None:
    """Report one system call to the world's observer."""
    observer = instance.world.observer
    if observer is not None:
        took = instance.platform.clock.monotonic() - start
        shown = None if result is None else Result(result)
        observer.on_call(
            CallRecord(instance.uuid, instance.number, row, number, words, texts, shown, start, took, native)
        )
