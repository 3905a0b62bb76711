"""The PTA that installs TAs: when something reaches the database, and with what."""

from __future__ import annotations

import contextlib
import time
from uuid import UUID

import pytest

from tee.abi import results
from tee.abi.results import Result
from tee.errors import TeeError
from tee.params import Kind
from tee.pta.ports import SignedImage
from tee.pta.secstor_ta_mgmt import SecstorTaMgmtPta
from tests.tee.pta_kit import Memory, memref, value
from tests.threads import together

TA = UUID(int=0x1234)
IN = Kind.MEMREF_INPUT


class Database:
    """`tee.pta.ports.TaDatabase`. slow: seconds that a look at a version takes."""

    def __init__(self, slow: float = 0.0) -> None:
        self.tas: dict[UUID, SignedImage] = {}
        self.order: list[int] = []
        self._slow = slow

    def version(self, uuid: UUID) -> int | None:
        found = self.tas.get(uuid)
        time.sleep(self._slow)
        return None if found is None else found.version

    def install(self, ta: SignedImage) -> None:
        self.order.append(ta.version)
        self.tas[ta.uuid] = ta


def verify(image: bytes) -> SignedImage:
    """Version, "!", ELF; everything else is refused."""
    version, mark, elf = image.partition(b"!")
    if not mark:
        raise TeeError(results.SECURITY)
    return SignedImage(TA, int(version), elf)


def install(database: Database | None, image: bytes) -> Result:
    try:
        SecstorTaMgmtPta(verify, database).invoke(None, 0, (memref(IN, image), None, None, None), None)
    except TeeError as error:
        return error.result
    return results.SUCCESS


def test_what_was_verified_is_installed() -> None:
    database = Database()
    assert install(database, b"3!elf") == results.SUCCESS
    assert database.tas == {TA: SignedImage(TA, 3, b"elf")}


def test_what_is_refused_leaves_no_trace() -> None:
    database = Database()
    for image in (b"", b"corrupt"):
        assert install(database, image) == results.SECURITY
        assert install(None, image) == results.SECURITY
    assert database.order == []


def test_a_null_image() -> None:
    with pytest.raises(TeeError, match="SECURITY"):
        SecstorTaMgmtPta(verify, None).invoke(None, 0, (memref(IN, null=True), None, None, None), None)


def test_without_storage() -> None:
    assert install(None, b"3!elf") == results.STORAGE_NOT_AVAILABLE


def test_no_way_back_to_an_older_version() -> None:
    database = Database()
    assert install(database, b"3!new") == results.SUCCESS
    assert install(database, b"2!old") == results.ACCESS_CONFLICT
    assert database.tas[TA].image == b"new"
    assert install(database, b"3!same") == results.SUCCESS
    assert install(database, b"4!newer") == results.SUCCESS
    assert database.order == [3, 3, 4]


def test_one_installation_at_a_time() -> None:
    """Two that both find version 1 would otherwise end with whichever came last."""
    database = Database(slow=0.02)
    pta = SecstorTaMgmtPta(verify, database)

    def run(version: int) -> None:
        with contextlib.suppress(TeeError):
            pta.invoke(None, 0, (memref(IN, b"%d!elf" % version), None, None, None), None)

    together(run, (5, 4, 7, 6, 5), seconds=10)
    assert database.tas[TA].version == 7
    assert database.order == sorted(database.order)


def test_the_image_is_copied_before_it_is_checked() -> None:
    memory = Memory(b"3!elf")
    database = Database()

    def hostile(image: bytes) -> SignedImage:
        checked = verify(image)
        memory.data[:] = b"9!bad"
        return checked

    SecstorTaMgmtPta(hostile, database).invoke(None, 0, (memory.memref(IN), None, None, None), None)
    assert database.tas[TA].image == b"elf"


def test_refusals() -> None:
    pta = SecstorTaMgmtPta(verify, Database())
    for command, params, want in (
        (0, (None,) * 4, results.BAD_PARAMETERS),
        (0, (memref(Kind.MEMREF_INOUT, b"3!elf"), None, None, None), results.BAD_PARAMETERS),
        (0, (memref(IN, b"3!elf"), value(Kind.VALUE_INPUT), None, None), results.BAD_PARAMETERS),
        (1, (memref(IN, b"3!elf"), None, None, None), results.NOT_IMPLEMENTED),
    ):
        with pytest.raises(TeeError) as caught:
            pta.invoke(None, command, params, None)
        assert caught.value.result == want
