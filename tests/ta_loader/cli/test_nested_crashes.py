"""A TA that calls another: each death is reported with its TA, and what is expected is expected of the one called."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest

from south.platform import Arch
from ta_loader import samples
from tests.tas import cryptdrv
from tests.tas.cryptdrv import RAW_POKE, raw

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from uuid import UUID

    from tests.ta_loader.cli.conftest import Done

    Cli = Callable[..., Done]

HELLO, DRIVER = samples.HELLO[Arch.AARCH64], cryptdrv.UUIDS[Arch.AARCH64]
PANIC, OPEN, INVOKE = 2, 5, 7  # tee_syscall_numbers.h
HELLO_PANICS, HELLO_EMPTY = 2, 7
VALUE_IN, MEMREFS = 1, 0x77
INNER, OUTER = 0x111, 0x222
_UUID, _NONE, _PARAMS, _SESSION, _ORIGIN, _RECORD, _SPARE = 0, 0x40, 0x100, 0x200, 0x240, 0x300, 0x400
_FOREVER = 0xFFFFFFFF
NESTED = 2
"""The number of the first session in a session: they are counted."""


def calls(inner: UUID = HELLO, *, panics: bool = True, code: int = 0) -> str:
    """Parameters of a command that opens a session to `inner` and has it panic; then it panics itself, with `code`."""
    scratch = bytearray(0x1000)
    scratch[_UUID : _UUID + 16] = inner.bytes_le
    records = [raw(OPEN, _UUID, _FOREVER, _NONE, _SESSION, _ORIGIN, relocate=0b11101)]
    if inner == HELLO:
        command = HELLO_PANICS if panics else HELLO_EMPTY
        words: list[tuple[int, int]] = [(VALUE_IN if panics else 0, 0), (INNER, 0)]
    else:
        command = cryptdrv.CMD_RAW
        record = raw(PANIC if panics else RAW_POKE, INNER if panics else _SPARE, relocate=0 if panics else 1)
        scratch[_RECORD : _RECORD + len(record)] = record
        words = [(MEMREFS, 0), (_RECORD, 2), (len(record), 0), (_SPARE, 2), (64, 0)]
    records += [raw(RAW_POKE, _PARAMS + 8 * at, word, relocate=1 | kind) for at, (word, kind) in enumerate(words)]
    records.append(raw(INVOKE, NESTED, _FOREVER, command, _PARAMS, _ORIGIN, relocate=0b11000))
    if code:
        records.append(raw(PANIC, code))
    return f'params = ["inout:hex:{b"".join(records).hex()}", "inout:hex:{scratch.hex()}"]'


def script(tmp_path: Path, step: str) -> str:
    path = tmp_path / "script.toml"
    trust, tas = samples.public_key_file(), (samples.FOLDER, cryptdrv.HERE)
    path.write_text(
        f'trust = ["{trust}"]\nta_dirs = {[str(folder) for folder in tas]}\n'
        f'[[step]]\nopen = "{DRIVER}"\n[[step]]\ninvoke = {cryptdrv.CMD_RAW}\n{step}\n'
    )
    return str(path)


def headlines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("TA ")]


INNERS = pytest.mark.parametrize("inner", [HELLO, DRIVER], ids=["another TA", "another instance of the TA"])


@INNERS
def test_run_reports_every_crash(cli: Cli, tmp_path: Path, inner: UUID) -> None:
    words = [str(cryptdrv.path(Arch.AARCH64)), "--trust", samples.public_key_file(), "--ta-dir", samples.FOLDER,
             "--ta-dir", str(cryptdrv.HERE), "--invoke", hex(cryptdrv.CMD_RAW)]  # fmt: skip
    params = [text.strip('"') for text in calls(inner, code=OUTER).removeprefix("params = [").rstrip("]").split(", ")]
    done = cli("run", *words, *params)
    assert done.code == 3
    first, second = headlines(done.err)
    assert first.startswith(f"TA {inner} panicked with code 0x{INNER:08x}")
    assert second.startswith(f"TA {DRIVER} panicked with code 0x{OUTER:08x}")
    done = cli("run", "--json", *words, *params)
    step = done.json["steps"][1]
    assert [(crash["ta"], crash["code"], crash["caller"]) for crash in step["crashes"]] == [
        (str(inner), INNER, str(DRIVER)),
        (str(DRIVER), OUTER, None),
    ]
    assert step["crash"] == step["crashes"][1]
    assert len(headlines(done.err)) == 2


@INNERS
def test_run_reports_a_crash_that_its_ta_survived(cli: Cli, inner: UUID) -> None:
    words = [str(DRIVER), "--trust", samples.public_key_file(), "--ta-dir", samples.FOLDER,
             "--ta-dir", str(cryptdrv.HERE), "--invoke", hex(cryptdrv.CMD_RAW)]  # fmt: skip
    params = [text.strip('"') for text in calls(inner).removeprefix("params = [").rstrip("]").split(", ")]
    done = cli("run", *words, *params)
    assert done.code == 3
    assert len(headlines(done.err)) == 1
    assert "memref 4096 bytes" in done.out, "what the TA returned counts"
    step = cli("run", "--json", *words, *params).json["steps"][1]
    assert "crash" not in step
    assert step["code"] == 0
    assert len(step["crashes"]) == 1


@INNERS
@pytest.mark.parametrize(
    ("expected", "code", "differs"),
    [
        (f"panic = {OUTER:#x}", OUTER, ""),
        ("panic = true", OUTER, ""),
        (f"panic = {INNER:#x}", OUTER, f"panic code {OUTER:#x}, expected {INNER:#x}"),
        ('result = "TEE_SUCCESS"', 0, ""),
        (f"panic = {INNER:#x}", 0, "the TA survives, expected that it panics"),
        ('result = "TARGET_DEAD"', 0, "result TEE_SUCCESS"),
        ('died = "fault"', OUTER, "the TA panics, expected that it dies of a fault"),
    ],
)
def test_scripts_expect_of_the_ta_they_called(
    cli: Cli, tmp_path: Path, inner: UUID, expected: str, code: int, differs: str
) -> None:
    path = script(tmp_path, calls(inner, code=code) + "\n" + expected)
    junit = tmp_path / "junit.xml"
    done = cli("run", "--script", path, "--junit", str(junit))
    assert (done.code == 0) == (not differs), done.out + done.err
    assert differs in done.out
    reported = headlines(done.err)
    assert reported[0].startswith(f"TA {inner} panicked with code 0x{INNER:08x}")
    assert len(reported) == (2 if differs and code else 1), "what was expected is not reported"
    failures = [element.text or "" for element in ET.parse(junit).iter("failure")]
    assert [len(headlines(text)) for text in failures] == ([2 if code else 1] if differs else [])
    row = cli("run", "--json", "--script", path).json["steps"][1]
    assert len(row["crashes"]) == (2 if code else 1)


def test_a_nested_ta_that_lives_is_no_crash(cli: Cli, tmp_path: Path) -> None:
    done = cli("run", "--script", script(tmp_path, calls(panics=False)))
    assert (done.code, headlines(done.err)) == (0, []), done.out + done.err


def test_what_is_expected_of_a_close_is_compared(cli: Cli, tmp_path: Path) -> None:
    path = script(tmp_path, calls(panics=False))
    with open(path, "a", encoding="utf-8") as file:
        file.write("[[step]]\nclose = true\npanic = true\n")
    done = cli("run", "--script", path)
    assert done.code == 1
    assert "FAIL 3 close main" in done.out
    assert "the TA survives, expected that it panics" in done.out
