"""Panics and aborts of the secure world are found in merged logs, whatever stands between them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from boards.console_log import Direction, Entry
from boards.secure_log import Kind, findings, symbolised

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
