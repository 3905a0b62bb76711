"""Rows of facts about architectures: the parts that stand in Python and in C agree, and what has no row is refused."""

from __future__ import annotations

from typing import Any

import pytest

from north.errors import SpaceError
from north.memory import AddressSpace, Layout
from south.engine.binding import lib
from south.engine.unicorn import UnicornEngine
from south.linux_host.memory import HostPages
from south.platform import PAGE, Arch, EngineError

every_arch = pytest.mark.parametrize("arch", list(Arch), ids=lambda a: a.value)


@every_arch
def test_the_engine_has_the_same_facts(arch: Arch) -> None:
    row = lib.lb_arch_named(arch.value.encode())
    assert (row.word_bits // 8, row.code_unit) == (arch.word, arch.code_unit)
    assert Arch(arch.value) is arch


@every_arch
def test_a_row_has_all_facts(arch: Arch) -> None:
    facts = {name: kind for name, kind in Arch.__annotations__.items() if not name.startswith("_")}
    assert {name: type(vars(arch)[name]).__name__ for name in facts} == facts
    assert not {name for name in vars(arch) if not name.startswith("_")} - set(facts)


def test_rows_are_not_each_others() -> None:
    assert len({arch.elf_machine for arch in Arch}) == len(Arch)
    assert Arch.ARM.code_address(0x1001) == 0x1000
    assert Arch.AARCH64.code_address(0x1001) == 0x1001


class _Unknown:
    """An architecture, and a CPU of it, that nobody knows."""

    value, word = "riscv64", 8

    @property
    def arch(self) -> _Unknown:
        return self


def test_an_architecture_without_a_row_is_refused() -> None:
    """Not taken for the last one of a chain."""
    unknown: Any = _Unknown()
    with pytest.raises(EngineError, match="no processors for riscv64"):
        UnicornEngine().space(unknown, HostPages().arena(PAGE))
    cpu: Any = unknown
    for layout in Layout:
        with pytest.raises(SpaceError, match=f"no {layout.value} layout for riscv64"):
            AddressSpace(cpu, HostPages().arena(PAGE), cpu, PAGE, layout)
