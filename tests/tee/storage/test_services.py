"""The system calls of trusted storage, as a TA makes them."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import pytest

from tee.abi import results
from tee.abi.attributes import Attr
from tee.abi.objects import UTEE_OBJECT_INFO, HandleFlag, ObjectType, Usage
from tee.abi.storage import OPEN_FLAGS, DataFlag, StorageId, Whence
from tee.abi.ta_head import TA_FLAG_DONT_CLOSE_HANDLE_ON_CORRUPT_OBJECT
from tee.errors import TeeError
from tee.storage.pobj import check_access
from tee.storage.store import TrustedStorage
from tests.tee.fake_ta import FakeTask
from tests.tee.storage.kit import MemoryFiles

if TYPE_CHECKING:
    from tee.normal import NormalWorld

PRIVATE = StorageId.PRIVATE
READ, WRITE, META = DataFlag.ACCESS_READ, DataFlag.ACCESS_WRITE, DataFlag.ACCESS_WRITE_META
SHARE_READ, SHARE_WRITE, OVERWRITE = DataFlag.SHARE_READ, DataFlag.SHARE_WRITE, DataFlag.OVERWRITE
ALL = READ | WRITE | META


class Normal:
    """A normal world with files alone."""

    rpmb = sockets = plugins = None

    def __init__(self, files: MemoryFiles | None) -> None:
        self.files = files


class Ta(FakeTask):
    """A TA, and what libutee would do for it. Every call answers its result; outputs are kept in `out`."""

    storage_id = PRIVATE

    def __init__(self, world: TrustedStorage | None = None, files: MemoryFiles | None = None, number: int = 1) -> None:
        super().__init__()
        self.files = files or MemoryFiles()
        self.storage = world or TrustedStorage(self.platform, cast("NormalWorld", Normal(self.files)))
        self.uuid = UUID(int=number)
        self.out: Any = None

    def open(self, name: bytes, flags: int = ALL, storage: int = 0) -> int:
        cell = self.cell()
        storage = storage or self.storage_id
        result = self.call("storage_obj_open", storage, self.memory.place(name), len(name), flags, cell)
        self.out = self.memory.word_at(cell)
        return result

    def create(self, name: bytes, data: bytes = b"", flags: int = ALL, attributes: int = 0, null: bool = False) -> int:
        cell = 0 if null else self.cell()
        place = self.memory.place(data) if data else 0
        result = self.call(
            "storage_obj_create",
            *(self.storage_id, self.memory.place(name), len(name), flags, attributes, place, len(data), cell),
        )
        self.out = self.memory.word_at(cell) if cell else None
        return result

    def made(self, name: bytes, data: bytes = b"", flags: int = ALL, attributes: int = 0) -> int:
        assert self.create(name, data, flags, attributes) == results.SUCCESS
        return int(self.out)

    def read(self, obj: int, size: int) -> int:
        buffer, count = self.memory.place(bytes(size)), self.cell(size=8)
        result = self.call("storage_obj_read", obj, buffer, size, count)
        self.out = self.memory.copy_in(buffer, self.memory.word_at(count, 8))
        return result

    def data(self, obj: int) -> bytes:
        assert self.seek(obj, 0) == results.SUCCESS
        assert self.read(obj, 1 << 14) == results.SUCCESS
        return bytes(self.out)

    def write(self, obj: int, data: bytes) -> int:
        return self.call("storage_obj_write", obj, self.memory.place(data), len(data))

    def seek(self, obj: int, offset: int, whence: int = Whence.SET) -> int:
        return self.call("storage_obj_seek", obj, offset & (1 << 64) - 1, whence)

    def info(self, obj: int) -> tuple[int, ...]:
        place = self.memory.place(bytes(UTEE_OBJECT_INFO.size))
        assert self.call("cryp_obj_get_info", obj, place) == results.SUCCESS
        return UTEE_OBJECT_INFO.unpack(self.memory.copy_in(place, UTEE_OBJECT_INFO.size))

    def close(self, obj: int) -> int:
        return self.call("cryp_obj_close", obj)

    def names(self) -> set[bytes]:
        """By an enumerator."""
        cell = self.cell()
        assert self.call("storage_alloc_enum", cell) == results.SUCCESS
        handle = self.memory.word_at(cell)
        found = set()
        if self.call("storage_start_enum", handle, self.storage_id) == results.SUCCESS:
            while self.next(handle) == results.SUCCESS:
                found.add(self.out[0])
        assert self.call("storage_free_enum", handle) == results.SUCCESS
        return found

    def next(self, handle: int) -> int:
        info, oid, length = self.memory.place(bytes(28)), self.memory.place(bytes(64)), self.cell(0xBAD, 8)
        result = self.call("storage_next_enum", handle, info, oid, length)
        if not result:
            size = self.memory.word_at(length, 8)
            self.out = self.memory.copy_in(oid, size), UTEE_OBJECT_INFO.unpack(self.memory.copy_in(info, 28))
        return result


@pytest.fixture
def ta() -> Ta:
    return Ta()


def test_data_comes_back(ta: Ta) -> None:
    obj = ta.made(b"name", b"hello")
    assert ta.read(obj, 3) == results.SUCCESS
    assert ta.out == b"hel"
    assert ta.write(obj, b"LO, you") == results.SUCCESS
    assert ta.data(obj) == b"helLO, you"
    assert ta.close(obj) == results.SUCCESS
    assert ta.open(b"name", READ) == results.SUCCESS
    assert ta.data(ta.out) == b"helLO, you"


def test_info_of_a_data_object(ta: Ta) -> None:
    obj = ta.made(b"n", b"12345", READ)
    ta.seek(obj, 2)
    flags = HandleFlag.PERSISTENT | HandleFlag.INITIALIZED | READ
    assert ta.info(obj) == (ObjectType.DATA, 0, 0, 0xFFFFFFFF, 5, 2, flags)


def test_a_write_behind_the_end_fills_with_zeros(ta: Ta) -> None:
    obj = ta.made(b"n", b"ab")
    assert ta.seek(obj, 6) == results.SUCCESS
    assert ta.write(obj, b"cd") == results.SUCCESS
    assert ta.data(obj) == b"ab\0\0\0\0cd"
    assert ta.info(obj)[4] == 8


def test_truncation(ta: Ta) -> None:
    obj = ta.made(b"n", b"abcdef")
    assert ta.call("storage_obj_trunc", obj, 2) == results.SUCCESS
    assert ta.data(obj) == b"ab"
    assert ta.call("storage_obj_trunc", obj, 4) == results.SUCCESS
    assert ta.data(obj) == b"ab\0\0"
    assert ta.call("storage_obj_trunc", obj, (1 << 64) - 1) == results.OVERFLOW
    assert ta.call("storage_obj_trunc", obj, 1 << 40) == results.STORAGE_NO_SPACE
    assert ta.data(obj) == b"ab\0\0"


def test_seek(ta: Ta) -> None:
    obj = ta.made(b"n", b"0123456789")

    def at() -> int:
        return ta.info(obj)[5]

    assert (ta.seek(obj, 4), at()) == (results.SUCCESS, 4)
    assert (ta.seek(obj, -1, Whence.CUR), at()) == (results.SUCCESS, 3)
    assert (ta.seek(obj, -2, Whence.END), at()) == (results.SUCCESS, 8)
    assert (ta.seek(obj, -100, Whence.CUR), at()) == (results.SUCCESS, 0)
    assert (ta.seek(obj, 1 << 30), at()) == (results.SUCCESS, 1 << 30)
    assert ta.read(obj, 1) == results.SUCCESS
    assert ta.out == b""
    for _ in range(2):
        assert ta.seek(obj, 0x7FFFFFFF, Whence.CUR) in (results.SUCCESS, results.BAD_PARAMETERS)
    ta.seek(obj, 0x7FFFFFFF)
    ta.seek(obj, 0x7FFFFFFF, Whence.CUR)
    assert at() == 0xFFFFFFFE
    assert ta.seek(obj, 2, Whence.CUR) == results.BAD_PARAMETERS
    assert ta.write(obj, b"xx") == results.OVERFLOW
    assert ta.write(obj, b"x") == results.STORAGE_NO_SPACE
    assert ta.seek(obj, 0, 3) == results.BAD_PARAMETERS
    assert ta.data(obj) == b"0123456789"


def test_rights(ta: Ta) -> None:
    blind = ta.made(b"n", b"data", DataFlag.NONE)
    assert ta.read(blind, 1) == results.ACCESS_CONFLICT
    assert ta.write(blind, b"x") == results.ACCESS_CONFLICT
    assert ta.call("storage_obj_trunc", blind, 0) == results.ACCESS_CONFLICT
    assert ta.call("storage_obj_del", blind) == results.ACCESS_CONFLICT
    assert ta.call("storage_obj_rename", blind, ta.memory.place(b"m"), 1) == results.BAD_STATE
    transient = ta.alloc(ObjectType.AES, 128)
    assert ta.read(transient, 1) == results.BAD_STATE
    assert ta.seek(transient, 0) == results.BAD_STATE
    assert ta.call("storage_obj_del", transient) == results.ACCESS_CONFLICT
    assert ta.read(999, 1) == results.BAD_STATE


def test_parameters(ta: Ta) -> None:
    assert ta.open(b"n", OVERWRITE) == results.BAD_PARAMETERS
    assert ta.create(b"n", flags=0x1000) == results.BAD_PARAMETERS
    assert ta.create(b"n" * 65) == results.BAD_PARAMETERS
    assert ta.create(b"n" * 64) == results.SUCCESS
    assert ta.create(b"") == results.SUCCESS
    assert ta.open(b"gone") == results.ITEM_NOT_FOUND
    assert ta.open(b"n", storage=2) == results.ITEM_NOT_FOUND
    assert ta.open(b"n", storage=StorageId.PRIVATE_RPMB) == results.STORAGE_NOT_AVAILABLE
    assert ta.call("storage_obj_create", PRIVATE, ta.memory.place(b"x"), 1, 0, 0, 0, 5, ta.cell()) == (
        results.BAD_PARAMETERS
    )


def test_no_normal_world_is_no_storage() -> None:
    ta = Ta()
    for normal in (None, cast("NormalWorld", Normal(None))):
        ta.storage = TrustedStorage(ta.platform, normal)
        assert ta.open(b"n") == results.STORAGE_NOT_AVAILABLE
        assert ta.create(b"n") == results.STORAGE_NOT_AVAILABLE


def test_overwriting(ta: Ta) -> None:
    obj = ta.made(b"n", b"old")
    assert ta.create(b"n") == results.ACCESS_CONFLICT
    ta.close(obj)
    assert ta.create(b"n") == results.ACCESS_CONFLICT
    assert ta.data(ta.made(b"n", b"new", ALL | OVERWRITE)) == b"new"


def test_deleting_and_renaming(ta: Ta) -> None:
    obj, other = ta.made(b"a", b"A"), ta.made(b"b", b"B")
    place = ta.memory.place(b"b")
    assert ta.call("storage_obj_rename", obj, place, 1) == results.ACCESS_CONFLICT
    ta.close(other)
    assert ta.call("storage_obj_rename", obj, place, 1) == results.ACCESS_CONFLICT
    assert ta.call("storage_obj_rename", obj, ta.memory.place(b"c"), 1) == results.SUCCESS
    assert ta.write(obj, b"C") == results.SUCCESS
    assert ta.names() == {b"b", b"c"}
    assert ta.create(b"c") == results.ACCESS_CONFLICT
    assert ta.call("storage_obj_del", obj) == results.SUCCESS
    assert ta.close(obj) == results.BAD_STATE
    assert ta.names() == {b"b"}
    assert not len(ta.storage.pobjs)


def test_sharing_rules() -> None:
    """GP's rules, said anew: who reads or writes must be let by all, and all must say the same."""
    for one, two in itertools.product(range(OPEN_FLAGS + 1), repeat=2):
        if (one | two) & ~OPEN_FLAGS:
            continue
        allowed = not (one | two) & META
        for access, share in ((READ, SHARE_READ), (WRITE, SHARE_WRITE)):
            sharing = {bool(one & share), bool(two & share)}
            allowed &= len(sharing) == 1 and (True in sharing or not (one | two) & access)
        try:
            check_access(one, two)
        except TeeError:
            assert not allowed
        else:
            assert allowed


def test_handles_share_one_object(ta: Ta) -> None:
    flags = READ | WRITE | SHARE_READ | SHARE_WRITE
    one = ta.made(b"n", b"0" * 5000, flags)
    assert ta.open(b"n", flags) == results.SUCCESS
    two = ta.out
    assert ta.open(b"n", READ) == results.ACCESS_CONFLICT
    for i in range(6):
        ta.seek(one, 0)
        ta.seek(two, 4999)
        assert ta.write(one, b"%d" % i) == results.SUCCESS
        assert ta.write(two, b"%d" % i * 2) == results.SUCCESS
        assert ta.data(one) == ta.data(two) == b"%d" % i + b"0" * 4998 + b"%d" % i * 2
    assert ta.info(one)[4] == 5001
    ta.close(one)
    assert len(ta.data(two)) == 5001
    ta.close(two)
    ta.storage.close()
    assert not ta.files.handles


def test_overwriting_what_others_have_open(ta: Ta) -> None:
    flags = READ | SHARE_READ
    old = ta.made(b"n", b"old", flags)
    new = ta.made(b"n", b"newer", flags | OVERWRITE)
    assert ta.data(new) == ta.data(old) == b"newer"


def test_tas_are_apart() -> None:
    ta = Ta()
    other = Ta(ta.storage, ta.files, number=2)
    ta.made(b"n", b"mine")
    assert other.open(b"n") == results.ITEM_NOT_FOUND
    other.made(b"n", b"theirs")
    other.made(b"m")
    assert (ta.names(), other.names()) == ({b"n"}, {b"n", b"m"})


# --- keys


AES_KEY = bytes(range(16))


def key_object(ta: Ta) -> int:
    obj = ta.alloc(ObjectType.AES, 256)
    attributes = ta.attributes((Attr.SECRET_VALUE, AES_KEY))
    assert ta.call("cryp_obj_populate", obj, *attributes) == results.SUCCESS
    assert ta.call("cryp_obj_restrict_usage", obj, Usage.EXTRACTABLE | Usage.ENCRYPT) == results.SUCCESS
    return obj


def secret(ta: Ta, obj: int) -> bytes | int:
    buffer, length = ta.memory.place(bytes(64)), ta.cell(64, 8)
    result = ta.call("cryp_obj_get_attr", obj, Attr.SECRET_VALUE, buffer, length)
    return result or ta.memory.copy_in(buffer, ta.memory.word_at(length, 8))


def test_a_key_keeps_its_attributes_and_usage(ta: Ta) -> None:
    ta.close(ta.made(b"key", b"stream", ALL, key_object(ta)))
    assert ta.open(b"key") == results.SUCCESS
    obj = ta.out
    type_, bits, most, usage, size, _, _ = ta.info(obj)
    assert (type_, bits, most, size) == (ObjectType.AES, 128, 256, 6)
    assert usage == Usage.EXTRACTABLE | Usage.ENCRYPT
    assert secret(ta, obj) == AES_KEY
    assert ta.data(obj) == b"stream"
    copy = ta.alloc(ObjectType.AES, 256)
    assert ta.call("cryp_obj_copy", copy, obj) == results.SUCCESS
    assert (secret(ta, copy), ta.info(copy)[3]) == (AES_KEY, usage)


def test_a_usage_given_up_is_gone_for_good(ta: Ta) -> None:
    obj = ta.made(b"key", b"stream", READ, key_object(ta))
    assert ta.call("cryp_obj_restrict_usage", obj, Usage.ENCRYPT) == results.SUCCESS
    assert secret(ta, obj) == results.BAD_PARAMETERS
    ta.close(obj)
    assert ta.open(b"key") == results.SUCCESS
    assert ta.info(ta.out)[3] == Usage.ENCRYPT
    assert secret(ta, ta.out) == results.BAD_PARAMETERS


def test_a_persistent_object_is_neither_populated_nor_reset(ta: Ta) -> None:
    obj = ta.made(b"key", b"", ALL, key_object(ta))
    assert ta.call("cryp_obj_populate", obj, *ta.attributes((Attr.SECRET_VALUE, AES_KEY))) == results.BAD_PARAMETERS
    assert ta.call("cryp_obj_reset", obj) == results.BAD_PARAMETERS
    assert ta.call("cryp_obj_copy", obj, key_object(ta)) == results.BAD_PARAMETERS


def test_without_a_place_for_the_handle(ta: Ta) -> None:
    assert ta.create(b"data", b"x", null=True) == results.SUCCESS
    assert not len(ta.storage.pobjs)
    obj = key_object(ta)
    assert ta.create(b"key", b"stream", ALL, obj, null=True) == results.SUCCESS
    assert ta.info(obj)[6] & HandleFlag.PERSISTENT
    assert ta.data(obj) == b"stream"
    assert secret(ta, obj) == AES_KEY
    assert ta.names() == {b"data", b"key"}


def test_attributes_must_be_there(ta: Ta) -> None:
    assert ta.create(b"key", attributes=ta.alloc(ObjectType.AES, 128)) == results.BAD_PARAMETERS
    assert ta.create(b"key", attributes=12345) == results.BAD_STATE
    assert not len(ta.storage.pobjs)
    assert ta.names() == set()


# --- enumerators


def test_enumerators(ta: Ta) -> None:
    cell = ta.cell()
    assert ta.call("storage_alloc_enum", cell) == results.SUCCESS
    handle = ta.memory.word_at(cell)
    assert ta.next(handle) == results.ITEM_NOT_FOUND
    assert ta.call("storage_start_enum", handle, PRIVATE) == results.ITEM_NOT_FOUND
    ta.close(ta.made(b"key", b"12345", ALL, key_object(ta)))
    ta.made(b"", b"", READ)
    assert ta.call("storage_start_enum", handle, PRIVATE) == results.SUCCESS
    assert ta.next(handle) == results.SUCCESS
    assert ta.out[0] == b"key"
    assert ta.out[1][:5] == (ObjectType.AES, 128, 256, Usage.EXTRACTABLE | Usage.ENCRYPT, 5)
    assert ta.next(handle) == results.SUCCESS
    assert ta.out[0] == b""
    assert ta.out[1][6] & READ, "the flags of who has it open"
    assert ta.next(handle) == results.ITEM_NOT_FOUND
    assert ta.call("storage_start_enum", handle, 77) == results.ITEM_NOT_FOUND
    assert ta.call("storage_start_enum", handle, PRIVATE) == results.SUCCESS
    assert ta.call("storage_reset_enum", handle) == results.SUCCESS
    assert ta.next(handle) == results.ITEM_NOT_FOUND
    assert ta.call("storage_free_enum", handle) == results.SUCCESS
    for call in ("storage_free_enum", "storage_reset_enum"):
        assert ta.call(call, handle) == results.BAD_PARAMETERS
    assert ta.call("storage_alloc_enum", 0) == results.BAD_PARAMETERS


def test_too_many_handles(ta: Ta) -> None:
    while ta.call("storage_alloc_enum", ta.cell()) == results.SUCCESS:
        pass
    assert ta.call("storage_alloc_enum", ta.cell()) == results.OUT_OF_MEMORY
    made = 0
    while ta.create(b"%d" % made) == results.SUCCESS:
        made += 1
    assert ta.create(b"x") == results.OUT_OF_MEMORY
    assert len(ta.storage.pobjs) == made == 64
    assert b"x" not in Ta(ta.storage, ta.files).names()


# --- corruption


def bend(ta: Ta, name: str = "0") -> None:
    for at in range(8192, len(ta.files.stored[name])):
        ta.files.stored[name][at] ^= 1


@pytest.mark.parametrize("call", ["read", "write", "trunc"])
@pytest.mark.parametrize("keep", [False, True])
def test_a_corrupt_object_is_removed(ta: Ta, call: str, keep: bool) -> None:
    ta.flags = TA_FLAG_DONT_CLOSE_HANDLE_ON_CORRUPT_OBJECT if keep else 0
    obj = ta.made(b"n", b"data")
    bend(ta)
    if call == "read":
        assert ta.read(obj, 4) == results.CORRUPT_OBJECT
    elif call == "write":
        assert ta.write(obj, b"x") == results.CORRUPT_OBJECT
    else:
        assert ta.call("storage_obj_trunc", obj, 10) == results.CORRUPT_OBJECT
    assert ta.names() == set()
    assert ta.close(obj) == (results.SUCCESS if keep else results.BAD_STATE)
    assert ta.open(b"n") == results.ITEM_NOT_FOUND


def test_a_corrupt_object_is_not_opened(ta: Ta) -> None:
    ta.close(ta.made(b"n", b"data"))
    ta.made(b"m", b"well")
    bend(ta)
    assert ta.open(b"n") == results.CORRUPT_OBJECT
    assert ta.open(b"n") == results.ITEM_NOT_FOUND
    assert ta.names() == {b"m"}


def test_no_space_is_said_and_loses_nothing(ta: Ta) -> None:
    obj = ta.made(b"n", b"data")
    ta.files.fail_at = ta.files.operations + 1
    assert ta.write(obj, b"x") == results.STORAGE_NO_SPACE
    assert ta.data(obj) == b"data"
    ta.files.fail_at = ta.files.operations + 1
    assert ta.call("storage_obj_trunc", obj, 9000) == results.STORAGE_NO_SPACE
    assert ta.data(obj) == b"data"
