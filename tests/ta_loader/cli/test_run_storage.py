"""Trusted storage of TAs that `litebox-ta run` runs: what one run keeps, the next one finds."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from normal_world.supplicant import files
from south.linux_host import linux_host
from south.platform import Arch
from ta_loader import samples
from ta_loader.container.verify import open_container
from ta_loader.trust import TrustStore
from tee.abi import results
from tee.storage import tadb
from tee.storage.keys import StorageKeys
from tee.storage.ree_fs import ReeFs
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


HELLO = str(samples.HELLO[Arch.AARCH64])


@pytest.fixture
def image(cli: Cli, tmp_path: Path) -> Callable[[int], str]:
    """A TA of some version."""
    elf = tmp_path / "hello.elf"
    elf.write_bytes(_elf())

    def sign(version: int) -> str:
        out = tmp_path / f"{version}.ta"
        done = cli("sign", "--key", str(samples.private_key()), "--version", str(version), "--out", str(out), str(elf))
        assert done.code == 0, done.err
        return str(out)

    return sign


def _elf() -> bytes:
    return bytes(open_container(samples.hello().read_bytes(), TrustStore([samples.public_key_file()])).elf)


def call(cli: Cli, ta: str, *options: str) -> Done:
    return cli("run", ta, "--trust", str(samples.public_key()), *options, "--invoke", "0", "value:1")


def test_older_versions_are_refused_from_run_to_run(cli: Cli, tmp_path: Path, image: Callable[[int], str]) -> None:
    assert [call(cli, image(version)).code for version in (3, 3, 2, 0, 4, 3)] == [0, 0, 4, 4, 0, 4]
    assert "version 4 was seen before" in call(cli, image(3)).err
    assert call(cli, image(3), "--state", str(tmp_path / "other")).code == 0


def test_version_0_leaves_no_trace(cli: Cli, tmp_path: Path, image: Callable[[int], str]) -> None:
    assert call(cli, image(0)).code == 0
    assert not (tmp_path / "state" / "litebox-ta" / "tee").exists()


def store_of(tmp_path: Path) -> ReeFs:
    state = tmp_path / "state" / "litebox-ta"
    platform = linux_host(str(state))
    return ReeFs(files.ReeFiles(state / "tee"), platform.entropy, StorageKeys(platform.root_of_trust))


def test_installed_tas_are_found(cli: Cli, tmp_path: Path, image: Callable[[int], str]) -> None:
    assert call(cli, HELLO).code == 0  # a sample, which everything comes before
    tadb.install(store_of(tmp_path), UUID(HELLO), 1, b"no ELF")
    assert call(cli, HELLO).code == 1
    tadb.install(store_of(tmp_path), UUID(HELLO), 2, _elf())
    assert call(cli, HELLO).code == 0
    # It comes before one in a folder, but not before a file that the user names.
    (tmp_path / "tas").mkdir()
    (tmp_path / "tas" / f"{HELLO}.ta").write_bytes(b"no TA")
    assert call(cli, HELLO, "--ta-dir", str(tmp_path / "tas")).code == 0
    assert call(cli, str(tmp_path / "tas" / f"{HELLO}.ta")).code == 4


def test_storage_that_another_process_does_not_give_back(
    cli: Cli, tmp_path: Path, image: Callable[[int], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "BUSY_SECONDS", 0.1)
    assert call(cli, image(1)).code == 0
    folder = os.open(tmp_path / "state" / "litebox-ta" / "tee", os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        done = call(cli, image(1))
    finally:
        os.close(folder)
    assert done.code == 1
    assert "another process has had the storage for 0.1 s" in done.err
    assert call(cli, image(1)).code == 0
