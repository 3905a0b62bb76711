"""`--trace` and `--trace-out`: system calls as strace prints them, and as Chrome's trace viewer reads them.

Format of the file: "Trace Event Format" of the Chromium project, complete ("X") and instant ("i")
events; times in microseconds.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from south.platform import Console
    from tee.abi.results import Origin, Result
    from tee.records import CallRecord, Crash

MAX_EVENTS = 1_000_000
"""A trace file of some 200 MB; what comes later is counted, not kept."""
_CLIENT = 0  # thread number of the client's own calls; instances count from 1


def call_text(record: CallRecord, start: float) -> str:
    """One line. start: seconds on the monotonic clock that count as 0."""
    name = record.call.name if record.call else f"syscall_{record.number}"
    arguments = ", ".join(record.texts)
    if not record.texts and record.call is None:
        arguments = ", ".join(f"{word:#x}" for word in record.args)
    result = "?" if record.result is None else str(record.result)
    native = " [C]" if record.native else ""
    return (
        f"{record.start - start:11.6f} {str(record.uuid)[:8]}#{record.instance} "
        f"{name}({arguments}) = {result} <{record.duration * 1e6:.1f} us>{native}"
    )


class Tracer:
    """Takes the records of one run. lines: where strace-like text goes, None: nowhere; keep: for `events`."""

    def __init__(self, lines: Console | None, keep: bool) -> None:
        self._lines = lines
        self._keep = keep
        self._start = time.monotonic()
        self._events: list[dict[str, Any]] = []
        self._threads = {_CLIENT: "client"}
        self.dropped = 0

    def call(self, record: CallRecord) -> None:
        if self._lines is not None:
            self._lines.write(call_text(record, self._start) + "\n")
        if self._keep:
            self._threads.setdefault(record.instance, f"TA {record.uuid}")
            arguments: dict[str, Any] = dict(_split(record.texts))
            arguments["result"] = "" if record.result is None else str(record.result)
            name = record.call.name if record.call else f"syscall_{record.number}"
            category = "syscall,native" if record.native else "syscall"
            self._add(name, category, record.instance, record.start, record.duration, arguments)

    def step(self, title: str, start: float, seconds: float, result: Result, origin: Origin) -> None:
        """A call of the client's; start: as of `time.monotonic`."""
        if self._keep:
            self._add(title, "client", _CLIENT, start, seconds, {"result": str(result), "origin": origin.name})

    def crash(self, crash: Crash) -> None:
        if self._keep:
            event = self._event(f"{crash.kind} {crash.detail}".rstrip(), "crash", _CLIENT, time.monotonic())
            self._events.append(event | {"ph": "i", "s": "g", "args": {"ta": str(crash.uuid), "code": crash.code}})

    def _event(self, name: str, category: str, thread: int, start: float) -> dict[str, Any]:
        at = round((start - self._start) * 1e6, 3)
        return {"name": name, "cat": category, "pid": 1, "tid": thread, "ts": at}

    def _add(
        self, name: str, category: str, thread: int, start: float, duration: float, arguments: dict[str, Any]
    ) -> None:
        if len(self._events) >= MAX_EVENTS:
            self.dropped += 1
            return
        event = self._event(name, category, thread, start)
        self._events.append(event | {"ph": "X", "dur": round(duration * 1e6, 3), "args": arguments})

    def events(self) -> dict[str, Any]:
        """The trace file's content."""
        names = [{"name": "process_name", "ph": "M", "pid": 1, "args": {"name": "litebox-ta"}}]
        names += [
            {"name": "thread_name", "ph": "M", "pid": 1, "tid": thread, "args": {"name": name}}
            for thread, name in sorted(self._threads.items())
        ]
        return {"traceEvents": names + self._events, "otherData": {"dropped": self.dropped}}

    def write(self, path: str) -> None:
        """Replace `path` by the trace, wholly or not at all."""
        import json

        from south.replacing import replacing

        with replacing(path) as file:
            for piece in json.JSONEncoder().iterencode(self.events()):
                file.write(piece.encode())


def _split(texts: Iterable[str]) -> Iterable[tuple[str, str]]:
    for text in texts:
        name, _, value = text.partition("=")
        yield name, value
