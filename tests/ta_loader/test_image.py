"""Images and where they come from: identity, caching, the ports' types."""

from __future__ import annotations

import inspect
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

import ta_loader
from north.memory import AddressSpace
from south.platform import Arch, Prot, TrapKind
from ta_loader.machines import TA_ARCHES
from ta_loader.source import Loader
from tee.abi import results, ta_head
from tee.errors import TeeError
from tests.ta_loader.elf_kit import HEAD, LIB_A, MAIN, Box, Boxes, build, make_space, with_head

if TYPE_CHECKING:
    from tee import ports


def test_image_says_what_the_header_says() -> None:
    main = with_head(build(Arch.AARCH64, HEAD), stack=4096, flags=ta_head.TA_FLAG_MULTI_SESSION | 0x43)
    store = Boxes({MAIN: main})
    source: ports.ImageSource = Loader(store)
    image = source.find(MAIN)
    assert (image.uuid, image.arch, image.stack_size, image.flags) == (MAIN, Arch.AARCH64, 4096, 0x4B)
    assert (image.version, image.digest) == (7, store.find(MAIN).digest)
    program: ports.Program = image.link(make_space(Arch.AARCH64))
    assert program.modules[0].uuid == MAIN


def test_image_of_another_ta_is_refused() -> None:
    with pytest.raises(TeeError) as caught:
        Loader(Boxes({LIB_A: build(Arch.AARCH64, HEAD)})).find(LIB_A)
    assert caught.value.result == results.SECURITY


def test_missing_ta() -> None:
    with pytest.raises(TeeError) as caught:
        Loader(Boxes({})).find(MAIN)
    assert caught.value.result == results.ITEM_NOT_FOUND


@pytest.mark.parametrize("arch", TA_ARCHES)
def test_library_is_no_ta(arch: Arch) -> None:
    with pytest.raises(TeeError):
        Loader(Boxes({LIB_A: build(arch, "int f(void) { return 1; }", uuid=LIB_A)})).find(LIB_A)


def test_wrong_space() -> None:
    image = Loader(Boxes({MAIN: build(Arch.AARCH64, HEAD)})).find(MAIN)
    with pytest.raises(TeeError) as caught:
        image.link(make_space(Arch.ARM))
    assert caught.value.result == results.BAD_FORMAT


def test_parsed_once_until_the_file_changes() -> None:
    store = Boxes({MAIN: build(Arch.AARCH64, HEAD)})
    loader = Loader(store)
    first = loader.find(MAIN)
    assert loader.find(MAIN).object is first.object
    store.boxes[MAIN] = Box(with_head(build(Arch.AARCH64, HEAD), stack=16))
    assert loader.find(MAIN).stack_size == 16
    assert first.stack_size == 8192
    del store.boxes[MAIN]
    with pytest.raises(TeeError):
        loader.find(MAIN)


def test_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ta_loader.source.CACHE_BYTES", 20000)
    main = build(Arch.AARCH64, HEAD)
    store = Boxes({MAIN: main})
    loader = Loader(store)
    for stack in range(16, 16 * 9, 16):
        store.boxes[MAIN] = Box(with_head(main, stack=stack))
        assert loader.find(MAIN).stack_size == stack
    assert len(loader._parsed) <= 20000 // len(main)


def test_shared_between_threads() -> None:
    """Instances of one image do not see each other's memory or bases."""
    main = build(Arch.AARCH64, HEAD + "int v = 5; int *p = &v;")
    loader = Loader(Boxes({MAIN: main}))

    def run(seed: int) -> tuple[int, int]:
        space = make_space(Arch.AARCH64, seed=seed)
        program = loader.find(MAIN).link(space)
        v = program.dlsym(UUID(int=0), "v")
        assert int.from_bytes(space.read(program.dlsym(UUID(int=0), "p"), 8), "little") == v
        was = int.from_bytes(space.read(v, 4), "little")
        space.write(v, seed.to_bytes(4, "little"))
        return was, program.modules[0].base

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(run, range(100, 140)))
    assert {was for was, _ in done} == {5}
    assert len({base for _, base in done}) > 30


def test_text_is_never_writable() -> None:
    image = Loader(Boxes({MAIN: build(Arch.ARM, HEAD)})).find(MAIN)
    space = make_space(Arch.ARM)
    image.link(space)
    assert {region.prot for region in space} == {Prot.RX, Prot.RW, Prot.R}


def test_import_is_cheap() -> None:
    """Nothing heavy comes along: this is on the path of every start."""
    root = str(Path(ta_loader.__file__).parents[1])  # the checkout, or where a wheel was installed
    code = f"import sys; sys.path.insert(0, {root!r}); import ta_loader.source; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True)
    assert not {"dataclasses", "inspect", "pathlib", "logging", "elftools", "subprocess"} & set(done.stdout.split())


def test_program_has_all_of_the_port() -> None:
    from ta_loader.image import TaProgram
    from tee.ports import Program

    for name, member in inspect.getmembers(Program, inspect.isfunction):
        if not name.startswith("_"):
            assert list(inspect.signature(member).parameters) == list(
                inspect.signature(getattr(TaProgram, name)).parameters
            )


SVC = {
    Arch.AARCH64: """
static void finish(long value) {
    register long x0 __asm__("x0") = value;
    register long x8 __asm__("x8") = 7;
    __asm__ volatile("svc #0" :: "r"(x0), "r"(x8));
    __builtin_unreachable();
}
static void thread(void *block) { __asm__ volatile("msr tpidr_el0, %0" :: "r"(block)); }
""",
    Arch.ARM: """
static void finish(long value) {
    register long r0 __asm__("r0") = value;
    register long r7 __asm__("r7") = 7, r6 __asm__("r6") = 0;
    __asm__ volatile("svc #0" :: "r"(r0), "r"(r7), "r"(r6));
    __builtin_unreachable();
}
static char *vector;
struct index { unsigned long module, offset; };
void *__tls_get_addr(struct index *i) { return vector + 64 * i->module + i->offset; }
static void thread(char *block) { vector = block; }
""",
}


@pytest.mark.parametrize("arch", TA_ARCHES)
def test_guest_finds_what_was_linked(arch: Arch) -> None:
    """The CPU is the judge: calls through the PLT, pointers, weak symbols and thread-local storage of two modules."""
    from south.engine.unicorn import UnicornEngine
    from south.linux_host.host import HostEntropy
    from south.linux_host.memory import HostPages

    library = build(
        arch,
        "int shared = 100; __thread int theirs, more; int *where(void) { return &more; }"
        "static int add(int a) { return a + shared; } int (*callback)(int) = add;"
        "int twice(int a) { return callback(a) * 2; }",
        uuid=LIB_A,
    )
    head = HEAD.replace("void entry(void) {}", "")
    source = (
        SVC[arch]
        + head
        + (
            "extern int shared, twice(int), *where(void), maybe(void) __attribute__((weak));"
            "extern __thread int theirs, more;"
            "__thread int mine; int *pointer = &shared; char block[512] __attribute__((aligned(16)));"
            "void entry(void) { thread(block); mine = 1; theirs = 20; more = 300; shared = 4000;"
            "  int ok = mine == 1 && theirs == 20 && *where() == 300 && *pointer == 4000 && &mine != &theirs;"
            "  finish(ok && !maybe ? twice(mine) + theirs : -1); }"
        )
    )
    main = build(arch, source, needs=((LIB_A, library),))
    arena = HostPages().arena(4 << 20)
    table = UnicornEngine().space(arch, arena)
    cpu = table.cpu()
    space = AddressSpace(table, arena, HostEntropy(), 4 << 20)
    program = Loader(Boxes({MAIN: main, LIB_A: library})).find(MAIN).link(space)
    stack = space.map(8192, Prot.RW, name="stack")
    try:
        assert cpu.enter(program.entry, stack.end, (0, 0, 0, 0)) is TrapKind.CALL, cpu.fault()
        call = cpu.call()
        assert (call.number, call.args[0]) == (7, (1 + 4000) * 2 + 20)
    finally:
        table.close()
