"""Panics and aborts of the secure world are found in merged logs, whatever stands between them."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boards.console_log import Direction, Entry
from boards.secure_log import Kind, findings, symbolised
from north.crash import MappedRegion
from tee.crash import crash_lines
from tee.records import Crash

TA_PANIC = """\
E/TC:? 0 TA panicked with code 0xffff0006
E/LD:  Status of TA 8aaaf200-2450-11e4-abe2-0002a5d5c51b
E/LD:   arch: aarch64
E/LD:  region  0: va 0x40005000 pa 0x0e31a000 size 0x002000 flags rw-s (ldelf)
E/LD:  Call stack:
E/LD:   0x000000004000a7c0
D/TC:? 0 user_ta_enter:195 tee_user_ta_enter: TA panicked
""".splitlines()
"""As OP-TEE 4.5 on qemu_v8 writes it (optee_os core/kernel/scall.c, ldelf/main.c), shortened."""


def entry(time: float, console: str, text: str, direction: Direction = Direction.IN) -> Entry:
    return Entry(time, console, direction, text)


def test_one_dump_is_one_finding() -> None:
    log = [entry(i, "secure", line) for i, line in enumerate(TA_PANIC)]
    log += [entry(i + 0.5, "normal", f"[   {i}.5] other: text") for i in range(5)]
    found = findings(sorted(log))
    assert [(f.kind, f.console, f.time) for f in found] == [(Kind.TA_PANIC, "secure", 0)]
    assert found[0].lines == tuple(TA_PANIC[:-1])


def test_two_dumps_one_after_the_other() -> None:
    log = [entry(i, "secure", line) for i, line in enumerate([*TA_PANIC, *TA_PANIC])]
    assert [len(f.lines) for f in findings(log)] == [6, 6]


def test_a_panic_after_an_abort_of_the_core_is_part_of_it() -> None:
    lines = [
        "E/TC:0 0 Core data-abort at address 0x0 (translation fault)",
        "E/TC:0 0  esr 0x96000005  ttbr0 0x1",
        "D/TC:1   test_wd_callback:49 WD call_count 5",
        "E/TC:0 0 Panic 'unhandled pageable abort' at core/arch/arm/kernel/abort.c:1",
        "[    1.0] the other world",
    ]
    found = findings([entry(i, "uart", line) for i, line in enumerate(lines)])
    assert [(f.kind, len(f.lines)) for f in found] == [(Kind.CORE_ABORT, 3)]


KERNEL = "[   12.345678] usb 1-1: new high-speed USB device number 2"
PROMPT = "some words of a program"


@given(st.lists(st.lists(st.sampled_from([KERNEL, PROMPT]), max_size=20), min_size=7, max_size=7))
def test_a_dump_survives_the_other_world_on_a_shared_uart(between: list[list[str]]) -> None:
    lines = [text for line, others in zip(TA_PANIC, between, strict=True) for text in [line, *others]]
    found = findings([entry(i / 100, "uart", line) for i, line in enumerate(lines)])
    assert [(f.kind, f.lines) for f in found] == [(Kind.TA_PANIC, tuple(TA_PANIC[:-1]))]
    named = symbolised([entry(i / 100, "uart", line) for i, line in enumerate(lines)], lambda _: None)
    assert [e.text for e in named if not e.text.startswith("E/")] == [text for text in lines if text[0] != "E"]


def test_what_comes_long_after_a_dump_is_not_of_it() -> None:
    log = [entry(i, "uart", line) for i, line in enumerate(TA_PANIC[:3])]
    log.append(entry(60, "uart", "E/TC:? 0 tee_ta_open_session: something else"))
    assert [len(f.lines) for f in findings(log)] == [3]
    log = [entry(i / 1000, "uart", line) for i, line in enumerate([*TA_PANIC[:3], *[PROMPT] * 100, "E/TC: else"])]
    assert [len(f.lines) for f in findings(log)] == [3]


def test_both_worlds_panic_at_once_on_one_uart() -> None:
    kernel = [
        "[    1.000001] Kernel panic - not syncing: OP-TEE is gone",
        *(f"[    1.{i:06d}] frame" for i in range(9)),
    ]
    kernel.append("[    1.900000] ---[ end Kernel panic - not syncing ]---")
    secure = ["E/TC:0 0 Panic 'no memory' at core/mm.c:12 <boot>", *(f"E/TC:0 0 frame {i}" for i in range(10))]
    lines = [line for pair in zip(kernel, secure, strict=True) for line in pair]
    found = findings([entry(i / 100, "uart", line) for i, line in enumerate(lines)])
    assert {f.kind: f.lines for f in found} == {Kind.KERNEL: tuple(kernel), Kind.CORE_PANIC: tuple(secure)}


def crash(kind: str, code: int, detail: str) -> Crash:
    regions = [MappedRegion(0x40000000, 0x1000, "r-x", ".text")]
    return Crash(UUID(int=7), kind, code, detail, {f"x{i}": i for i in range(31)}, regions, [])


@pytest.mark.parametrize(
    ("report", "kind"),
    [
        (crash("panic", 0xFFFF0006, "TEE_Panic(0xffff0006)"), Kind.TA_PANIC),
        (crash("panic", 1, ""), Kind.TA_PANIC),
        (crash("fault", 0, "write to 0x0 is not allowed, at pc 0x40000000"), Kind.TA_ABORT),
        (crash("exception", 0, "undefined instruction at pc 0x40000000"), Kind.TA_ABORT),
        (crash("limit", 0, "10 s"), Kind.TA_LIMIT),
    ],
)
def test_reports_of_our_own_secure_world_are_found_whole(report: Crash, kind: Kind) -> None:
    lines = list(crash_lines(report))
    log = [entry(i / 100, "secure", line) for i, line in enumerate(["D/TA:  before", *lines, "D/TA:  after"])]
    assert [(f.kind, f.lines) for f in findings(log)] == [(kind, tuple(lines))]
    twice = [entry(i / 100, "secure", line) for i, line in enumerate(lines * 2)]
    assert [f.lines for f in findings(twice)] == [tuple(lines)] * 2


def test_the_end_of_a_client_is_no_finding() -> None:
    assert not findings([entry(0, "secure", line) for line in crash_lines(crash("killed", 0, "its client ended"))])


def test_our_own_internal_errors_are_found() -> None:
    text = "litebox: internal error in system call 7, please report it:"
    lines = [text, "Traceback (most recent call last):", "  File", "KeyError: 1", "D/TA:  after"]
    log = [entry(i, "secure", line) for i, line in enumerate(lines)]
    assert [(f.kind, len(f.lines)) for f in findings(log)] == [(Kind.INTERNAL, 4)]


def test_kinds() -> None:
    lines = {
        "E/TC:0 0 Core data-abort at address 0x0 (translation fault)": Kind.CORE_ABORT,
        "E/TC:? 0 User mode data-abort at address 0x8 (write permission fault)": Kind.TA_ABORT,
        "E/TC:0 0 Panic at core/kernel/x.c:10 <f>": Kind.CORE_PANIC,
        "E/LD:  ldelf failed with res: 0xffff000f": Kind.LOADER,
        "PANIC at PC : 0x000000000e0a1234": Kind.FIRMWARE,
        "[    1.0] Kernel panic - not syncing: Attempted to kill init!": Kind.KERNEL,
    }
    for text, kind in lines.items():
        assert [f.kind for f in findings([entry(1, "uart", text)])] == [kind], text


def test_what_we_wrote_is_no_finding() -> None:
    assert not findings([entry(1, "uart", TA_PANIC[0], Direction.OUT)])


def test_names_are_added_in_place() -> None:
    log = [entry(i, "secure", line) for i, line in enumerate(TA_PANIC)]
    log.insert(3, entry(2.5, "normal", "between"))
    named = symbolised(log, lambda _: None)
    assert [e._replace(text="") for e in named] == [e._replace(text="") for e in log]
    assert named[0].text == TA_PANIC[0] + " (TEE_ERROR_BAD_PARAMETERS)"


LINES = st.sampled_from([*TA_PANIC, "text", "PANIC at PC : 0x1", "E/TC:0 0 Panic", "", "E/LD: [0] x @ 0x1"])


@given(st.lists(st.tuples(st.floats(0, 100), st.sampled_from(["a", "b"]), st.sampled_from(Direction), LINES)))
def test_any_log(rows: list[tuple[float, str, Direction, str]]) -> None:
    log = sorted(Entry(*row) for row in rows)
    named = symbolised(log, lambda _: None)
    assert sorted((e.time, e.console, e.direction) for e in named) == [(e.time, e.console, e.direction) for e in log]
    found = findings(named)
    assert sum(len(f.lines) for f in found) <= len(log)
