"""`--storage-limit`, and the same of a context."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from normal_world import Context
from south.platform import Arch
from ta_loader import samples
from tee.abi import results
from tests.tas import cryptdrv

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.ta_loader.cli.conftest import Done

    Cli = Callable[..., Done]

PATH, KEY = cryptdrv.path(Arch.AARCH64), samples.public_key_file()
CREATE, TRUNCATE, PRIVATE, ALL_RIGHTS = 42, 52, 1, 7
RECORDS = (
    cryptdrv.raw(CREATE, PRIVATE, 0, 0, ALL_RIGHTS, 0, 0, 0, 0x100, relocate=1 << 7)
    + cryptdrv.raw(TRUNCATE, 1, 20_000)
    + cryptdrv.raw(TRUNCATE, 1, 200_000)
)


def found(records: bytes) -> list[int]:
    return [cryptdrv.raw_result(records, number) for number in range(3)]


@pytest.mark.parametrize(("limit", "last"), [("64K", results.STORAGE_NO_SPACE), ("1M", 0), (None, 0)])
def test_of_run(cli: Cli, tmp_path: Path, limit: str | None, last: int) -> None:
    words = [] if limit is None else ["--storage-limit", limit]
    done = cli(
        *("run", str(PATH), "--trust", KEY, *words, "--invoke", hex(cryptdrv.CMD_RAW)),
        *(f"inout:hex:{RECORDS.hex()}", "inout:512", "--out", str(tmp_path / "records")),
    )
    assert done.code == 0, done.err
    assert found((tmp_path / "records").read_bytes()) == [0, 0, last]


def test_no_size(cli: Cli) -> None:
    done = cli("run", "hello", "--storage-limit", "much")
    assert done.code == 2
    assert "--storage-limit" in done.err


@pytest.mark.parametrize(("limit", "last"), [(64 << 10, results.STORAGE_NO_SPACE), (None, 0)])
def test_of_a_context(tmp_path: Path, limit: int | None, last: int) -> None:
    records = bytearray(RECORDS)
    with Context(trust=[KEY], state=tmp_path / "state", storage_limit=limit) as tee, tee.open_session(PATH) as session:
        session.invoke(cryptdrv.CMD_RAW, records, bytearray(512))
    assert found(bytes(records)) == [0, 0, last]


@pytest.mark.parametrize(("limit", "problem"), [(-1, ValueError), (1 << 41, ValueError), ("1M", TypeError)])
def test_contexts_check_it(limit: object, problem: type[Exception]) -> None:
    with pytest.raises(problem, match="storage_limit"):
        Context(storage_limit=limit)
