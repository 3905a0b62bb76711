"""How a TA died, from what the secure world printed on a board's consoles: the board's libteec says only that it did.

Source of the texts: optee_os core/kernel/scall.c, core/arch/arm/kernel/abort.c, ldelf/main.c; our own are
`tee.crash.crash_reason`'s.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING
from uuid import UUID

from boards.console_log import Direction
from normal_world.died import Death

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from boards.console_log import Entry, Log

WAIT = 2.0
"""Seconds for the lines of another console to arrive after the answer to the call."""
_POLL = 0.05
MOST_LINE = 512
"""Characters looked at; the texts are shorter."""
_UUID = "([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
_OURS = re.compile(rf"\bTA {_UUID} (panicked with|died of a|was stopped at|was killed)(.{{0,300}})")
_PANIC = re.compile(r"TA panicked with code 0x([0-9a-f]{1,8})|\bPanic 0x([0-9a-f]{1,8})")
_ABORT = re.compile(r"\bUser (?:mode|TA) (data|prefetch|undef)[a-z-]{0,12} at address 0x([0-9a-f]{1,16})")
_STATUS = re.compile(rf"\bStatus of TA {_UUID}")
_CODE = re.compile(r" code 0x([0-9a-f]{1,8})")
_ADDRESS = re.compile(r"(?:read of|write to|execution at|access to) 0x([0-9a-f]{1,16})")
_PC = re.compile(r"at pc 0x([0-9a-f]{1,16})")


class PrintedDeaths:
    """`normal_world.client.agent.DeathLog` of a board's log."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def now(self) -> float:
        return self._log.now()

    def since(self, moment: float, ta: UUID) -> Sequence[Death]:
        until = time.monotonic() + WAIT
        while True:
            found = deaths([entry for entry in self._log.entries() if entry.time >= moment])
            mine = [death for death in found if death.ta == ta]
            if mine or time.monotonic() >= until:
                # A session has one TA, which dies once: the last report is of the instance that was called.
                return [*mine[-1:], *(death for death in found if death.ta != ta)]
            time.sleep(_POLL)


def deaths(entries: Iterable[Entry]) -> list[Death]:
    """Those that name their TA, in the order of their times."""
    out: list[Death] = []
    going: dict[str, Death] = {}
    for entry in entries:
        if entry.direction is not Direction.IN:
            continue
        text = entry.text[:MOST_LINE]
        ours = _OURS.search(text)
        if ours is not None:
            out.append(_of_ours(ours, text))
            continue
        begun = _begin(text)
        if begun is not None:
            going[entry.console] = begun
        status = _STATUS.search(text)
        dump = going.get(entry.console)
        if dump is not None:
            dump = going[entry.console] = dump._replace(report=f"{dump.report}\n{text}".strip()[: 1 << 16])
        if status is not None and dump is not None:
            del going[entry.console]
            out.append(dump._replace(ta=UUID(status[1]), summary=dump.report))
    return out


def _begin(text: str) -> Death | None:
    """OP-TEE's first line about a TA that dies; the TA's name comes with ldelf's."""
    nobody = UUID(int=0)
    panic = _PANIC.search(text)
    if panic is not None:
        code = int(panic[1] or panic[2], 16)
        return Death(nobody, "panic", code, None, None, f"panicked with code {code:#010x}")
    abort = _ABORT.search(text)
    if abort is None:
        return None
    address, undefined = int(abort[2], 16), abort[1] == "undef"
    reason = f"died of an undefined instruction at {address:#x}" if undefined else f"died of a fault at {address:#x}"
    return Death(nobody, "exception" if undefined else "fault", None, None if undefined else address, None, reason)


def _of_ours(found: re.Match[str], text: str) -> Death:
    verb, rest = found[2], found[3]
    if verb == "panicked with":
        kind = "panic"
    elif verb == "died of a":
        kind = "fault" if rest.startswith(" fault") else "exception"
    else:
        kind = "limit" if verb == "was stopped at" else "killed"
    code, address, pc = (pattern.search(rest) for pattern in (_CODE, _ADDRESS, _PC))
    return Death(
        UUID(found[1]),
        kind,
        int(code[1], 16) if code is not None and kind == "panic" else None,
        int(address[1], 16) if address is not None and kind == "fault" else None,
        int(pc[1], 16) if pc is not None else None,
        f"{verb}{rest}",
        text,
        text,
    )
