"""Trusted storage of TAs that `litebox-ta run` runs: what one run keeps, the next one finds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from south.platform import Arch
from ta_loader import samples
from tee.abi import results
from tests.tas import cryptdrv

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.ta_loader.cli.conftest import Done

    Cli = Callable[..., Done]

OPEN, CREATE, READ = 41, 42, 50
PRIVATE, ALL_RIGHTS = 1, 7
DATA = b"kept from run to run"


def run(cli: Cli, tmp_path: Path, arch: Arch, records: bytes, scratch: bytes) -> tuple[bytes, bytes]:
    """Records and scratch memory after the calls."""
    (tmp_path / "records").write_bytes(records)
    (tmp_path / "scratch").write_bytes(scratch)
    done = cli(
        *("run", str(cryptdrv.path(arch)), "--trust", str(samples.public_key())),
        *("--invoke", hex(cryptdrv.CMD_RAW), f"inout:@{tmp_path / 'records'}", f"inout:@{tmp_path / 'scratch'}"),
        *("--out", str(tmp_path / "records"), "--out", str(tmp_path / "scratch")),
    )
    assert done.code == 0, done.err
    return (tmp_path / "records").read_bytes(), (tmp_path / "scratch").read_bytes()


# The id is empty: it must lie in the TA's own memory, and the scratch memory is the client's.
MAKE = cryptdrv.raw(CREATE, PRIVATE, 0, 0, ALL_RIGHTS, 0, 0, len(DATA), 0x100, relocate=1 << 5 | 1 << 7)
FIND = cryptdrv.raw(OPEN, PRIVATE, 0, 0, ALL_RIGHTS, 0x100, relocate=1 << 4)
FETCH = cryptdrv.raw(READ, 1, 0, 64, 0x108, relocate=1 << 1 | 1 << 3)


@pytest.mark.parametrize("arch", [Arch.AARCH64, Arch.ARM])
def test_an_object_outlasts_the_run(cli: Cli, tmp_path: Path, arch: Arch) -> None:
    records, _ = run(cli, tmp_path, arch, FIND, bytes(512))
    assert cryptdrv.raw_result(records) == results.ITEM_NOT_FOUND
    records, _ = run(cli, tmp_path, arch, MAKE, DATA.ljust(512, b"\0"))
    assert cryptdrv.raw_result(records) == results.SUCCESS
    records, scratch = run(cli, tmp_path, arch, FIND + FETCH, bytes(512))
    assert [cryptdrv.raw_result(records, index) for index in (0, 1)] == [results.SUCCESS] * 2
    assert scratch[:64] == DATA.ljust(64, b"\0")
    assert int.from_bytes(scratch[0x108:0x110], "little") == len(DATA)
    assert (tmp_path / "state" / "litebox-ta" / "tee" / "dirf.db").is_file()


def test_ids_in_memory_that_the_client_shares_are_refused(cli: Cli, tmp_path: Path) -> None:
    record = cryptdrv.raw(OPEN, PRIVATE, 0, 4, ALL_RIGHTS, 0x100, relocate=1 << 1 | 1 << 4)
    records, _ = run(cli, tmp_path, Arch.AARCH64, record, b"name".ljust(512, b"\0"))
    assert cryptdrv.raw_result(records) == results.ACCESS_DENIED


def test_objects_are_the_tas_own(cli: Cli, tmp_path: Path) -> None:
    run(cli, tmp_path, Arch.AARCH64, MAKE, DATA.ljust(512, b"\0"))
    records, _ = run(cli, tmp_path, Arch.ARM, FIND, bytes(512))
    assert cryptdrv.raw_result(records) == results.ITEM_NOT_FOUND
