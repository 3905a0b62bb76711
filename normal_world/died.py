"""How a TA died, for the one who called it: `TaDied`, and what of it crosses a socket."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from tee.abi import results
from tee.errors import TeeError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tee.abi.results import Origin
    from tee.records import Crash

KINDS = ("panic", "fault", "exception", "limit", "killed")
UNKNOWN = "unknown"
"""A kind: over the kernel's driver all that can be known is that a TA is dead."""
MOST_TEXT = 1 << 20
"""Characters of a report, and bytes of all that is sent about one call."""


class Death(NamedTuple):
    """Of one TA.

    kind: one of `KINDS`, or `UNKNOWN`.
    code: that it panicked with, None for other kinds.
    address: that it could not access (fault), else None; pc: where it was. None too for clients that may not see them.
    reason: a sentence without its subject.
    report: for a person, with backtrace, registers and memory map; "" if unknown.
    summary: the report without registers and memory map.
    """

    ta: UUID
    kind: str
    code: int | None = None
    address: int | None = None
    pc: int | None = None
    reason: str = ""
    summary: str = ""
    report: str = ""

    @classmethod
    def of(cls, crash: Crash) -> Death:
        from tee.crash import crash_lines, crash_reason, crash_summary

        panicked = crash.kind == "panic"
        return cls(
            crash.uuid,
            crash.kind,
            crash.code if panicked else None,
            crash.address,
            crash.pc,
            crash_reason(crash),
            "\n".join(crash_summary(crash)),
            "\n".join(crash_lines(crash)),
        )

    def given_up(self, reason: str) -> Death:
        """Of a TA that was killed because its caller gave the call up: a limit, on whatever way to the TEE."""
        line = f"TA {self.ta} {reason}"
        texts = ("\n".join([line, *text.splitlines()[1:]]) for text in (self.summary, self.report))
        return Death(self.ta, "limit", None, None, self.pc, reason, *texts)

    def for_strangers(self) -> Death:
        """What a client may see that does not own the TEE: registers may hold keys, and addresses the layout."""
        reason = {"fault": "died of a fault", "exception": "died of an exception"}.get(self.kind, self.reason)
        line = f"TA {self.ta} {reason}"
        return Death(self.ta, self.kind, self.code, None, None, reason, line, line)


class TaDied(TeeError):
    """TEE_ERROR_TARGET_DEAD: the TA died of this call or before it, and each later call of its sessions ends so.

    The fields of `Death` say how. deaths: of every TA, where those that it called died as well; the fields are about
    the one that was called, if it is among them, else about the first.
    """

    def __init__(self, what: str, ta: UUID, origin: Origin, deaths: Iterable[Death] = ()) -> None:
        """what: the call; ta: that was called."""
        self.deaths = tuple(deaths) or (Death(ta, UNKNOWN),)
        self.death = next((death for death in self.deaths if death.ta == ta), self.deaths[0])
        reason = self.death.reason
        subject = "it" if self.death.ta == ta else f"TA {self.death.ta}"
        super().__init__(results.TARGET_DEAD, f"{what}: {subject} {reason}" if reason else what, origin)

    @property
    def ta(self) -> UUID:
        return self.death.ta

    @property
    def kind(self) -> str:
        return self.death.kind

    @property
    def code(self) -> int | None:
        return self.death.code

    @property
    def address(self) -> int | None:
        return self.death.address

    @property
    def pc(self) -> int | None:
        return self.death.pc

    @property
    def report(self) -> str:
        return self.death.report


def pack(deaths: Iterable[Death]) -> bytes:
    """For a client of a daemon."""
    rows = []
    room = MOST_TEXT // 2
    for death in deaths:
        row = death._asdict() | {"ta": str(death.ta)}
        for name in ("report", "summary"):
            row[name] = row[name][:room]
            room -= len(row[name])
        rows.append(row)
    return json.dumps(rows).encode("ascii")


def unpack(data: bytes) -> tuple[Death, ...]:
    """What `pack` made; nothing for what it did not."""
    try:
        return tuple(_death(row) for row in json.loads(data))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ()


def _death(row: dict[str, Any]) -> Death:
    kind = row["kind"]
    numbers = [row[name] for name in ("code", "address", "pc")]
    texts = [row[name] for name in ("reason", "summary", "report")]
    if kind not in (*KINDS, UNKNOWN) or not all(isinstance(text, str) for text in texts):
        raise ValueError(kind)
    if any(number is not None and type(number) is not int for number in numbers):
        raise ValueError(kind)
    return Death(UUID(row["ta"]), kind, *numbers, *texts)
