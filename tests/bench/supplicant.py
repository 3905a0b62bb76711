"""`python -m tests.bench.supplicant [FOLDER]`: what durable files and RPMB writes cost there; prints JSON.

FOLDER: on the file system to measure; default: the temporary folder.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from normal_world.supplicant.files import ReeFiles
from normal_world.supplicant.rpmb import EmulatedRpmb
from tee.abi.rpmb import RpmbType
from tee.storage.rpmb_frames import Frame, signed
from tests.bench.measure import Figure, per_call

if TYPE_CHECKING:
    from collections.abc import Iterator

CALLS = 50
ROUNDS = 5
DATA = os.urandom(4096)
KEY = bytes(range(32))


def replace_file(place: Path) -> Iterator[Figure]:
    files = ReeFiles(place / "files")

    def ours() -> None:
        file = files.create("new")
        files.write(file, 0, DATA)
        files.sync(file)
        files.close(file)
        files.rename("new", "file", overwrite=True)

    root = os.open(place, os.O_RDONLY)

    def floor() -> None:
        fd = os.open("new", os.O_RDWR | os.O_CREAT, 0o600, dir_fd=root)
        os.pwrite(fd, DATA, 0)
        os.fdatasync(fd)
        os.close(fd)
        os.rename("new", "file", src_dir_fd=root, dst_dir_fd=root)
        os.fsync(root)

    try:
        yield Figure(
            "REE file: create, write 4 KiB, sync, rename (floor: the same calls of os)",
            "us",
            per_call(ours, CALLS, ROUNDS) * 1e6,
            "<= 3 x",
            per_call(floor, CALLS, ROUNDS) * 1e6,
        )
    finally:
        os.close(root)
        files.shut()


def write_block(place: Path) -> Iterator[Figure]:
    device = EmulatedRpmb(place / "rpmb")
    device.request(0, Frame(RpmbType.PROGRAM_KEY, key_mac=KEY).pack(), 1)
    request = Frame(RpmbType.WRITE, block_count=1, address=5, data=DATA[:256])

    def write() -> None:
        device.request(0, signed(KEY, [request._replace(counter=device.state.counter)]), 1)

    def read() -> None:
        device.request(0, Frame(RpmbType.READ, address=5).pack(), 1)

    try:
        before = device.state.counter
        seconds = per_call(write, CALLS, ROUNDS)
        if device.state.counter != before + CALLS * ROUNDS + 1:
            raise RuntimeError("not every write was done")
        yield Figure("RPMB: authenticated write of a block, client's MAC included", "us", seconds * 1e6, "<= 2000")
        yield Figure("RPMB: authenticated read of a block", "us", per_call(read, CALLS, ROUNDS) * 1e6, "<= 200")
    finally:
        device.close()


def main() -> None:
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        place = Path(folder)
        figures = [figure.as_json() for group in (replace_file, write_block) for figure in group(place)]
    print(json.dumps({"figures": figures}, indent=1))


if __name__ == "__main__":
    main()
