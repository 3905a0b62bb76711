"""Broken files: whatever is wrong with them, the loader answers with a TeeError, soon, and in little memory."""

from __future__ import annotations

import random
import resource
import time
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from south.platform import Arch
from ta_loader.elf.describe import describe_elf
from ta_loader.elf.object import ElfObject
from ta_loader.image import TaImage
from ta_loader.machines import TA_ARCHES
from tee.errors import TeeError
from tests.ta_loader.elf_kit import HEAD, LIB_A, MAIN, Oracle, build, make_space

SOURCE = HEAD + (
    "extern int far(void), maybe(void) __attribute__((weak)); int x; int *p[6] = {&x, &x, &x}; __thread int t = 1;"
    "int *f(void) { return far() ? &t : (maybe ? p[1] : 0); }"
    '__attribute__((section(".init_array"), used)) int *(*const init)(void) = f;'
)
LIBRARY = (
    "int far(void) { return 1; } __thread int u = 2; int *g(void) { return &u; } int __tls_get_addr(void) { return 0; }"
)
VALUES = (0, 1, 2, 3, 7, 8, 0x18, 0xFFF, 0x1000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63, 2**64 - 1, 2**64 - 8)
MUTATIONS = 10_000
"""Of each architecture."""


class Mutator:
    """Changes bytes where they matter: headers and tables, and anywhere now and then."""

    def __init__(self, elf: bytes, seed: int) -> None:
        self.elf = elf
        self.random = random.Random(seed)
        oracle = Oracle(elf).file
        header = oracle.header
        self.places = [(0, header["e_ehsize"]), (header["e_phoff"], header["e_phnum"] * header["e_phentsize"])]
        self.places.append((header["e_shoff"], header["e_shnum"] * header["e_shentsize"]))
        for section in oracle.iter_sections():
            name = section.name
            if section["sh_size"] and name.startswith((".dyn", ".rel", ".hash", ".gnu.hash", ".ta_head")):
                self.places.append((section["sh_offset"], section["sh_size"]))

    def next(self) -> bytes:
        rng, raw = self.random, bytearray(self.elf)
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            start, size = rng.choice(self.places) if rng.random() < 0.9 else (0, len(raw))
            width = rng.choice((1, 2, 4, 8))
            at = start + rng.randrange(size)
            at -= at % width if rng.random() < 0.8 else 0
            if at + width > len(raw):
                continue
            old = int.from_bytes(raw[at : at + width], "little")
            value = rng.choice((rng.choice(VALUES), old + rng.choice((-8, -1, 1, 8, 0x1000)), rng.getrandbits(64)))
            raw[at : at + width] = (value & (1 << 8 * width) - 1).to_bytes(width, "little")
        if rng.random() < 0.02:
            del raw[rng.randrange(len(raw)) :]
        return bytes(raw)


@pytest.mark.parametrize("arch", TA_ARCHES)
def test_mutations_end_in_a_defined_error(arch: Arch) -> None:
    library = build(arch, LIBRARY, uuid=LIB_A)
    main = build(arch, SOURCE, needs=((LIB_A, library),))
    good = {True: ElfObject(main, main=True), False: ElfObject(library, main=False)}
    space = make_space(arch, quota=1 << 20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    linked = refused = 0
    for as_main, elf in ((True, main), (False, library)):
        mutator = Mutator(elf, seed=arch.word)
        for _ in range(MUTATIONS // 2):
            changed = mutator.next()
            start = time.thread_time()
            try:
                obj = ElfObject(changed, main=as_main)
                broken = {**good, as_main: obj}

                def find(uuid: UUID, broken: dict[bool, ElfObject] = broken) -> ElfObject:
                    return broken[False]

                image = TaImage(MAIN, broken[True], find, version=0, digest=b"")
                program = image.link(space)
                program._links.release()
                linked += 1
            except TeeError:
                refused += 1
            assert time.thread_time() - start < 1
            assert space.used == 0
    assert linked > 400
    assert refused > 1000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10  # KiB


@pytest.mark.parametrize("arch", TA_ARCHES)
def test_descriptions_of_broken_files(arch: Arch) -> None:
    source = SOURCE + (
        "struct prop { const char *name; int type; const void *value; };"
        'const struct prop ta_props[] = {{"a.b", 0, "x"}, {"c", 4, "y"}}; const __SIZE_TYPE__ ta_num_props = 2;'
    )
    mutator = Mutator(build(arch, source, needs=((LIB_A, build(arch, LIBRARY, uuid=LIB_A)),)), seed=3)
    for _ in range(MUTATIONS // 8):
        try:
            describe_elf(mutator.next())
        except TeeError:
            pass


@given(st.binary(max_size=300), st.sampled_from(TA_ARCHES), st.booleans())
@settings(max_examples=300)
def test_arbitrary_bytes_after_a_header(data: bytes, arch: Arch, main: bool) -> None:
    header = build(arch, "int x;", uuid=LIB_A)[: 64 if arch.word == 8 else 52]
    for blob in (data, header + data):
        with pytest.raises(TeeError):
            ElfObject(blob, main=main)
