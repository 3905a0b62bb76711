"""How a TA died, read from what secure worlds print on a console."""

from __future__ import annotations

import threading
from uuid import UUID

import pytest

from boards.console_log import Direction, Entry, Log
from boards.deaths import PrintedDeaths, deaths

TA, OTHER = UUID("8aaaf200-2450-11e4-abe2-0002a5d5c51b"), UUID("7371bc6b-0888-4252-9d3b-42ddcbca70fd")


def read(*lines: str) -> list[tuple[UUID, str, int | None, int | None]]:
    entries = [Entry(float(at), "uart", Direction.IN, line) for at, line in enumerate(lines)]
    return [(death.ta, death.kind, death.code, death.address) for death in deaths(entries)]


STATUS = f"E/LD:  Status of TA {TA}"


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (("E/TC:? 0 TA panicked with code 0xffff0006", STATUS), (TA, "panic", 0xFFFF0006, None)),
        (("E/TC:? 0 ", "E/TC:? 0 TA panicked with code 0x0", "[   12.3] a kernel's", STATUS), (TA, "panic", 0, None)),
        (("E/TC:0 Panic 0xbad", STATUS), (TA, "panic", 0xBAD, None)),
        (("E/TC:? 0 User mode data-abort at address 0x8 (write permission fault)", "E/TC:? 0  esr 0x1", STATUS),
         (TA, "fault", None, 8)),
        (("E/TC:? 0 User mode prefetch-abort at address 0x40001000 (translation fault)", STATUS),
         (TA, "fault", None, 0x40001000)),
        (("E/TC:? 0 User TA data-abort at address 0xffffffffff (alignment fault)", STATUS),
         (TA, "fault", None, 0xFFFFFFFFFF)),
        (("E/TC:? 0 User mode undef-abort at address 0x40001000", STATUS), (TA, "exception", None, None)),
        ((f"TA {OTHER} panicked with code 0x00000bad: TEE_Panic(0x00000bad)",), (OTHER, "panic", 0xBAD, None)),
        ((f"[secure] TA {OTHER} died of a fault: write to 0x1234 is not allowed, at pc 0x40",),
         (OTHER, "fault", None, 0x1234)),
        ((f"TA {OTHER} died of an exception: undefined instruction at pc 0x40",), (OTHER, "exception", None, None)),
        ((f"TA {OTHER} was stopped at a limit: the call ran for more than 5 s",), (OTHER, "limit", None, None)),
        ((f"TA {OTHER} was killed: the host stopped the call",), (OTHER, "killed", None, None)),
    ],
)  # fmt: skip
def test_texts(lines: tuple[str, ...], found: tuple[object, ...]) -> None:
    assert read(*lines) == [found]


def test_what_is_no_death() -> None:
    for lines in ((STATUS,), ("E/TC:? 0 TA panicked with code 0x1",), ("TA x panicked with code 0x1",),
                  (f"I/TA: I know of TA {OTHER}",)):  # fmt: skip
        assert read(*lines) == []
    sent = [Entry(0.0, "uart", Direction.OUT, f"TA {OTHER} was killed: x")]
    assert deaths(sent) == []


def test_two_tas_on_two_consoles() -> None:
    entries = [
        Entry(0.0, "one", Direction.IN, "E/TC:? 0 TA panicked with code 0x1"),
        Entry(0.1, "two", Direction.IN, f"TA {OTHER} panicked with code 0x00000002"),
        Entry(0.2, "two", Direction.IN, STATUS),  # of no panic of that console
        Entry(0.3, "one", Direction.IN, STATUS),
    ]
    assert [(death.ta, death.code) for death in deaths(entries)] == [(OTHER, 2), (TA, 1)]


def test_lines_that_come_after_the_answer() -> None:
    log = Log()
    log.add("uart", Direction.IN, f"TA {TA} panicked with code 0x00000001")
    printed = PrintedDeaths(log)
    began = printed.now()
    late = threading.Timer(0.1, lambda: log.add("uart", Direction.IN, f"TA {TA} panicked with code 0x00000002"))
    late.start()
    found = printed.since(began, TA)
    late.join()
    assert [(death.ta, death.code) for death in found] == [(TA, 2)]
