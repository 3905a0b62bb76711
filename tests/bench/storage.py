"""Trusted storage below the system calls: REE files on the temporary folder, and in memory where there is /dev/shm."""

from __future__ import annotations

import itertools
import os
import tempfile
from typing import TYPE_CHECKING
from uuid import UUID

from normal_world.supplicant.files import ReeFiles
from tee.storage.dirfile import Key
from tee.storage.keys import StorageKeys
from tee.storage.ree_fs import ReeFs
from tests.bench.measure import Figure, per_call

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.guest import Bench

OWNER = UUID("f4e750bb-1437-4fbf-8785-8d3580c34994")
HEAD = bytes(24)
SMALL = os.urandom(32)
LARGE = os.urandom(1 << 20)
CALLS = 40
ROUNDS = 5


def storage(bench: Bench) -> Iterator[Figure]:
    places: dict[str, str | None] = {"the temporary folder": None}
    if os.access("/dev/shm", os.W_OK):
        places = {"memory": "/dev/shm", **places}
    for name, place in places.items():
        with tempfile.TemporaryDirectory(dir=place) as folder:
            files = ReeFiles(folder)
            try:
                platform = bench.platform
                yield from _figures(name, ReeFs(files, platform.entropy, StorageKeys(platform.root_of_trust)))
            finally:
                files.shut()


def _figures(place: str, system: ReeFs) -> Iterator[Figure]:
    numbers = itertools.count()

    def create_and_write() -> None:
        file = system.create(Key(OWNER, b"%d" % next(numbers)), HEAD, overwrite=False)
        file.write(len(HEAD), SMALL)
        file.close()

    def open_and_read() -> None:
        file = system.open(Key(OWNER, b"0"))
        file.read(len(HEAD), len(SMALL))
        file.close()

    seconds = per_call(create_and_write, CALLS, ROUNDS)
    yield Figure(f"storage in {place}: create an object, write 32 bytes", "ms", seconds * 1e3, "<= 2 in memory")
    seconds = per_call(open_and_read, CALLS, ROUNDS)
    yield Figure(f"storage in {place}: open an object, read 32 bytes", "ms", seconds * 1e3, "<= 1 in memory")
    large = system.create(Key(OWNER, b"large"), HEAD, overwrite=False)
    seconds = per_call(lambda: large.write(len(HEAD), LARGE), 1, ROUNDS)
    yield Figure(f"storage in {place}: write 1 MiB", "MB/s", len(LARGE) / 1e6 / seconds, "")
    seconds = per_call(lambda: large.read(len(HEAD), len(LARGE)), 1, ROUNDS)
    yield Figure(f"storage in {place}: read 1 MiB", "MB/s", len(LARGE) / 1e6 / seconds, "")
    large.close()
    system.forget()
