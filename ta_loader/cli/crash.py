"""How a TA died, for a program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tee.records import Crash


def crash_json(crash: Crash) -> dict[str, Any]:
    return {
        "ta": str(crash.uuid),
        "caller": str(crash.caller) if crash.caller is not None else None,
        "kind": crash.kind,
        "code": crash.code,
        "detail": crash.detail,
        "registers": dict(crash.registers),
        "backtrace": [frame._asdict() for frame in crash.backtrace],
        "regions": [region._asdict() for region in crash.regions],
    }
