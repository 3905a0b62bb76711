"""The power fails at every operation in turn, and each object is wholly old or wholly new."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, NamedTuple

import pytest

from normal_world.supplicant.files import ReeFiles
from tee.abi import results
from tee.errors import TeeError
from tee.storage.keys import StorageKeys
from tee.storage.ree_fs import RESERVE_MOST, ReeFs
from tests.fakes import FixedRoot
from tests.tee.storage.kit import HUK, Cut, Entropy, MemoryFiles, contents, key, store
from tests.tee.storage.reader import read_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OLD = bytes(range(256)) * 40
"""Three blocks."""
CHANGED = b"#" * 5000
BYSTANDER = b"not concerned"


class Change(NamedTuple):
    """run: what is cut; before, after: objects by id, None for none."""

    run: Callable[[ReeFs], object]
    before: dict[bytes, bytes | None]
    after: dict[bytes, bytes | None]


def _write(system: ReeFs) -> None:
    system.open(key(b"a")).write(100, CHANGED)


def _append(system: ReeFs) -> None:
    system.open(key(b"a")).write(len(OLD) + 9000, CHANGED)


CHANGES = {
    "first create": Change(lambda s: s.create(key(b"a"), OLD, overwrite=False), {b"a": None}, {b"a": OLD}),
    "create": Change(lambda s: s.create(key(b"b"), OLD, overwrite=False), {b"b": None}, {b"b": OLD}),
    "overwrite": Change(lambda s: s.create(key(b"a"), CHANGED, overwrite=True), {b"a": OLD}, {b"a": CHANGED}),
    "write": Change(_write, {b"a": OLD}, {b"a": OLD[:100] + CHANGED + OLD[5100:]}),
    "append": Change(_append, {b"a": OLD}, {b"a": OLD + bytes(9000) + CHANGED}),
    "cut": Change(lambda s: s.open(key(b"a")).truncate(10), {b"a": OLD}, {b"a": OLD[:10]}),
    "extend": Change(lambda s: s.open(key(b"a")).truncate(30000), {b"a": OLD}, {b"a": OLD + bytes(30000 - len(OLD))}),
    "rename": Change(lambda s: s.rename(key(b"a"), key(b"b")), {b"a": OLD, b"b": None}, {b"a": None, b"b": OLD}),
    "remove": Change(lambda s: s.remove(key(b"a")), {b"a": OLD}, {b"a": None}),
}


def prepared(change: Change) -> dict[str, bytes]:
    if change is CHANGES["first create"]:
        return {}
    files = MemoryFiles()
    system = store(files)
    system.create(key(b"a"), OLD, overwrite=False)
    system.create(key(b"z"), BYSTANDER, overwrite=False)
    return {name: bytes(data) for name, data in files.stored.items()}


def run(change: Change, stored: dict[str, bytes], **cut: int) -> MemoryFiles:
    files = MemoryFiles(stored, **cut)
    try:
        change.run(store(files, seed=2))
    except Cut:
        pass
    return files


def check(change: Change, stored: dict[str, bytes]) -> dict[bytes, bytes | None]:
    found = contents(stored, *change.before)
    assert found in (change.before, change.after)
    if change is not CHANGES["first create"]:
        assert contents(stored, b"z") == {b"z": BYSTANDER}
    return found


@pytest.mark.parametrize("name", CHANGES)
def test_wholly_old_or_wholly_new(name: str) -> None:
    change = CHANGES[name]
    stored = prepared(change)
    whole = run(change, stored)
    assert check(change, whole.survivors(keep=0)) == change.after, "done, so it is on the medium"
    chance = random.Random(3)
    seen: set[bool] = set()
    for cut_at in range(1, whole.operations + 1):
        files = run(change, stored, cut_at=cut_at)
        for left in files.cuts(chance):
            seen.add(check(change, left) == change.after)
    assert seen == {False, True}


@pytest.mark.parametrize("first", CHANGES)
def test_a_kill_and_then_a_cut(first: str) -> None:
    """A process is killed with its last writes on no medium; another one goes on with what it sees, and is cut off."""
    change = CHANGES[first]
    stored = prepared(change)
    chance = random.Random(4)
    again: Callable[[ReeFs], object] = lambda s: s.create(key(b"y"), CHANGED, overwrite=True)  # noqa: E731
    whole = run(change, stored)
    for kill_at in range(1, whole.operations + 1):
        for cut_at in range(1, 30, 3):
            files = run(change, stored, cut_at=kill_at)
            files.cut_at = files.operations + cut_at
            try:
                again(store(files, seed=3))
            except Cut:
                pass
            else:
                assert contents(files.survivors(keep=0), b"y") == {b"y": CHANGED}
            for left in files.cuts(chance, 4):
                check(change, left)
                assert contents(left, b"y")[b"y"] in (None, CHANGED)


SYNCS: dict[str, tuple[Callable[[ReeFs], object], int]] = {
    "create": (lambda s: s.create(key(b"b"), OLD, overwrite=False), 2),
    "create, then write": (lambda s: s.create(key(b"b"), b"", overwrite=False).write(0, OLD), 4),
    "overwrite": (lambda s: s.create(key(b"a"), CHANGED, overwrite=True), 2),
    "write": (_write, 2),
    "append": (_append, 2),
    "cut": (lambda s: s.open(key(b"a")).truncate(10), 2),
    "rename": (lambda s: s.rename(key(b"a"), key(b"b")), 1),
    "remove": (lambda s: s.remove(key(b"a")), 1),
}
"""What each change costs: changes, and syncs of files and folders."""


@pytest.mark.parametrize("name", SYNCS)
def test_how_many_syncs(name: str) -> None:
    change, syncs = SYNCS[name]
    files = MemoryFiles(prepared(CHANGES["write"]))
    change(store(files, seed=2))
    assert files.syncs == syncs


@pytest.mark.parametrize("name", SYNCS)
def test_how_many_syncs_of_the_host(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file, data in prepared(CHANGES["write"]).items():
        (tmp_path / file).write_bytes(data)
    syncs: list[int] = []
    for function in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, function, syncs.append)
    change, expected = SYNCS[name]
    change(ReeFs(ReeFiles(tmp_path), Entropy(2), StorageKeys(FixedRoot(HUK))))
    assert len(syncs) == expected


def test_names_are_made_in_batches() -> None:
    """Objects that come and go leave no more than the names that are kept ready; most creations find theirs there."""
    files = MemoryFiles(prepared(CHANGES["write"]))
    system = store(files, seed=2)
    for number in range(64):
        system.create(key(b"%d" % number), b"", overwrite=False).close()
    assert files.syncs - 2 * 64 <= 64 // RESERVE_MOST
    for number in range(64):
        system.remove(key(b"%d" % number))
    assert sorted(files.stored) == sorted({"dirf.db", *(f"{number:x}" for number in range(2 + RESERVE_MOST))})
    before = files.syncs
    for _ in range(64):
        system.create(key(b"n"), b"", overwrite=False).close()
        system.remove(key(b"n"))
    assert files.syncs - before == 3 * 64


@pytest.mark.parametrize("name", CHANGES)
def test_the_store_goes_on_after_a_cut(name: str) -> None:
    """What a cut leaves behind is in nobody's way: the same change is made again, and all of it can be read."""
    change = CHANGES[name]
    stored = prepared(change)
    whole = run(change, stored)
    for cut_at in range(1, whole.operations + 1):
        left = run(change, stored, cut_at=cut_at).survivors()
        if contents(left, *change.before) == change.before:
            left = run(change, left).survivors(keep=0)
        assert contents(left, *change.before) == change.after
        if "dirf.db" in left:
            read_store(left, HUK)


ANSWERS = {
    results.STORAGE_NO_SPACE: results.STORAGE_NO_SPACE,
    results.ACCESS_CONFLICT: results.ACCESS_CONFLICT,
    results.ITEM_NOT_FOUND: results.ITEM_NOT_FOUND,
    results.GENERIC: results.STORAGE_NOT_AVAILABLE,
    results.BUSY: results.STORAGE_NOT_AVAILABLE,
}
"""What the normal world may say to anything, and what a TA sees of it."""


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("name", CHANGES)
def test_an_error_leaves_the_old_version(name: str, answer: results.Result) -> None:
    """At each operation in turn: the same secure world goes on with what is on the medium."""
    change = CHANGES[name]
    stored = prepared(change)
    whole = run(change, stored)
    for fail_at in range(1, whole.operations + 1):
        files = MemoryFiles(stored)
        files.fail_at, files.fail_with = fail_at, answer
        system = store(files, seed=2)
        try:
            change.run(system)
        except TeeError as error:
            if error.result != ANSWERS[answer]:
                raise
        live = {name: bytes(data) for name, data in files.stored.items()}
        found = contents(live, *change.before)
        assert found in (change.before, change.after)
        if found == change.before:
            change.run(system)
            live = {name: bytes(data) for name, data in files.stored.items()}
            assert contents(live, *change.before) == change.after


def test_an_open_object_survives_an_error() -> None:
    files = MemoryFiles()
    file = store(files).create(key(b"a"), OLD, overwrite=False)
    files.fail_at = files.operations + 2
    with pytest.raises(TeeError):
        file.write(0, CHANGED)
    assert file.read(0, 1 << 20) == OLD
    file.write(0, b"x")
    assert file.read(0, 1 << 20) == b"x" + OLD[1:]


def test_no_handle_is_left_open() -> None:
    for fail_at in range(1, 40):
        files = MemoryFiles()
        files.fail_at = fail_at
        system = store(files)
        try:
            system.create(key(b"a"), OLD, overwrite=False).close()
            system.remove(key(b"a"))
        except TeeError:
            pass
        system.forget()
        assert not files.handles


@pytest.mark.parametrize("blank", [b"", bytes(136), bytes(5000)])
def test_a_directory_that_was_never_finished_is_made_anew(blank: bytes) -> None:
    """OP-TEE makes it in place: node first, then the header."""
    files = MemoryFiles({"dirf.db": blank})
    store(files).create(key(b"a"), OLD, overwrite=False)
    assert contents(files.survivors(keep=0), b"a") == {b"a": OLD}


def test_what_a_truncation_frees_is_given_back() -> None:
    files = MemoryFiles()
    file = store(files).create(key(b"a"), bytes(100 * 4096), overwrite=False)
    before = len(files.stored["0"])
    file.truncate(1)
    assert len(files.stored["0"]) < before // 20
