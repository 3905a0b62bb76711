"""Relocation arithmetic, entry by entry, against words that the ABI documents' formulas give."""

from __future__ import annotations

import struct

import pytest

from south.platform import Prot
from ta_loader import relocation
from ta_loader.elf.checks import Segment
from ta_loader.elf.memory import Memory
from ta_loader.elf.symbols import Symbol
from ta_loader.relocation import Plan, Template, aarch64, arm
from tee.abi import results
from tee.errors import TeeError

BASE = 0x7000_0000
TEXT, DATA = 0x0, 0x1000
OWN = Symbol(b"own", 0x1040, 1, 1, 5)
OTHER = Symbol(b"other", 0, 1, 0, 0)
MAYBE = Symbol(b"maybe", 0, 2, 0, 0)
SYMBOLS = [Symbol(b"", 0, 0, 0, 0), OWN, OTHER, MAYBE]


def memory(data: bytes = bytes(64)) -> Memory:
    """Text of one page, then data of two with `data` in the file."""
    text, rest = memoryview(bytes(4096)), memoryview(data)
    return Memory([Segment(TEXT, 4096, text, Prot.RX, True), Segment(DATA, 8192, rest, Prot.RW, False)])


def rela(*rows: tuple[int, int, int, int]) -> bytes:
    """(offset, symbol, type, addend)"""
    return b"".join(struct.pack("<QQq", at, symbol << 32 | kind, addend) for at, symbol, kind, addend in rows)


def rel(*rows: tuple[int, int, int]) -> bytes:
    return b"".join(struct.pack("<II", at, symbol << 8 | kind) for at, symbol, kind in rows)


def compile64(where: Memory, *rows: tuple[int, int, int, int]) -> Plan:
    template = Template(where, 8)
    aarch64.compile_table(rela(*rows), SYMBOLS, where, template)
    return template.plan


def compile32(where: Memory, *rows: tuple[int, int, int]) -> Plan:
    template = Template(where, 4)
    arm.compile_table(rel(*rows), SYMBOLS, where, template)
    return template.plan


def word(where: Memory, offset: int, size: int) -> int:
    return int.from_bytes(where.segments[1].data[offset : offset + size], "little")


def test_aarch64_relative_and_absolute() -> None:
    where = memory()
    plan = compile64(where, (0x1000, 0, 1027, 0x1234), (0x1008, 1, 257, 0x10), (0x1010, 0, 1027, -8))
    assert plan.relative == {1: [0, 2, 1]}
    assert [word(where, at, 8) for at in (0, 8, 16)] == [0x1234, 0x1050, 2**64 - 8]
    assert not plan.fixups
    assert not plan.imports


def test_aarch64_targets_without_file_data_or_alignment() -> None:
    plan = compile64(
        memory(), (0x2000, 0, 1027, 0x1234), (0x1003, 0, 1027, 5), (0x1009, 2, 1025, 0), (0x2010, 2, 1026, 0)
    )
    assert plan.fixups == [
        (1, 0x1000, relocation.BASE, -1, 0x1234),
        (1, 3, relocation.BASE, -1, 5),
        (1, 9, relocation.VALUE, 0, 0),
    ]
    assert plan.addresses == {1: [(0x1010 // 8, 0)]}


def test_aarch64_imports_are_looked_up_once() -> None:
    plan = compile64(memory(), (0x1000, 2, 1025, 0), (0x1008, 3, 1026, 0), (0x1010, 2, 257, 0), (0x1018, 2, 0, 0))
    assert plan.imports == [(b"other", False), (b"maybe", True)]
    assert plan.addresses == {1: [(0, 0), (1, 1), (2, 0)]}


def test_aarch64_thread_local() -> None:
    plan = compile64(memory(), (0x1000, 0, 1030, 4), (0x1008, 2, 1031, 8))
    assert plan.fixups == [(1, 0, relocation.TPREL, -1, 4), (1, 8, relocation.TLSDESC, 0, 8)]


def test_arm_addends_are_in_place() -> None:
    where = memory(struct.pack("<6I", 0x100, 0x200, 0xFFFFFFFC, 7, 7, 7))
    plan = compile32(
        where, (0x1000, 0, 23), (0x1004, 1, 2), (0x1008, 1, 3), (0x100C, 2, 2), (0x1010, 2, 21), (0x1014, 3, 22)
    )
    assert plan.relative == {1: [0, 1]}
    assert word(where, 0, 4) == 0x100
    assert word(where, 4, 4) == 0x1040 + 0x200
    assert word(where, 8, 4) == 0x1040 - 4 - 0x1008  # S + A - P
    assert plan.addresses == {1: [(3, 0), (4, 0), (5, 1)]}


def test_arm_thread_local() -> None:
    plan = compile32(memory(), (0x1000, 0, 17), (0x1004, 1, 17), (0x1008, 2, 17), (0x100C, 2, 18))
    assert [row[2:4] for row in plan.fixups] == [
        (relocation.DTPMOD, -1),
        (relocation.DTPMOD, -1),
        (relocation.DTPMOD, 0),
        (relocation.VALUE, 0),
    ]


def test_arm_pc_relative_beyond_the_file() -> None:
    plan = compile32(memory(), (0x2000, 1, 3))
    assert plan.fixups == [(1, 0x1000, relocation.VALUE, -1, 0x1040 - 0x2000)]


@pytest.mark.parametrize(
    ("row", "result"),
    [
        ((0x1000, 4, 1025, 0), results.BAD_FORMAT),  # symbol index out of range
        ((0x1000, 2**32 - 1, 257, 0), results.BAD_FORMAT),
        ((0x1000, 0, 1024, 0), results.BAD_FORMAT),  # R_AARCH64_COPY
        ((0x1000, 0, 1032, 0), results.BAD_FORMAT),  # R_AARCH64_IRELATIVE
        ((0x3000, 0, 1027, 0), results.BAD_FORMAT),  # past the end
        ((0x2FFC, 0, 1027, 0), results.BAD_FORMAT),
        ((0x2FF8, 0, 1031, 0), results.BAD_FORMAT),  # two words
        ((2**64 - 8, 0, 1027, 0), results.BAD_FORMAT),
        ((0x10, 0, 1027, 0), results.GENERIC),  # text
        ((0xFFC, 0, 1027, 0), results.GENERIC),  # across segments
    ],
)
def test_aarch64_refusals(row: tuple[int, int, int, int], result: results.Result) -> None:
    with pytest.raises(TeeError) as caught:
        compile64(memory(), row)
    assert caught.value.result == result


@pytest.mark.parametrize(
    ("row", "result"),
    [
        ((0x1000, 4, 21), results.BAD_FORMAT),
        ((0x1000, 0, 20), results.BAD_FORMAT),  # R_ARM_COPY
        ((0x1000, 0, 19), results.BAD_FORMAT),  # R_ARM_TLS_TPOFF32
        ((0x3000, 0, 23), results.BAD_FORMAT),
        ((0x2FFD, 0, 23), results.BAD_FORMAT),
        ((0xFFFFFFFC, 0, 23), results.BAD_FORMAT),
        ((0x10, 0, 23), results.GENERIC),
    ],
)
def test_arm_refusals(row: tuple[int, int, int], result: results.Result) -> None:
    with pytest.raises(TeeError) as caught:
        compile32(memory(), row)
    assert caught.value.result == result


def test_text_of_a_legacy_ta() -> None:
    where = memory()
    where.text_writable = True
    plan = compile64(where, (0x18, 0, 1027, 0x40))
    assert plan.relative[0] == [3]
    assert bytes(where.segments[0].data[0x18:0x20]) == (0x40).to_bytes(8, "little")


def test_object_without_data() -> None:
    where = Memory([Segment(0, 4096, memoryview(bytes(4096)), Prot.RX, True)])
    template = Template(where, 8)
    aarch64.compile_table(rela((8, 0, 0, 0)), SYMBOLS, where, template)
    with pytest.raises(TeeError):
        aarch64.compile_table(rela((8, 0, 1027, 0)), SYMBOLS, where, template)
