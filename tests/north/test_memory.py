"""Address spaces: placement, W^X, quotas, guard pages, cutting; a model checks every step."""

from __future__ import annotations

import os
import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from north.errors import BadRange, OutOfMemory
from north.memory import GUARD, AddressSpace, Usage, page_up
from south.engine.unicorn import UnicornEngine
from south.linux_host.host import HostEntropy
from south.linux_host.memory import HostPages
from south.platform import PAGE, Arch, Prot, RegionFlag

QUOTA = 1 << 20


def space(arch: Arch = Arch.AARCH64, quota: int = QUOTA) -> AddressSpace:
    arena = HostPages().arena(quota)
    return AddressSpace(UnicornEngine().create(arch, arena), arena, HostEntropy(), quota)


@pytest.mark.parametrize("arch", Arch)
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
        assert made.cpu.check(va, PAGE, Prot.RW) is (prot == Prot.RW)
    made.cpu.close()
