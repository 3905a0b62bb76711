"""Linking, with every relocated word recomputed from what pyelftools reads."""

from __future__ import annotations

import time
from pathlib import Path
from uuid import UUID

import pytest

from north.memory import AddressSpace
from south.platform import PAGE, Arch, Prot
from ta_loader.image import DLOPEN_FLAGS, TaProgram
from ta_loader.machines import TA_ARCHES
from ta_loader.source import Loader
from tee.abi import results, ta_head
from tee.errors import TeeError
from tests.ta_loader.elf_kit import HEAD, LIB_A, LIB_B, LIB_C, MAIN, Boxes, Oracle, build, elf_of, make_space, with_head

ARCHES = TA_ARCHES
TLS_GET_ADDR = "void *__tls_get_addr(void *i) { return i; }\n"

# Dynamic relocation numbers of the ABI documents, on their own here.
RELATIVE = {Arch.AARCH64: 1027, Arch.ARM: 23}
ABSOLUTE = {Arch.AARCH64: 257, Arch.ARM: 2}
BY_NAME = {Arch.AARCH64: (1025, 1026), Arch.ARM: (21, 22)}


def link(files: dict[UUID, bytes], arch: Arch, main: UUID = MAIN, seed: int = 1) -> tuple[AddressSpace, TaProgram]:
    space = make_space(arch, seed=seed)
    return space, Loader(Boxes(files)).find(main).link(space)


def word(space: AddressSpace, va: int) -> int:
    return int.from_bytes(space.read(va, space.arch.word), "little")


def check_program(files: dict[UUID, bytes], space: AddressSpace, program: TaProgram) -> int:
    """Compare all of the modules' memory with the files, relocated by the ABI's formulas. Relocations checked."""
    arch, mask = space.arch, (1 << 8 * space.arch.word) - 1
    oracles = [(m, Oracle(files[m.uuid])) for m in program.modules]

    def find(name: str) -> int:
        for module, oracle in oracles:
            symbol = oracle.symbol(name)
            if symbol is not None:
                return module.base + int(symbol["st_value"])
        return 0

    written: set[int] = set()
    for name in ("__elf_phdr_info", "__init_fini_info"):
        written |= set(range(find(name), find(name) + 16))
    count = 0
    for module, oracle in oracles:
        for offset, kind, addend, symbol in oracle.relocations():
            va = module.base + offset
            if kind == RELATIVE[arch]:
                expected = module.base + addend
            elif kind == ABSOLUTE[arch] and symbol["st_shndx"] != "SHN_UNDEF":
                expected = module.base + symbol["st_value"] + addend
            else:
                assert kind in (*BY_NAME[arch], ABSOLUTE[arch]), kind
                expected = find(symbol.name)
                assert expected or symbol["st_info"]["bind"] == "STB_WEAK"
            assert word(space, va) == expected & mask, hex(offset)
            written |= set(range(va, va + arch.word))
            count += 1
        for segment in oracle.file.iter_segments():
            if segment["p_type"] == "PT_LOAD":
                start = module.base + segment["p_vaddr"]
                content = segment.data().ljust(segment["p_memsz"], b"\0")
                got = space.read(start, len(content))
                assert all(
                    a == b for i, (a, b) in enumerate(zip(content, got, strict=True)) if start + i not in written
                )
                region = space.find(start)
                assert region is not None
                flags = segment["p_flags"]
                assert region.prot == (Prot.RW if flags & 2 else Prot.RX if flags & 1 else Prot.R)
    return count


def phdr_info(space: AddressSpace, program: TaProgram, oracle: Oracle) -> list[tuple[int, ...]]:
    """Entries of `__elf_phdr_info`, read as the TA would."""
    info = program.dlsym(UUID(int=0), "__elf_phdr_info")
    head = (ta_head.TABLE_INFO_64 if space.arch.word == 8 else ta_head.TABLE_INFO_32).unpack(
        space.read(info, 16 if space.arch.word == 8 else 12)
    )
    row = ta_head.DL_PHDR_INFO_64 if space.arch.word == 8 else ta_head.DL_PHDR_INFO_32
    assert row.size == (64 if space.arch.word == 8 else 40)
    assert head[0] == 0
    return [row.unpack(space.read(head[4] + i * row.size, row.size)) for i in range(head[1])]


def text(space: AddressSpace, va: int) -> str:
    out = b""
    while not out.endswith(b"\0"):
        out += space.read(va + len(out), 1)
    return out[:-1].decode()


def test_every_debian_ta(debian_tas: Path) -> None:
    files = {UUID(path.stem): elf_of(path) for path in debian_tas.glob("*.ta")}
    checked = 0
    for number, (uuid, elf) in enumerate(files.items()):
        if Oracle(elf).file.header["e_entry"]:
            space, program = link(files, Arch.AARCH64, uuid, seed=number)
            checked += check_program(files, space, program)
            assert program.entry == program.modules[0].base + Oracle(elf).file.header["e_entry"]
    assert checked > 2000


def test_every_kit_ta(debian_kit: Path) -> None:
    for path in sorted((debian_kit / "ta").glob("*.ta")):
        files = {UUID(path.stem): elf_of(path)}
        check_program(files, *link(files, Arch.AARCH64, UUID(path.stem)))


def test_debian_program_with_a_library(debian_tas: Path) -> None:
    files = {UUID(path.stem): elf_of(path) for path in debian_tas.glob("*.ta")}
    os_test = UUID("5b9e0e40-2636-11e1-ad9e-0002a5d5c51b")
    shared, plugin = UUID("ffd2bded-ab7d-4988-95ee-e4962fff7154"), UUID("b3091a65-9751-4784-abf7-0298a7cc35ba")
    space, program = link(files, Arch.AARCH64, os_test)
    assert [m.uuid for m in program.modules] == [os_test, shared]
    program.dlopen(plugin, DLOPEN_FLAGS)
    assert [m.uuid for m in program.modules] == [os_test, shared, plugin]
    check_program(files, space, program)
    base = program.modules[2].base
    assert program.dlsym(plugin, "os_test_shlib_dl_add") == base + Oracle(files[plugin]).value("os_test_shlib_dl_add")
    rows = phdr_info(space, program, Oracle(files[os_test]))
    assert [row[0] for row in rows] == [m.base for m in program.modules]
    assert [text(space, row[1]) for row in rows] == ["", str(shared), str(plugin)]
    for row, module in zip(rows, program.modules, strict=True):
        raw = files[module.uuid]
        assert space.read(row[2], row[3] * 56) == raw[64 : 64 + row[3] * 56]


@pytest.mark.parametrize("arch", ARCHES)
def test_symbols_across_modules(arch: Arch) -> None:
    b = build(arch, "int only_b = 2; __attribute__((weak)) int both = 22; int *at = &both;", uuid=LIB_B)
    a = build(
        arch, "extern int only_b; int both = 11; int *x = &only_b; int *y = &both;", uuid=LIB_A, needs=((LIB_B, b),)
    )
    source = HEAD + (
        "extern int only_b, both; int missing(void) __attribute__((weak)); int own[4];"
        "int *p = &only_b, *q = &both, *r = &own[3]; int (*s)(void) = missing; static int hidden; int *t = &hidden;"
        "int use(void) { return *p + both + (missing ? missing() : 0); }"
    )
    for style in ("gnu", "sysv", "both"):
        main = build(arch, source, f"-Wl,--hash-style={style}", needs=((LIB_A, a),))
        files = {MAIN: main, LIB_A: a, LIB_B: b}
        space, program = link(files, arch)
        assert [m.uuid for m in program.modules] == [MAIN, LIB_A, LIB_B]
        assert check_program(files, space, program) >= 9
        nil = UUID(int=0)
        assert word(space, program.dlsym(nil, "q")) == program.dlsym(LIB_A, "both")
        # A symbol of its own is not looked up elsewhere for ABS64 and ABS32.
        assert word(space, program.dlsym(LIB_B, "at")) == program.dlsym(LIB_B, "both")
        assert word(space, program.dlsym(nil, "s")) == 0
        # A library without the symbol falls back to all modules.
        assert program.dlsym(LIB_B, "own") == program.dlsym(nil, "own")


@pytest.mark.parametrize("arch", ARCHES)
def test_cycles_and_breadth_first_order(arch: Arch) -> None:
    stub = build(arch, "int c1;", uuid=LIB_C)
    b = build(arch, "int b1;", uuid=LIB_B, needs=((LIB_C, stub),))
    a = build(arch, "int a1;", uuid=LIB_A, needs=((LIB_C, stub), (LIB_B, b)))
    c = build(arch, "int c1;", uuid=LIB_C, needs=((LIB_A, a),))
    main = build(arch, HEAD, needs=((LIB_B, b), (LIB_A, a)))
    _, program = link({MAIN: main, LIB_A: a, LIB_B: b, LIB_C: c}, arch)
    assert [m.uuid for m in program.modules] == [MAIN, LIB_B, LIB_A, LIB_C]


@pytest.mark.parametrize("arch", ARCHES)
def test_missing_library_and_missing_symbol(arch: Arch) -> None:
    a = build(arch, "int f(void) { return 1; }", uuid=LIB_A)
    other = build(arch, "int g(void) { return 1; }", uuid=LIB_A)
    main = build(arch, HEAD + "int f(void); int go(void) { return f(); }", needs=((LIB_A, a),))
    for files in ({MAIN: main}, {MAIN: main, LIB_A: other}):
        space = make_space(arch)
        image = Loader(Boxes(files)).find(MAIN)
        with pytest.raises(TeeError) as caught:
            image.link(space)
        assert caught.value.result == results.ITEM_NOT_FOUND
        assert space.used == 0
        assert not list(space)


def test_library_of_the_other_architecture() -> None:
    a = build(Arch.AARCH64, "int f(void) { return 1; }", uuid=LIB_A)
    main = build(Arch.AARCH64, HEAD, needs=((LIB_A, a),))
    with pytest.raises(TeeError) as caught:
        link({MAIN: main, LIB_A: build(Arch.ARM, "int f;", uuid=LIB_A)}, Arch.AARCH64)
    assert caught.value.result == results.BAD_FORMAT


@pytest.mark.parametrize("arch", ARCHES)
def test_dlopen(arch: Arch) -> None:
    b = build(arch, "int b1 = 3;", uuid=LIB_B)
    a = build(arch, "extern int b1; int *pb = &b1; int f(void) { return b1; }", uuid=LIB_A, needs=((LIB_B, b),))
    bad = build(arch, "int nowhere(void); int (*p)(void) = nowhere;", uuid=LIB_C, needs=((LIB_A, a),))
    files = {MAIN: build(arch, HEAD), LIB_A: a, LIB_B: b, LIB_C: bad}
    space, program = link(files, arch)
    before = space.used
    for uuid, flags, result in (
        (LIB_A, 2, results.BAD_PARAMETERS),
        (UUID(int=5), DLOPEN_FLAGS, results.ITEM_NOT_FOUND),
        (LIB_C, DLOPEN_FLAGS, results.ITEM_NOT_FOUND),
    ):
        with pytest.raises(TeeError) as caught:
            program.dlopen(uuid, flags)
        assert caught.value.result == result
        assert (space.used, len(program.modules)) == (before, 1)
    with pytest.raises(TeeError) as caught:
        program.dlsym(LIB_A, "f")
    assert caught.value.result == results.ITEM_NOT_FOUND
    program.dlopen(UUID(int=0), DLOPEN_FLAGS)
    program.dlopen(MAIN, DLOPEN_FLAGS)
    assert len(program.modules) == 1
    program.dlopen(LIB_A, DLOPEN_FLAGS)
    program.dlopen(LIB_B, DLOPEN_FLAGS)
    assert [m.uuid for m in program.modules] == [MAIN, LIB_A, LIB_B]
    check_program(files, space, program)
    assert word(space, program.dlsym(LIB_A, "pb")) == program.dlsym(LIB_B, "b1")
    rows = phdr_info(space, program, Oracle(files[MAIN]))
    assert [text(space, row[1]) for row in rows] == [str(MAIN), str(LIB_A), str(LIB_B)]


@pytest.mark.parametrize("arch", ARCHES)
def test_many_libraries_move_the_tables(arch: Arch) -> None:
    info = "struct { unsigned reserved; unsigned short size, pad; void *ifs; } __init_fini_info;"
    library = (
        'static void f(void) {} __attribute__((section(".init_array"), used)) void (*const init)(void) = f; int n;'
    )
    files = {MAIN: build(arch, HEAD + info)}
    for i in range(60):
        files[UUID(int=i + 1)] = build(arch, library, uuid=LIB_A)
    space, program = link(files, arch)
    layout = ta_head.INIT_FINI_64 if arch.word == 8 else ta_head.INIT_FINI_32
    for i in range(60):
        program.dlopen(UUID(int=i + 1), DLOPEN_FLAGS)
        at = program.dlsym(UUID(int=0), "__init_fini_info")
        head = (ta_head.TABLE_INFO_64 if arch.word == 8 else ta_head.TABLE_INFO_32).unpack(
            space.read(at, 8 + arch.word)
        )
        assert head[1] == i + 2
        first = layout.unpack(space.read(head[4], layout.size))
        assert first[0] == (1 if i == 0 else 3)
        if i == 0:  # libutee marks the initialisers that it has run
            space.write(head[4], layout.pack(3, *first[1:]))
        last = layout.unpack(space.read(head[4] + (i + 1) * layout.size, layout.size))
        module = program.modules[-1]
        section = Oracle(files[module.uuid]).file.get_section_by_name(".init_array")
        assert last == (1, 1, 0, module.base + section["sh_addr"], 0)
    assert len(phdr_info(space, program, Oracle(files[MAIN]))) == 61


@pytest.mark.parametrize("arch", ARCHES)
def test_number_of_libraries_is_bounded(arch: Arch) -> None:
    a = build(arch, "int a;", uuid=LIB_A)
    b = build(arch, "int b;", uuid=LIB_B, needs=((LIB_A, a),))
    files = {MAIN: build(arch, HEAD, needs=((LIB_A, a),))}
    for i in range(70):
        name = LIB_A if i == 0 else UUID(int=i)
        files[name] = b.replace(str(LIB_A).encode(), str(UUID(int=i + 1)).encode())
    with pytest.raises(TeeError) as caught:
        link(files, arch)
    assert caught.value.result == results.OUT_OF_MEMORY


def test_aarch64_thread_local_storage() -> None:
    arch = Arch.AARCH64
    a = build(arch, "__thread int ta = 3; __thread long tb[2]; int *fa(void) { return &ta; }", uuid=LIB_A)
    plain = build(arch, "int n;", uuid=LIB_C)
    b_source = (
        "__thread int tc = 4; static __thread int td = 5; int *fc(void) { return &tc; } int *fd(void) { return &td; }"
    )
    for model in ("initial-exec", "global-dynamic"):
        b = build(arch, b_source, f"-ftls-model={model}", uuid=LIB_B)
        source = HEAD + "extern __thread int ta, tc; __thread int m = 1; int f(void) { return ta + tc + m; }"
        main = build(arch, source, f"-ftls-model={model}", needs=((LIB_A, a), (LIB_C, plain), (LIB_B, b)))
        files = {MAIN: main, LIB_A: a, LIB_B: b, LIB_C: plain}
        space, program = link(files, arch)
        # TLS variant 1: two words, then the blocks in the order of the modules, as libutee copies them.
        block, at = {}, 16
        for module in program.modules:
            block[module.uuid] = at
            tls = [s for s in Oracle(files[module.uuid]).file.iter_segments() if s["p_type"] == "PT_TLS"]
            at += tls[0]["p_memsz"] if tls else 0
        owner = {"ta": LIB_A, "tb": LIB_A, "tc": LIB_B, "m": MAIN}
        seen = set()
        resolvers = set()
        for module in program.modules:
            for offset, kind, addend, symbol in Oracle(files[module.uuid]).relocations():
                if kind not in (1030, 1031):
                    continue
                name = symbol.name if symbol is not None else ""
                home = owner[name] if name else module.uuid
                value = Oracle(files[home]).value(name) if name else 0
                va = module.base + offset
                if kind == 1031:
                    resolvers.add(word(space, va))
                    va += 8
                assert word(space, va) == block[home] + value + addend
                seen.add((kind, bool(name)))
        assert seen >= ({(1030, True), (1030, False)} if model == "initial-exec" else {(1031, True), (1031, False)})
        assert len(resolvers) == 1  # library A uses descriptors in both rounds
        region = space.find(resolvers.pop())
        assert region is not None
        assert region.prot == Prot.RX
        assert region.size == PAGE
        rows = phdr_info(space, program, Oracle(main))
        assert [row[6] for row in rows] == [0, 0, 0, 0]


def test_arm_thread_local_storage() -> None:
    arch = Arch.ARM
    a = build(arch, "int n;", uuid=LIB_A)
    b = build(
        arch,
        "__thread int tb = 3, tc = 4; static __thread int d; int *f(void) { return &tb; } int *g(void) { return &d; }",
        uuid=LIB_B,
    )
    source = (
        HEAD + TLS_GET_ADDR + "extern __thread int tb, tc; __thread int m = 1; int f2(void) { return tb + tc + m; }"
    )
    main = build(arch, source, needs=((LIB_A, a), (LIB_B, b)))
    files = {MAIN: main, LIB_A: a, LIB_B: b}
    space, program = link(files, arch)
    number = {MAIN: 1, LIB_B: 3}  # position in libutee's vector
    owner = {"tb": LIB_B, "tc": LIB_B, "m": MAIN}
    seen = set()
    for module in program.modules:
        for offset, kind, _, symbol in Oracle(files[module.uuid]).relocations():
            home = owner.get(symbol.name if symbol is not None else "", module.uuid)
            if kind == 17:
                assert word(space, module.base + offset) == number[home]
            elif kind == 18:
                assert word(space, module.base + offset) == Oracle(files[home]).value(symbol.name)
            seen.add(kind)
    assert seen >= {17, 18}
    assert [row[6] for row in phdr_info(space, program, Oracle(main))] == [1, 0, 3]


def test_arm_initial_exec_is_refused() -> None:
    source = HEAD + "__thread int m = 1; int f(void) { return m; }"
    with pytest.raises(TeeError, match="global-dynamic") as caught:
        link({MAIN: build(Arch.ARM, source, "-ftls-model=initial-exec")}, Arch.ARM)
    assert caught.value.result == results.BAD_FORMAT


@pytest.mark.parametrize("arch", ARCHES)
def test_legacy_ta(arch: Arch) -> None:
    """Its entry is a relocated pointer in its header, and so is in text."""
    source = HEAD.replace("unsigned long long entry;", "void *entry; " + ("unsigned high;" if arch is Arch.ARM else ""))
    source = source.replace("~0ull", "entry").replace("struct ta_head {", "void entry(void); struct ta_head {", 1)
    main = build(arch, source, "-Wl,-z,notext")
    space, program = link({MAIN: main}, arch)
    assert program.entry == program.modules[0].base + Oracle(main).value("entry")
    region = space.find(program.entry)
    assert region is not None
    assert region.prot == Prot.RX


@pytest.mark.parametrize("arch", ARCHES)
def test_text_relocation_is_refused(arch: Arch) -> None:
    source = HEAD + 'int v; __attribute__((section(".text.x"), used)) int *const p = &v;'
    with pytest.raises(TeeError) as caught:
        link({MAIN: build(arch, source, "-Wl,-z,notext")}, arch)
    assert caught.value.result == results.GENERIC


@pytest.mark.parametrize("arch", ARCHES)
def test_random_bases(arch: Arch) -> None:
    main = build(arch, HEAD)
    bases = {link({MAIN: main}, arch, seed=seed)[1].modules[0].base for seed in range(8)}
    assert len(bases) == 8
    assert not any(base % PAGE for base in bases)


def test_thumb_entry() -> None:
    main = build(Arch.ARM, HEAD, "-mthumb")
    _, program = link({MAIN: main}, Arch.ARM)
    assert program.entry & 1
    assert program.entry == program.modules[0].base + Oracle(main).file.header["e_entry"]


def test_quota() -> None:
    main = build(Arch.AARCH64, HEAD + "char big[4 << 20];")
    space = make_space(Arch.AARCH64, quota=2 << 20)
    with pytest.raises(TeeError) as caught:
        Loader(Boxes({MAIN: main})).find(MAIN).link(space)
    assert caught.value.result == results.OUT_OF_MEMORY
    assert space.used == 0


@pytest.mark.parametrize(
    ("fields", "result"),
    [
        ({"stack": 0}, results.BAD_FORMAT),
        ({"stack": 8200}, results.BAD_FORMAT),
        ({"flags": 1 << 14}, results.BAD_FORMAT),
        ({"flags": ta_head.TA_FLAG_CONCURRENT}, results.BAD_FORMAT),
    ],
)
def test_header_that_no_ta_may_have(fields: dict[str, int], result: results.Result) -> None:
    main = with_head(build(Arch.AARCH64, HEAD), **fields)
    with pytest.raises(TeeError) as caught:
        Loader(Boxes({MAIN: main})).find(MAIN)
    assert caught.value.result == result


def test_ta_that_gave_its_tables_away() -> None:
    arch = Arch.AARCH64
    files = {MAIN: build(arch, HEAD), LIB_A: build(arch, "int a;", uuid=LIB_A)}
    space, program = link(files, arch)
    region = space.find(program.dlsym(UUID(int=0), "__elf_phdr_info"))
    assert region is not None
    space.unmap(region.va, region.size)
    with pytest.raises(TeeError) as caught:
        program.dlopen(LIB_A, DLOPEN_FLAGS)
    assert caught.value.result == results.TARGET_DEAD
    assert len(program.modules) == 1


def test_speed(debian_tas: Path) -> None:
    """A wide margin: the machine may be busy. Measured: 0.3 ms to link, 0.6 ms to parse."""
    uuid = UUID("cb3e5ba0-adf1-11e0-998b-0002a5d5c51b")
    image = Loader(Boxes({uuid: elf_of(debian_tas / f"{uuid}.ta")})).find(uuid)
    times = []
    for seed in range(10):
        space = make_space(Arch.AARCH64, seed=seed)
        start = time.perf_counter()
        image.link(space)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.01


@pytest.mark.parametrize("arch", ARCHES)
def test_a_large_ta_fits_into_a_boards_window(arch: Arch) -> None:
    elf = build(arch, HEAD + "char heap[600 << 20]; char *use(void) { return heap; }")
    space = make_space(arch, quota=2 << 30)
    assert Loader(Boxes({MAIN: elf})).find(MAIN).link(space).entry
    assert all(0x4000_0000 <= r.va < r.end <= 0x8000_0000 for r in space)
    assert max(r.size for r in space) >= 600 << 20


@pytest.mark.parametrize("arch", ARCHES)
def test_a_ta_larger_than_what_a_boards_window_has_left_is_not_loaded(arch: Arch) -> None:
    elf = build(arch, HEAD + "char heap[900 << 20]; char *use(void) { return heap; }")
    space = make_space(arch, quota=2 << 30)
    before = space.map(200 << 20, Prot.RW, name="another")
    with pytest.raises(TeeError) as caught:
        Loader(Boxes({MAIN: elf})).find(MAIN).link(space)
    assert caught.value.result == results.OUT_OF_MEMORY
    assert list(space) == [before]
