"""TAs with OP-TEE's AddressSanitizer: their shadow, what they report, and how they are recognised."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from north.memory import Layout
from south.platform import PAGE, Arch
from ta_loader import samples
from ta_loader.asan import Sanitizer
from ta_loader.elf.sanitized import shadow_offset
from ta_loader.image import DLOPEN_FLAGS
from ta_loader.machines import TA_ARCHES
from ta_loader.samples import build
from ta_loader.source import Loader
from tee.abi import results
from tee.abi.results import Origin
from tee.errors import TeeError
from tee.limits import Limits
from tee.params import Kind, Memref, Value
from tests.hostile.kit import DIED, FINE, Crashes, instance_of, make_world, open_ta
from tests.ta_loader.elf_kit import HEAD, LIB_A, LIB_B, MAIN, Boxes, elf_of, make_space, parsed
from tests.ta_loader.elf_kit import build as build_elf
from tests.tas import asan, cryptdrv, cxx, prof
from tests.tas.asan.build import recipe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from north.memory import AddressSpace
    from ta_loader.image import TaProgram
    from tee.params import Param
    from tee.world import SecureWorld

TABLE, OFFSET, TOP = 0x6FFF_F000, 0x7000_0000, 0x7E00_0000
MIB = 1 << 20


@pytest.fixture(params=TA_ARCHES, ids=lambda a: a.value)
def arch(request: pytest.FixtureRequest) -> Arch:
    given: Arch = request.param
    return given


@pytest.fixture
def crashes() -> Crashes:
    return Crashes()


@pytest.fixture
def world(tmp_path: Path, crashes: Crashes) -> Iterator[SecureWorld]:
    with make_world(tmp_path, folders=[asan.HERE], observer=crashes) as made:
        yield made


def call(world: SecureWorld, session: int, command: int, a: int = 0) -> tuple[int, int]:
    value = Value(Kind.VALUE_INOUT, a)
    assert world.invoke(session, command, [value]) == FINE
    return value.a, value.b


# --- what a TA reports


@pytest.mark.parametrize(("command", "inside"), [(asan.GLOBAL, 19), (asan.STACK, 15), (asan.POOL, 19)])
def test_accesses_within_bounds_go_through(world: SecureWorld, arch: Arch, command: int, inside: int) -> None:
    session = open_ta(world, asan.UUIDS[arch])
    for index in (0, inside):
        call(world, session, command, index)


@pytest.mark.parametrize(
    ("command", "index", "what"),
    [
        (asan.GLOBAL, 20, "behind a global variable"),
        (asan.GLOBAL, 24, "beside a global variable"),
        (asan.GLOBAL, 63, "beside a global variable"),
        (asan.STACK, 16, "behind the variables of a function"),
        (asan.POOL, 20, "behind a block of heap memory"),
        (asan.POOL, 24, "in heap memory that is free"),
    ],
)
def test_a_bad_access_is_reported_as_a_crash(
    world: SecureWorld, crashes: Crashes, arch: Arch, command: int, index: int, what: str
) -> None:
    session = open_ta(world, asan.UUIDS[arch])
    assert world.invoke(session, command, [Value(Kind.VALUE_INOUT, index)]) == DIED
    crash = crashes.last()
    assert (crash.kind, crash.code) == ("panic", results.GENERIC)
    assert crash.detail.startswith("AddressSanitizer: an access to 1 byte at 0x")
    assert crash.detail.endswith(f", {what}")
    names = [frame.function for frame in crash.backtrace]
    assert names[:3] == ["ta_panic", "check", "poke" if command == asan.POOL else "peek"]


def test_an_access_before_a_variable(world: SecureWorld, crashes: Crashes) -> None:
    """In 32-bit code an index may reach backwards."""
    session = open_ta(world, asan.UUIDS[Arch.ARM])
    assert world.invoke(session, asan.STACK, [Value(Kind.VALUE_INOUT, 0xFFFFFFFF)]) == DIED
    assert crashes.last().detail.endswith(", before the variables of a function")


def test_the_report_has_the_line(tmp_path: Path, arch: Arch, capfd: pytest.CaptureFixture[str]) -> None:
    from ta_loader.cli import main

    made = recipe(arch)
    if build.missing(made):
        pytest.skip(f"{build.missing(made)} is not installed")
    (tmp_path / "ta.ta").write_bytes(build.build(made, tmp_path))
    elf = tmp_path / f"{made.uuid}.elf"
    options = ["--trust", samples.public_key_file(), "--elf", str(elf), "--invoke", "0", "value:20"]
    assert main(["run", str(tmp_path / "ta.ta"), *options]) == 3
    source = (asan.HERE / "asan.c").read_text().splitlines()
    line = source.index("    return at[index];") + 1
    said = capfd.readouterr().err
    assert "AddressSanitizer: an access to 1 byte at 0x" in said
    assert any(re.search(rf"\basan\.c:{line}$", text) and "!peek+" in text for text in said.splitlines())


def test_a_report_that_is_none_changes_nothing(world: SecureWorld, crashes: Crashes, arch: Arch) -> None:
    session = open_ta(world, asan.UUIDS[arch])
    assert world.invoke(session, asan.FORGE, [Value(Kind.VALUE_INOUT, 0xBAD)]) == DIED
    crash = crashes.last()
    assert (crash.kind, crash.code) == ("panic", 0xBAD)
    wide = "AddressSanitizer: an access to 99999999999 bytes at 0xfffffffffffffff0"
    assert crash.detail == (wide if arch is Arch.AARCH64 else "TEE_Panic(0x00000bad)")


@pytest.mark.parametrize(
    ("text", "report"),
    [
        ("[ASAN]: access violation, addr: 0x41000000 size: 4\n", "an access to 4 bytes at 0x41000000"),
        ("E/TA: x [ASAN]: access violation, addr: 0x10 size: 1\nmore\n", "an access to 1 byte at 0x10"),
        ("[ASAN]: access violation, addr: 0xffffffff size: 9999\n", "an access to 9999 bytes at 0xffffffff"),
        ("[ASAN]: access violation, addr: 0x10000000000000000 size: 1\n", ""),
        ("[ASAN]: access violation, addr: 0x" + "f" * 5000 + " size: 1\n", ""),
        ("[ASAN]: access violation, addr: 0x1 size: " + "9" * 5000, ""),
        ("[ASAN]: access violation, addr: 0x1 size: 0\n", ""),
        ("[ASAN]: access violation, addr: 0x1 size: -5\n", ""),
        ("[ASAN]: access violation, addr: -0x1 size: 5\n", ""),
        ("[ASAN]: access violation, addr: ", ""),
        ("[ASAN]: access violation, addr: here size: some\n", ""),
        ("", ""),
    ],
)
def test_whatever_a_ta_logs_is_a_report_or_none(arch: Arch, text: str, report: str) -> None:
    _, program = linked(arch, {MAIN: build_elf(arch, HEAD + WITH_TABLE)})
    assert program.sanitizer is not None
    program.sanitizer.heard(text)
    assert program.sanitizer.report == (report and f"AddressSanitizer: {report}")


# --- where it all lies


def test_the_table_names_the_ta_and_its_stack(world: SecureWorld, arch: Arch) -> None:
    session = open_ta(world, asan.UUIDS[arch])
    space = instance_of(world, session).space
    module = instance_of(world, session).program.modules[0]
    stack = next(region for region in space if region.name == "stack")
    assert call(world, session, asan.TABLE)[0] == 2
    assert call(world, session, asan.BOUNDS, 0) == (module.base, module.base + module.size)
    assert call(world, session, asan.BOUNDS, 1) == (stack.va, stack.end)
    shadows = [region for region in space if region.name == "shadow"]
    found = {call(world, session, asan.BOUNDS, 0x100 + i) for i in range(call(world, session, asan.TABLE)[1])}
    assert found == {(region.va, region.end) for region in shadows}
    for low, high in ((module.base, module.base + module.size), (stack.va, stack.end)):
        for va in (low, high - 1):
            assert any(region.va <= va // 8 + OFFSET < region.end for region in shadows)
    assert call(world, session, asan.SHADOW) == (0, 0)  # of the parameters


@pytest.mark.parametrize("layout", Layout)
def test_everything_lies_below_the_table_and_the_shadow_stays_free(tmp_path: Path, arch: Arch, layout: Layout) -> None:
    with make_world(tmp_path, folders=[asan.HERE], limits=Limits(layout=layout)) as world:
        for _ in range(3):
            session = open_ta(world, asan.UUIDS[arch])
            pages = [world.platform.pages.shared(size) for size in (500 * MIB, MIB, 3 * PAGE)]
            params: list[Param] = [Value(Kind.VALUE_INOUT, 3)]
            params += [Memref(Kind.MEMREF_INOUT, memory, memory.size) for memory in pages]
            assert world.invoke(session, asan.GLOBAL, params) == FINE
            for region in instance_of(world, session).space:
                mine = region.name in ("sanitizer", "shadow")
                assert (TABLE <= region.va < region.end <= TOP) if mine else region.end <= TABLE
            large = world.platform.pages.shared(TABLE)
            refused = world.invoke(session, asan.GLOBAL, [Memref(Kind.MEMREF_INOUT, large, large.size)])
            assert refused == (results.OUT_OF_MEMORY, Origin.TEE)


def test_the_shadow_counts_as_the_tas_memory(tmp_path: Path, arch: Arch) -> None:
    with make_world(tmp_path, folders=[asan.HERE], limits=Limits(memory=8 * PAGE)) as world:
        opened = world.open_session(asan.UUIDS[arch])
        assert (opened.result, opened.origin) == (results.OUT_OF_MEMORY, Origin.TEE)


# --- libraries

STARTS = "\n__attribute__((constructor)) void start(void) {}"
WITH_TABLE = f"{STARTS}\nunsigned long table(void) {{ return *(volatile unsigned long *){TABLE:#x}; }}"
"""Code that reaches the table, so that the TA counts as one with a sanitizer."""


def linked(arch: Arch, files: dict[object, bytes]) -> tuple[AddressSpace, TaProgram]:
    space = make_space(arch)
    return space, Loader(Boxes(files)).find(MAIN).link(space)  # type: ignore[arg-type]


def word(space: AddressSpace, index: int) -> int:
    return int.from_bytes(space.read(TABLE + index * space.arch.word, space.arch.word), "little")


def test_libraries_have_shadows_from_the_start_and_after_dlopen(arch: Arch) -> None:
    first, second = (build_elf(arch, f"int {n}(void) {{ return 1; }}", uuid=u) for n, u in (("a", LIB_A), ("b", LIB_B)))
    main = build_elf(arch, HEAD + WITH_TABLE + "\nint a(void); int use(void) { return a(); }", needs=((LIB_A, first),))
    space, program = linked(arch, {MAIN: main, LIB_A: first, LIB_B: second})
    for count in (2, 3):
        assert word(space, 0) == count
        for i, module in enumerate(program.modules):
            assert (word(space, 1 + 2 * i), word(space, 2 + 2 * i)) == (module.base, module.base + module.size)
            assert not any(space.read(module.base // 8 + OFFSET, module.size // 8))
        program.dlopen(LIB_B, DLOPEN_FLAGS)


@pytest.mark.parametrize("filler", [0x01, 0x7F, 0xFF])
def test_a_table_of_nonsense_makes_dlopen_fail(arch: Arch, filler: int) -> None:
    library = build_elf(arch, "int b(void) { return 1; }", uuid=LIB_B)
    space, program = linked(arch, {MAIN: build_elf(arch, HEAD + WITH_TABLE), LIB_B: library})
    before = list(space)
    space.write(TABLE, bytes([filler]) * PAGE)
    with pytest.raises(TeeError) as caught:
        program.dlopen(LIB_B, DLOPEN_FLAGS)
    assert caught.value.result in (results.OUT_OF_MEMORY, results.TARGET_DEAD)
    assert list(space) == before


def test_neighbours_share_a_page_of_shadow(arch: Arch) -> None:
    """A page of shadow is of 32 KiB: whatever lies close together must not map it twice."""
    space, program = linked(arch, {MAIN: build_elf(arch, HEAD + WITH_TABLE)})
    assert isinstance(program.sanitizer, Sanitizer)
    base = 0x5000_0000
    for va, size in ((base, PAGE), (base + 2 * PAGE, PAGE), (base - (64 << 10), 256 << 10), (base, 16 << 20)):
        program.add_stack(va, size)
        for at in range(va, va + size, 8 * PAGE):
            assert not any(space.read((at // 8 + OFFSET) & -PAGE, PAGE))


# --- how such a TA is recognised


def found(arch: Arch, elf: bytes) -> int:
    return parsed(elf).shadow_offset


@pytest.mark.parametrize("options", [("-Os",), ("-O2",), ("-O0",)])
def test_the_tables_address_is_found_in_code(arch: Arch, options: tuple[str, ...]) -> None:
    modes = [("-mthumb", "-march=armv7-a+fp")] if arch is Arch.ARM else [()]
    for mode in modes:
        assert found(arch, build_elf(arch, HEAD + WITH_TABLE, *options, *mode)) == OFFSET


def test_the_offset_of_cores_without_long_descriptors() -> None:
    code = HEAD + STARTS + "\nunsigned long table(void) { return *(volatile unsigned long *)0x1bff000; }"
    for option in ("-Os", "-O2"):
        elf = build_elf(Arch.ARM, code, option, "-mthumb", "-march=armv7-a+fp")
        assert found(Arch.ARM, elf) == 0x1C0_0000
    space, program = linked(Arch.ARM, {MAIN: elf})
    assert all(0x10_0000 <= r.va < r.end <= 0x1BF_F000 for r in space if r.name not in ("sanitizer", "shadow"))
    assert int.from_bytes(space.read(0x1BF_F000, 4), "little") == 1
    assert not any(space.read(program.modules[0].base // 8 + 0x1C0_0000, 16))


def test_the_runtimes_text_will_do(arch: Arch) -> None:
    for text in (b"asan_user_map_shadow\0", b"[ASAN]: access violation, addr: %#lx size: %zu\n"):
        assert shadow_offset(arch, [b"\0" * 100, b"x" * 7 + text]) == OFFSET
    assert shadow_offset(arch, [b"asan_user_map", b"[ASAN]"]) == 0


def test_a_ta_without_initialisers_has_no_sanitizer(arch: Arch) -> None:
    assert found(arch, build_elf(arch, HEAD + WITH_TABLE.replace(STARTS, ""))) == 0


def test_other_tas_have_none(arch: Arch) -> None:
    homes = ((asan, OFFSET), (cryptdrv, 0), (cxx, 0), (prof, 0))
    for home, offset in homes:
        assert found(arch, elf_of(home.HERE / f"{home.UUIDS[arch]}.ta")) == offset
    assert found(arch, elf_of(samples.hello(arch))) == 0
