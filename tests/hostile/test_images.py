"""Mutated containers and ELF files, from the folder to the running TA: a defined end, soon, in little memory."""

from __future__ import annotations

import collections
import gc
import random
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from south.platform import Arch
from ta_loader import samples
from ta_loader.container.sign import sign, sign_subkey, subkey_uuid
from ta_loader.machines import TA_ARCHES
from tee.abi.results import SUCCESS
from tests.hostile.kit import Bystander
from tests.hostile.mutate import SECONDS, Bench, elf_of, mutated
from tests.hostile.test_containment import rss
from tests.ta_loader.container_kit import ENC_KEY, private_pem
from tests.tas import cryptdrv

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

ROUNDS, MANY = 300, 10_000
CALLS = 6
"""Entries of one run at most: open, three commands, close, and one to spare."""
TA_HEADERS = 0x1000
ELF_SIZE = len(elf_of(samples.hello().read_bytes()))
REAL = ("5b9e0e40-2636-11e1-ad9e-0002a5d5c51b", "cb3e5ba0-adf1-11e0-998b-0002a5d5c51b")
"""os_test and crypt of OP-TEE's test suite."""

kinds = pytest.mark.parametrize("kind", ["plain", "bootstrap", "encrypted", "identity subkey", "named subkey"])
arches = pytest.mark.parametrize("arch", TA_ARCHES, ids=lambda a: a.value)
rounds = pytest.mark.parametrize("rounds", [ROUNDS, pytest.param(MANY, marks=[pytest.mark.fuzz, pytest.mark.slow])])


@pytest.fixture
def lenient(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path, allow_unsigned=True)
    yield bench
    bench.close()


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path, allow_unsigned=False)
    yield bench
    bench.close()


def container(kind: str) -> tuple[bytes, UUID]:
    """The hello TA in a container of that kind, signed by the samples' key, and the UUID that it is opened by."""
    uuid = samples.HELLO[Arch.AARCH64]
    elf = elf_of(samples.hello().read_bytes())
    key, sub = samples.private_key().read_bytes(), private_pem("hostile")
    if kind == "named subkey":
        subkey = sign_subkey(sub, key, UUID("8d19f4a9-9aa5-4b7e-b8e7-3c6a6a7b2b11"), name_size=64)
        name = "hostile".ljust(64, "!")  # as long as its field: what follows a NUL there counts for nothing
        below = subkey_uuid(subkey, name)
        elf = elf.replace(uuid.bytes_le, below.bytes_le)
        return sign(elf, sub, below, subkey=subkey, name=name), below
    if kind == "identity subkey":
        return sign(elf, sub, uuid, subkey=sign_subkey(sub, key, uuid, name_size=0)), uuid
    if kind == "encrypted":
        return sign(elf, key, uuid, enc_key=ENC_KEY), uuid
    return sign(elf, key, uuid, plain=kind == "plain"), uuid


def pound(
    bench: Bench, uuid: UUID, image: bytes, count: int, seed: int, head: int, stay: Sequence[int] = ()
) -> dict[str, int]:
    """Run `count` mutations; how many ended how. stay: the sessions of others."""
    rng = random.Random(seed)
    fates: collections.Counter[str] = collections.Counter()
    gc.collect()
    before = rss()
    for _ in range(count):
        bench.place(uuid, mutated(image, rng, head), ".ta")
        fate = bench.run(uuid)
        fates[fate.what] += 1
        assert fate.seconds < 1 + CALLS * SECONDS, f"{fate} took long"
        assert list(bench.world._sessions) == list(stay)
    gc.collect()
    assert rss() - before < 256 << 20
    return fates


@arches
@rounds
@pytest.mark.parametrize("ta", ["hello", "cryptdrv"])
def test_broken_elf_files(lenient: Bench, arch: Arch, ta: str, rounds: int) -> None:
    path = samples.hello(arch) if ta == "hello" else cryptdrv.path(arch)
    elf = elf_of(path.read_bytes())
    uuid = UUID(path.stem)
    with Bystander(lenient.world, Arch.ARM if arch is Arch.AARCH64 else Arch.AARCH64) as bystander:
        fates = pound(lenient, uuid, elf, rounds, 0, TA_HEADERS, [bystander.session])
    assert fates["refused"] > rounds // 20
    assert fates["died"] > 0
    assert fates["ran"] > rounds // 20


@rounds
@kinds
def test_broken_containers(strict: Bench, kind: str, rounds: int) -> None:
    """Signatures cover every byte: nothing that was changed is ever run."""
    image, uuid = container(kind)
    strict.place(uuid, image, ".ta")
    assert strict.run(uuid).what == "ran"
    fates = pound(strict, uuid, image, rounds // 3, 1, len(image) - ELF_SIZE + 64)
    assert set(fates) == {"refused"}


@rounds
@kinds
def test_broken_containers_unverified(lenient: Bench, kind: str, rounds: int) -> None:
    image, uuid = container(kind)
    fates = pound(lenient, uuid, image, rounds // 3, 2, len(image) - ELF_SIZE + 64)
    assert fates["refused"] > rounds // 30


@pytest.mark.parametrize("uuid", REAL)
@rounds
def test_broken_real_tas(tmp_path: Path, debian_tas: Path, uuid: str, rounds: int) -> None:
    image = (debian_tas / f"{uuid}.ta").read_bytes()
    bench = Bench(tmp_path, allow_unsigned=True, libraries=[debian_tas])
    fates = pound(bench, UUID(uuid), elf_of(image), rounds // 3, 3, TA_HEADERS)
    bench.close()
    assert fates["refused"] > 0
    assert fates["ran"] > 0


def test_arbitrary_bytes(lenient: Bench) -> None:
    rng = random.Random(7)
    uuid = samples.HELLO[Arch.ARM]
    heads = [samples.hello(arch).read_bytes()[:n] for arch in TA_ARCHES for n in (0, 4, 20, 64, 400)]
    for _ in range(300):
        lenient.place(uuid, rng.choice(heads) + rng.randbytes(rng.randrange(2000)), ".ta")
        assert lenient.run(uuid).what == "refused"
    lenient.place(uuid, samples.hello(Arch.ARM).read_bytes(), ".ta")
    opened = lenient.world.open_session(uuid)
    assert opened.result == SUCCESS
