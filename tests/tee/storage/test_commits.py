"""A change that failed has changed nothing, one that took force has not failed, and what it reserved is free again."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING, Any

import pytest

from normal_world.supplicant.rpmb import EmulatedRpmb
from tee.abi import results
from tee.abi.storage import DataFlag
from tee.errors import TeeError
from tee.storage.objects import PersistentObject
from tests.tee.fake_ta import BASE, SIZE
from tests.tee.storage.kit import Cut, MemoryFiles, contents, key, store
from tests.tee.storage.test_durability import CHANGED, CHANGES, prepared
from tests.tee.storage.test_rpmb import RpmbTa, ta_on
from tests.tee.storage.test_services import ALL, Ta
from tests.threads import together

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tee.storage.ree_fs import ReeFs
    from tests.tee.storage.test_durability import Change


@pytest.fixture(params=["files", "RPMB"])
def tas(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[int], Ta]]:
    """Instances of TA 1 on one store."""
    if request.param == "files":
        first = Ta()
        yield lambda _: Ta(first.storage)
        return
    device = EmulatedRpmb(tmp_path / "rpmb")
    on_device = ta_on(device)
    yield lambda _: RpmbTa(on_device.storage)
    device.close()


# --- one failure of the normal world's, at each operation in turn


def failing(
    change: Change, stored: dict[str, bytes], at: int, error: results.Result
) -> tuple[MemoryFiles, ReeFs, bool]:
    """The files, the store, and whether the change says that it was made."""
    files = MemoryFiles(stored)
    system = store(files, seed=2)
    files.reads_count = True
    files.fail_at, files.fail_with = at, error
    made = True
    try:
        change.run(system)
    except TeeError:
        made = False
    files.fail_at, files.reads_count = 0, False
    return files, system, made


def seen(system: ReeFs, names: dict[bytes, bytes | None]) -> dict[bytes, bytes | None]:
    found: dict[bytes, bytes | None] = {}
    for name in names:
        try:
            file = system.open(key(name))
        except TeeError as error:
            if error.result != results.ITEM_NOT_FOUND:
                raise
            found[name] = None
        else:
            found[name] = file.read(0, file.length)
            file.close()
    return found


@pytest.mark.parametrize("error", [results.STORAGE_NO_SPACE, results.GENERIC], ids=["no space", "I/O error"])
@pytest.mark.parametrize("name", CHANGES)
def test_an_error_says_that_nothing_has_changed(name: str, error: results.Result) -> None:
    change = CHANGES[name]
    stored = prepared(change)
    outcomes: list[bool] = []
    for at in range(1, 500):
        files, system, made = failing(change, stored, at, error)
        expected = change.after if made else change.before
        assert seen(system, change.before) == expected, f"operation {at}"
        assert contents({name: bytes(data) for name, data in files.stored.items()}, *change.before) == expected
        outcomes.append(made)
        if at > files.operations:
            break
    assert outcomes[-1]
    assert not all(outcomes)


@pytest.mark.parametrize("name", CHANGES)
def test_after_an_error_the_next_change_is_as_safe_as_any(name: str) -> None:
    """What the failed one left unsynced may reach the medium or not, while the next one is cut off."""
    change = CHANGES[name]
    stored = prepared(change)
    chance = random.Random(6)
    nexts: list[Callable[[ReeFs], object]] = [
        lambda s: s.create(key(b"y"), CHANGED, overwrite=True),
        lambda s: change.run(s),
    ]
    for at in range(1, 60):
        for again in nexts:
            for cut_at in range(1, 30, 4):
                files, system, made = failing(change, stored, at, results.GENERIC)
                if made:
                    continue
                files.cut_at = files.operations + cut_at
                try:
                    again(system)
                except Cut:
                    pass
                for left in files.cuts(chance, 4):
                    assert contents(left, *change.before) in (change.before, change.after), (at, cut_at)


# --- other instances, at any moment of a change


def test_a_rename_while_another_instance_looks_at_the_object(tas: Callable[[int], Ta], monkeypatch: Any) -> None:
    renamer, other = tas(1), tas(2)
    obj = renamer.made(b"a", b"data")
    real = PersistentObject.info
    done: list[int] = []

    def info(self: PersistentObject) -> bytes:
        if not done:
            done.append(renamer.call("storage_obj_rename", obj, renamer.memory.place(b"b"), 1))
        return real(self)

    monkeypatch.setattr(PersistentObject, "info", info)
    assert other.names() == {b"a"}
    assert done == [results.SUCCESS]
    assert other.names() == {b"b"}
    assert renamer.data(obj) == b"data"
    assert renamer.write(obj, b"more") == results.SUCCESS
    assert other.open(b"b") == results.ACCESS_CONFLICT, "the renamer has it open"
    assert renamer.close(obj) == results.SUCCESS
    assert len(renamer.storage.pobjs) == 0
    assert other.open(b"b") == results.SUCCESS
    assert other.create(b"a", b"new") == results.SUCCESS, "the old name is free"


@pytest.mark.parametrize("flags", [ALL, ALL | DataFlag.OVERWRITE, DataFlag.ACCESS_READ, None], ids=str)
def test_who_enumerates_keeps_nobody_from_an_object(
    tas: Callable[[int], Ta], monkeypatch: Any, flags: DataFlag | None
) -> None:
    """flags: to open it with, or to make it with; None: delete it and make it again."""
    opener, other = tas(1), tas(2)
    opener.close(opener.made(b"a", b"data"))
    real = PersistentObject.info
    done: list[int] = []

    def info(self: PersistentObject) -> bytes:
        if not done:
            if flags is None:
                assert opener.open(b"a") == results.SUCCESS
                done.append(opener.call("storage_obj_del", opener.out))
                done.append(opener.create(b"a", b"data"))
            else:
                made = bool(flags & DataFlag.OVERWRITE)
                done.append(opener.create(b"a", b"data", flags) if made else opener.open(b"a", flags))
        return real(self)

    monkeypatch.setattr(PersistentObject, "info", info)
    other.names()
    assert set(done) == {results.SUCCESS}
    obj = opener.out
    assert opener.data(obj) == b"data"
    assert other.names() == {b"a"}
    assert opener.close(obj) == results.SUCCESS
    assert len(opener.storage.pobjs) == 0


@pytest.mark.parametrize("change", ["rename", "delete", "overwrite"])
@pytest.mark.parametrize("moment", ["before the backend", "behind the backend"])
def test_an_enumeration_in_the_middle_of_a_change(
    tas: Callable[[int], Ta], monkeypatch: Any, change: str, moment: str
) -> None:
    changer, other = tas(1), tas(2)
    for name in (b"1", b"2"):
        changer.close(changer.made(name, name * 5))
    obj = changer.made(b"a", b"data", ALL if change != "overwrite" else DataFlag.ACCESS_READ | DataFlag.SHARE_READ)
    system = changer.storage.system(changer.storage_id)
    method = {"rename": "rename", "delete": "remove", "overwrite": "create"}[change]
    real = getattr(system, method)
    names: list[set[bytes]] = []

    def hooked(*args: Any, **named: Any) -> Any:
        if moment == "before the backend":
            names.append(other.names())
        answer = real(*args, **named)
        if moment == "behind the backend":
            names.append(other.names())
        return answer

    monkeypatch.setattr(system, method, hooked)
    if change == "rename":
        assert changer.call("storage_obj_rename", obj, changer.memory.place(b"b"), 1) == results.SUCCESS
    elif change == "delete":
        assert changer.call("storage_obj_del", obj) == results.SUCCESS
    else:
        flags = DataFlag.ACCESS_READ | DataFlag.SHARE_READ | DataFlag.OVERWRITE
        changer.close(changer.made(b"a", b"other data", flags))
    new: set[bytes] = {"rename": {b"b"}, "delete": set[bytes](), "overwrite": {b"a"}}[change]
    assert names == [{b"1", b"2"} | ({b"a"} if moment == "before the backend" else new)]
    assert other.names() == {b"1", b"2"} | new
    if change != "delete":
        changer.close(obj)
    assert len(changer.storage.pobjs) == 0


@pytest.mark.parametrize("change", ["rename", "delete"])
def test_an_enumeration_goes_on_behind_what_vanished(tas: Callable[[int], Ta], monkeypatch: Any, change: str) -> None:
    """Between finding its name and reading it, the object is renamed or deleted: no end, and no other is missed."""
    changer, other = tas(1), tas(2)
    obj = changer.made(b"a", b"data")
    for name in (b"1", b"2"):
        changer.close(changer.made(name))
    system = changer.storage.system(changer.storage_id)
    real = system.next
    changed: list[int] = []

    def hooked(owner: Any, after: int) -> tuple[int, bytes]:
        found = real(owner, after)
        if found[1] == b"a" and after >= -1 and armed and not changed:
            if change == "rename":
                changed.append(changer.call("storage_obj_rename", obj, changer.memory.place(b"b"), 1))
            else:
                changed.append(changer.call("storage_obj_del", obj))
        return found

    monkeypatch.setattr(system, "next", hooked)
    cell = other.cell()
    assert other.call("storage_alloc_enum", cell) == results.SUCCESS
    armed = False
    handle = other.memory.word_at(cell)
    assert other.call("storage_start_enum", handle, other.storage_id) == results.SUCCESS
    armed = True
    found = set()
    while other.next(handle) == results.SUCCESS:
        found.add(other.out[0])
    assert changed == [results.SUCCESS]
    assert found == {b"1", b"2"} | ({b"b"} if change == "rename" else set())


def test_instances_rename_delete_and_enumerate_at_once(tas: Callable[[int], Ta]) -> None:
    stop = threading.Event()
    wrong: list[object] = []

    def change(number: int) -> None:
        ta = tas(number)
        one, two = b"%d-1" % number, b"%d-2" % number
        try:
            for _ in range(15):
                with ta.memory.scratch():
                    obj = ta.made(one, b"data")
                    for name in (two, one, two):
                        result = ta.call("storage_obj_rename", obj, ta.memory.place(name), len(name))
                        if result:
                            wrong.append(("rename", result))
                    if ta.data(obj) != b"data":
                        wrong.append("the data")
                    result = ta.call("storage_obj_del", obj)
                    if result:
                        wrong.append(("delete", result))
        finally:
            if number == 0:
                stop.set()

    def enumerate_(number: int) -> None:
        ta = tas(number)
        keeper = b"always there %d" % number
        ta.close(ta.made(keeper))
        while not stop.is_set():
            with ta.memory.scratch():
                if keeper not in ta.names():
                    wrong.append("an object was missed")

    def work(number: int) -> None:
        (change if number < 2 else enumerate_)(number)

    together(work, range(4), 120)
    assert not wrong
    assert len(tas(9).storage.pobjs) == 0


# --- what can be known before


def test_a_handle_that_cannot_be_given_makes_no_object(tas: Callable[[int], Ta]) -> None:
    ta = tas(1)
    data = ta.memory.place(b"data")
    nowhere = BASE + SIZE - 8
    assert nowhere >= ta.memory.read_only
    for flags in (ALL, ALL | DataFlag.OVERWRITE):
        result = ta.call("storage_obj_create", ta.storage_id, ta.memory.place(b"a"), 1, flags, 0, data, 4, nowhere)
        assert result == results.ACCESS_DENIED
        assert ta.names() == set()
    kept = ta.made(b"a", b"kept")
    ta.close(kept)
    flags = ALL | DataFlag.OVERWRITE
    result = ta.call("storage_obj_create", ta.storage_id, ta.memory.place(b"a"), 1, flags, 0, data, 4, nowhere)
    assert result == results.ACCESS_DENIED
    assert ta.open(b"a") == results.SUCCESS
    assert ta.data(ta.out) == b"kept"


@pytest.mark.parametrize("call", ["create", "overwrite", "rename", "delete", "write", "truncate"])
def test_after_a_failure_nothing_stays_reserved(call: str) -> None:
    """Whichever operation of the normal world's fails: both names are usable, and no file stays open."""
    at, tried = 0, 0
    while at < 200:
        at += 1
        ta = Ta(files=MemoryFiles())
        files = ta.files
        ta.close(ta.made(b"other"))
        new = call == "create"
        obj = 0 if new else ta.made(b"a", b"data" * 3000)
        if call == "overwrite":
            ta.close(obj)
        files.operations, files.fail_at, files.fail_with, files.reads_count = 0, at, results.GENERIC, True
        if new or call == "overwrite":
            result = ta.create(b"a", b"x" * 5000, ALL | DataFlag.OVERWRITE)
            obj = ta.out
        elif call == "rename":
            result = ta.call("storage_obj_rename", obj, ta.memory.place(b"b"), 1)
        elif call == "delete":
            result = ta.call("storage_obj_del", obj)
        elif call == "write":
            result = ta.write(obj, b"y" * 5000)
        else:
            result = ta.call("storage_obj_trunc", obj, 10)
        reached = files.operations >= at
        files.fail_at, files.reads_count = 0, False
        if call != "delete" and (result == results.SUCCESS or call in ("rename", "write", "truncate")):
            assert ta.close(obj) == results.SUCCESS
        tried += bool(result)
        assert len(ta.storage.pobjs) == 0
        for name in (b"a", b"b"):
            obj = ta.made(name, b"again", ALL | DataFlag.OVERWRITE)
            assert ta.data(obj) == b"again"
            assert ta.close(obj) == results.SUCCESS
        ta.storage.close()
        assert files.handles == 0
        if not reached:
            break
    assert tried
