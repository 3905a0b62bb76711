"""Address spaces: placement, W^X, quotas, guard pages, cutting; a model checks every step."""

from __future__ import annotations

import os
import random
from itertools import pairwise
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from north.errors import BadRange, OutOfMemory
from north.memory import GUARD, AddressSpace, Layout, Usage, page_up
from south.engine.unicorn import UnicornEngine
from south.linux_host.host import HostEntropy
from south.linux_host.memory import HostPages
from south.platform import PAGE, Arch, Prot, RegionFlag
from ta_loader.machines import TA_ARCHES
from tests.ta_loader.elf_kit import FakePages, FakeTable, SeededEntropy

if TYPE_CHECKING:
    from south.platform import Space

QUOTA = 1 << 20


def space(arch: Arch = Arch.AARCH64, quota: int = QUOTA) -> AddressSpace:
    arena = HostPages().arena(quota)
    return AddressSpace(UnicornEngine().space(arch, arena), arena, HostEntropy(), quota)


SPARSE = 1 << 30
"""Bytes of memory that tests of placement alone never touch, and addresses of a board's TA."""


def bare_space(arch: Arch, layout: Layout = Layout.BOARD, seed: int = 1) -> AddressSpace:
    return AddressSpace(cast("Space", FakeTable(arch)), FakePages(SPARSE), SeededEntropy(seed), SPARSE, layout)


@pytest.mark.parametrize("arch", TA_ARCHES)
def test_regions_are_zeroed_placed_at_random_and_apart(arch: Arch) -> None:
    made = space(arch)
    regions = [made.map(3 * PAGE, Prot.RW, name=str(i)) for i in range(20)]
    assert all(made.read(r.va, r.size) == bytes(r.size) for r in regions)
    ordered = sorted(regions)
    assert all(b.va - a.end >= GUARD for a, b in pairwise(ordered))
    assert all(made.low <= r.va and r.end <= made.high for r in regions)
    again = [space(arch).map(PAGE, Prot.RW, name="x").va for _ in range(8)]
    assert len(set(again)) > 1


def test_write_and_execute_exclude_each_other() -> None:
    made = space()
    with pytest.raises(BadRange):
        made.map(PAGE, Prot.W | Prot.X, name="x")
    region = made.map(PAGE, Prot.RW, name="x")
    with pytest.raises(BadRange):
        made.protect(region.va, PAGE, Prot.R | Prot.W | Prot.X)
    made.protect(region.va, PAGE, Prot.RX)
    assert region.prot == Prot.RX


def test_the_quota_counts_private_memory_and_only_that() -> None:
    made = space(quota=8 * PAGE)
    kept = made.map(6 * PAGE, Prot.RW, name="a")
    with pytest.raises(OutOfMemory):
        made.map(3 * PAGE, Prot.RW, name="b")
    foreign = HostPages().shared(64 * PAGE)
    made.map(64 * PAGE, Prot.RW, name="c", pages=foreign, flags=RegionFlag.NONSECURE)
    assert made.used == 6 * PAGE
    made.unmap(kept.va, kept.size)
    assert made.used == 0


def test_usage_remembers_the_peak_and_what_was_refused() -> None:
    made = space(quota=8 * PAGE)
    kept = made.map(2 * PAGE, Prot.RW, name="a")
    gone = made.map(4 * PAGE, Prot.RW, name="b")
    for pages in (3, 100, 5):
        with pytest.raises(OutOfMemory):
            made.map(pages * PAGE, Prot.RW, name="c")
    made.unmap(gone.va, gone.size)
    assert made.usage == Usage(2 * PAGE, 6 * PAGE, 8 * PAGE, 3, 100 * PAGE, 6 * PAGE)
    made.reset_usage()
    assert made.usage == Usage(2 * PAGE, 2 * PAGE, 8 * PAGE, 0, 0, 0)
    made.unmap(kept.va, kept.size)
    assert made.usage.peak == 2 * PAGE


def test_memory_that_was_used_is_zeroed_before_it_is_given_out_again() -> None:
    made = space(quota=4 * PAGE)
    for _ in range(5):
        region = made.map(4 * PAGE, Prot.RW, name="x")
        assert made.read(region.va, region.size) == bytes(region.size)
        made.write(region.va, os.urandom(region.size))
        made.unmap(region.va, region.size)


def test_foreign_memory_ends_where_it_ends() -> None:
    made = space()
    foreign = HostPages().shared(2 * PAGE)
    for offset, size in ((0, 3 * PAGE), (PAGE, 2 * PAGE), (2 * PAGE, PAGE)):
        with pytest.raises(BadRange):
            made.map(size, Prot.RW, name="x", pages=foreign, offset=offset)
        with pytest.raises(BadRange):
            made.attach(foreign, offset, size, Prot.RW, RegionFlag.NONSECURE, made.low + 64 * PAGE)


def test_bad_ranges() -> None:
    made = space(Arch.ARM)
    region = made.map(PAGE, Prot.RW, name="x")
    for call in (
        lambda: made.unmap(region.va + 1, PAGE),
        lambda: made.unmap(region.va, 2 * PAGE),
        lambda: made.protect(region.va - PAGE, PAGE, Prot.R),
        lambda: made.map(PAGE, Prot.RW, name="y", at=region.va),
        lambda: made.map(PAGE, Prot.RW, name="y", at=1 << 32),
        lambda: made.map(0, Prot.RW, name="y"),
        lambda: made.read(region.end - 1, 2),
        lambda: made.write(region.end, b"x"),
        lambda: made.view(region.va, PAGE + 1),
    ):
        with pytest.raises(BadRange):
            call()
    with pytest.raises(OutOfMemory):
        made.reserve(1 << 40)


@pytest.mark.parametrize("arch", TA_ARCHES)
def test_a_boards_addresses_are_one_entry_of_a_level_1_table(arch: Arch) -> None:
    made = bare_space(arch)
    assert (made.low, made.high) == (0x4000_0000, 0x8000_0000)
    regions = [made.map(size, Prot.RW, name="x") for size in (PAGE, 3 * PAGE, 2 << 20, 12 << 20) * 40]
    assert all(0x4000_0000 <= r.va < r.end <= 0x8000_0000 for r in regions)
    assert all(b.va - a.end >= GUARD for a, b in pairwise(sorted(regions)))


@pytest.mark.parametrize(("arch", "high"), [(Arch.AARCH64, 1 << 39), (Arch.ARM, 0xC000_0000)])
def test_wide_addresses_are_all_that_the_architecture_has(arch: Arch, high: int) -> None:
    made = bare_space(arch, Layout.WIDE)
    regions = [made.map(PAGE, Prot.RW, name="x") for _ in range(64)]
    assert high / 2 < max(r.end for r in regions) <= high


@pytest.mark.parametrize("seed", range(20))
def test_a_boards_window_keeps_room_for_large_regions_wherever_the_small_ones_lie(seed: int) -> None:
    made = bare_space(Arch.AARCH64, seed=seed)
    for _ in range(500):
        made.map(PAGE, Prot.RW, name="small")
    large = [made.map(SPARSE // 4 - PAGE, Prot.RW, name="large") for _ in range(3)]
    assert made.find(large[0].va) is large[0]
    rest = 0x8000_0000 - max(r.end for r in large)
    made.map(rest - 2 * GUARD, Prot.RW, name="rest")
    with pytest.raises(OutOfMemory, match="no hole"):
        made.map(SPARSE // 8, Prot.RW, name="more")
    made.map(PAGE, Prot.RW, name="small")


def test_large_regions_use_the_small_ones_room_in_the_end_and_small_ones_theirs() -> None:
    made = bare_space(Arch.AARCH64)
    made.map(SPARSE - 2 * GUARD, Prot.RW, name="all")
    with pytest.raises(OutOfMemory, match="no hole"):
        made.map(PAGE, Prot.RW, name="x")
    made = bare_space(Arch.AARCH64)
    band = [made.map(1 << 20, Prot.RW, name="x") for _ in range(200)]
    assert max(r.end for r in band) > made.low + (128 << 20)


def test_a_region_larger_than_the_window_is_refused() -> None:
    made = bare_space(Arch.AARCH64)
    for size in (SPARSE, SPARSE - GUARD, 1 << 40):
        with pytest.raises(OutOfMemory, match="more than"):
            made.reserve(size)


@pytest.mark.parametrize("layout", Layout)
def test_nothing_is_mapped_below_the_addresses_handed_out(layout: Layout) -> None:
    made = bare_space(Arch.AARCH64, layout)
    for at in (0, PAGE, made.low - PAGE):
        with pytest.raises(BadRange):
            made.map(PAGE, Prot.RW, name="x", at=at)


@settings(max_examples=40)
@given(st.integers(0, 2**32))
def test_any_sequence_of_changes_agrees_with_a_page_by_page_model(seed: int) -> None:
    rng = random.Random(seed)
    made = space(quota=64 * PAGE)
    model: dict[int, Prot] = {}
    for _ in range(60):
        mapped = sorted(model)
        what = rng.random()
        if what < 0.4 or not mapped:
            pages = rng.randrange(1, 6)
            if len(model) + pages > 64:
                continue
            try:
                region = made.map(pages * PAGE - rng.randrange(PAGE), Prot.RW, name="x")
            except OutOfMemory:
                continue  # fragmented
            model.update((region.va + i * PAGE, Prot.RW) for i in range(pages))
            continue
        va = rng.choice(mapped)
        run = 1
        while va + run * PAGE in model and rng.random() < 0.6:
            run += 1
        if what < 0.7:
            made.unmap(va, run * PAGE)
            for i in range(run):
                del model[va + i * PAGE]
        else:
            prot = rng.choice((Prot.R, Prot.RX, Prot.RW, Prot.NONE))
            made.protect(va, run * PAGE, prot)
            model.update((va + i * PAGE, prot) for i in range(run))
    seen = {r.va + i: r.prot for r in made for i in range(0, r.size, PAGE)}
    assert seen == model
    assert made.used == len(model) * PAGE == sum(page_up(r.size) for r in made)
    for va, prot in model.items():
        assert made.table.check(va, PAGE, Prot.RW) is (prot == Prot.RW)
    made.table.close()
