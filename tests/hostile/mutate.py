"""Broken images on their whole way: from a file in a folder through store, loader and linker into a running TA."""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING, NamedTuple

from ta_loader.container.verify import open_container
from ta_loader.trust import TrustStore
from tee.abi.results import TARGET_DEAD, Origin
from tee.limits import Limits
from tee.params import Kind, Memref, Value
from tests.hostile.kit import make_world
from tests.ta_loader.container_kit import ENC_KEY

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from uuid import UUID

    from tee.world import Outcome, SecureWorld

SECONDS = 0.05
"""Of one call into a broken TA."""
LIMITS = Limits(memory=16 << 20, call_seconds=SECONDS, log_rate=100)
WORDS = (0, 1, 7, 0xFFF, 0x1000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 63, (1 << 64) - 1, (1 << 64) - 8)


class Fate(NamedTuple):
    """What became of an image: refused by whom, or run to which end. seconds: CPU time of all of it."""

    what: str
    seconds: float


def elf_of(image: bytes) -> bytes:
    """The ELF file inside a container."""
    return bytes(open_container(image, TrustStore(allow_unsigned=True)).elf)


def mutated(data: bytes, rng: random.Random, head: int = 0) -> bytes:
    """`data` with a few bits, bytes or words changed, or cut short. head: bytes at its start that matter most."""
    raw = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 32))):
        at = rng.randrange(min(head, len(raw)) if head and rng.random() < 0.5 else len(raw))
        dice = rng.randrange(8)
        if dice < 3:
            raw[at] ^= 1 << rng.randrange(8)
        elif dice < 5:
            raw[at] = rng.randrange(256)
        elif dice < 7:
            width = rng.choice((2, 4, 8))
            at -= at % width
            word = rng.choice(WORDS) & (1 << 8 * width) - 1
            raw[at : at + width] = word.to_bytes(width, "little")[: len(raw) - at]
        elif rng.random() < 0.2:
            del raw[at:]
            break
    return bytes(raw) if raw and raw != data else mutated(data, rng, head)


class Bench:
    """A world whose folder holds one image at a time."""

    def __init__(self, folder: Path, *, allow_unsigned: bool, libraries: Sequence[Path] = ()) -> None:
        self.folder = folder / "images"
        self.folder.mkdir()
        self.world: SecureWorld = make_world(
            folder / "state",
            limits=LIMITS,
            folders=[self.folder, *libraries],
            allow_unsigned=allow_unsigned,
            enc_key=lambda _: ENC_KEY,
        )
        self._data = self.world.platform.pages.shared(4096)

    def place(self, uuid: UUID, image: bytes, suffix: str) -> None:
        """A file of its own each time: the store keeps what it verified by inode and time."""
        fresh = self.folder / "fresh"
        fresh.write_bytes(image)
        os.replace(fresh, self.folder / f"{uuid}{suffix}")

    def run(self, uuid: UUID) -> Fate:
        """Open, call and close the TA."""
        start = time.thread_time()
        opened = self.world.open_session(uuid)
        outcome: Outcome | None = None
        if not opened.result:
            for command, params in (
                (0, [Value(Kind.VALUE_INOUT, 41)]),
                (1, [Memref(Kind.MEMREF_INPUT, self._data, 100), Memref(Kind.MEMREF_OUTPUT, self._data, 32, 1024)]),
                (0x1000, [Memref(Kind.MEMREF_INOUT, self._data, 80), Memref(Kind.MEMREF_INOUT, self._data, 4096)]),
            ):
                outcome = self.world.invoke(opened.session, command, params)
            self.world.close_session(opened.session)
        took = time.thread_time() - start
        if outcome is not None:
            return Fate("died" if outcome.result == TARGET_DEAD and outcome.origin == Origin.TEE else "ran", took)
        if opened.result == TARGET_DEAD:
            return Fate("died", took)
        assert not opened.session
        assert not opened.result.name.startswith("0x") or opened.origin == Origin.TRUSTED_APP, opened
        return Fate("refused", took)

    def close(self) -> None:
        self.world.close()
